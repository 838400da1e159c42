"use strict";
// Plays one run: a frame is a message, or a mark (a step, a fault, what broke); `at` is how many have been.
(() => {
const data = JSON.parse(document.getElementById("data").textContent);
const { parents, lines, senders, moments } = data;
const $ = id => document.getElementById(id);
const KINDS = ["request", "response", "event", "control"];
const SVG = "http://www.w3.org/2000/svg";
const ROW = 18, WIDTH = 190, GAP = 46, LARGEST = 1.25;

// --- the tree: a box for each rank, in it a row for each party

const names = parents.map(() => []);
for (const [, rank, name] of lines) if (!names[rank].includes(name)) names[rank].push(name);
names.forEach(list => list.sort((a, b) => (a === "client") - (b === "client") || a.localeCompare(b)).reverse());
const levels = [];
parents.forEach((_, rank) => {
  (levels[depth(rank)] ||= []).push(rank);
});
function depth(rank) { return parents[rank] === null ? 0 : depth(parents[rank]) + 1; }

function make(kind, attributes, parent, text) {
  const made = document.createElementNS(SVG, kind);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return parent.appendChild(made);
}

const tree = $("tree"), boxes = [], links = [], parties = new Map();
const columns = Math.max(...levels.map(level => level.length));
const width = columns * (WIDTH + GAP) + GAP;
let top = 16;
const tops = levels.map(level => {
  const here = top;
  top += 30 + ROW * Math.max(...level.map(rank => names[rank].length)) + 60;
  return here;
});
tree.setAttribute("viewBox", `0 0 ${width} ${top - 40}`);
tree.style.maxWidth = `${width * LARGEST}px`;  // one rank alone is no poster
const place = rank => {
  const level = levels[depth(rank)];
  return [(width * (level.indexOf(rank) + 0.5)) / level.length - WIDTH / 2, tops[depth(rank)]];
};
parents.forEach((parent, rank) => {
  if (parent === null) return;
  const [x, y] = place(rank), [px, py] = place(parent);
  links[rank] = make("line", { class: "link", x1: x + WIDTH / 2, y1: y, x2: px + WIDTH / 2, y2: py + 24 + ROW * names[parent].length }, tree);
});
parents.forEach((_, rank) => {
  const [x, y] = place(rank);
  boxes[rank] = make("rect", { class: "rank", x, y, rx: 8, width: WIDTH, height: 26 + ROW * names[rank].length }, tree);
  make("text", { x: x + 8, y: y + 16, "font-weight": "bold" }, tree, `rank ${rank}`);
  names[rank].forEach((name, row) => {
    const top = y + 22 + ROW * row;
    const box = make("rect", { class: "party", x: x + 3, y: top, width: WIDTH - 6, height: ROW, rx: 3 }, tree);
    make("text", { x: x + 14, y: top + 13 }, tree, name);
    parties.set(`${name}.${rank}`, { box, x: x + WIDTH, y: top + ROW / 2 });
  });
});
const flights = make("g", {}, tree);

// --- frames: messages, and before each what happened beside them

const frames = [];
let next = 0;
for (let place = 0; place <= lines.length; place++) {
  for (; next < moments.length && moments[next][0] <= place; next++) {
    const [, when, kind, rank, text] = moments[next];
    frames.push({ when, kind, rank, text });
  }
  if (place < lines.length) frames.push({ line: place, when: lines[place][0] });
}
const stops = frames.flatMap((frame, index) => (frame.kind && frame.kind !== "boot" ? [index + 1] : []));
const slider = $("slider");
slider.max = frames.length;
for (const stop of stops) {
  const line = document.createElement("i");
  line.className = frames[stop - 1].kind;
  line.style.left = `${(99.5 * stop) / frames.length}%`;
  $("marks").append(line);
}

// --- one moment

const SHOWN = 12;
let at = 0, timer = null;

function say(line) {
  const [when, rank, name, counter, topic, errnum, number] = line;
  const way = counter & 1 ? "←" : "→";
  return `${when.toFixed(6)} ${name}.${rank} ${way} ${KINDS[counter >> 1]} ${topic} [${number}]${errnum ? ` errnum ${errnum}` : ""}`;
}

function state() {
  const down = new Set(), slow = new Set(), broken = [];
  for (const { kind, rank, text } of frames.slice(0, at)) {
    if (!kind) continue;
    const lost = /^(crash|disconnect)/.test(text), late = text.startsWith("slow");
    if (kind === "fault") { if (lost) down.add(rank); if (late) slow.add(rank); }
    if (kind === "end") { if (lost) down.delete(rank); if (late) slow.delete(rank); }
    if (kind === "broken") broken.push(text);
  }
  const isDown = rank => rank !== null && (down.has(rank) || isDown(parents[rank]));
  return { isDown, slow, broken };
}

/** A sentence names the ranks it is about, as "rank 1" or "kvs.1"; one that names none is about all. */
function namesRank(text, rank) {
  const named = [...text.matchAll(/(?:\brank |[a-z]\.)(\d+)\b/g)].map(found => Number(found[1]));
  return !named.length || named.includes(rank);
}

function show(where) {
  at = Math.max(0, Math.min(frames.length, where));
  slider.value = at;
  const { isDown, slow, broken } = state();
  boxes.forEach((box, rank) => {
    box.classList.toggle("down", isDown(rank));
    box.classList.toggle("broken", broken.some(text => namesRank(text, rank)));
  });
  links.forEach((link, rank) => link.classList.toggle("slow", slow.has(rank)));
  for (const { box } of parties.values()) box.setAttribute("class", "party");
  flights.replaceChildren();
  const now = frames[at - 1];
  if (now?.line !== undefined) draw(now.line);
  $("clock").textContent = `${at} of ${frames.length}${now ? `, ${now.when.toFixed(6)} s` : ""}`;
  list();
}

function draw(place) {
  const [, rank, name, counter, , errnum] = lines[place];
  const here = parties.get(`${name}.${rank}`);
  here.box.setAttribute("class", `party ${errnum ? "bad" : counter & 1 ? "rx" : "tx"}`);
  if (senders[place] < 0) return;
  const [, fromRank, fromName] = lines[senders[place]];
  const from = parties.get(`${fromName}.${fromRank}`);
  from.box.setAttribute("class", "party tx");
  const bend = Math.min(60, 14 + Math.abs(from.y - here.y) / 4);
  const kind = `flight ${KINDS[counter >> 1]}${errnum ? " bad" : ""}`;
  make("path", { class: kind, d: `M${from.x} ${from.y} C${from.x + bend} ${from.y} ${here.x + bend} ${here.y} ${here.x} ${here.y}` }, flights);
  make("circle", { class: kind, cx: here.x, cy: here.y, r: 4 }, flights);
}

function list() {
  const log = $("log");
  log.replaceChildren();
  for (let index = Math.max(0, at - SHOWN); index < Math.min(frames.length, at + 4); index++) {
    const frame = frames[index], made = document.createElement("li");
    made.className = `${frame.kind ?? ""} ${index === at - 1 ? "now" : ""}`;
    made.textContent = frame.kind ? `${frame.when.toFixed(6)} ${frame.text}` : say(lines[frame.line]);
    made.onclick = () => { stop(); show(index + 1); };
    log.append(made);
  }
}

// --- who asks for it

function stop() { clearInterval(timer); timer = null; $("play").textContent = "▶ play"; }
function play() {
  if (timer) return stop();
  if (at === frames.length) show(start);
  $("play").textContent = "❚❚ pause";
  timer = setInterval(() => { if (at === frames.length) stop(); else show(at + 1); }, 1000 / $("speed").value);
}
const step = by => { stop(); show(at + by); };
const start = stops.length ? stops[0] : 0;
$("first").onclick = () => { stop(); show(start); };
$("back").onclick = () => step(-1);
$("next").onclick = () => step(1);
$("play").onclick = play;
$("mark").onclick = () => { stop(); show(stops.find(one => one > at) ?? frames.length); };
$("speed").onchange = () => { if (timer) { stop(); play(); } };
slider.oninput = () => { stop(); show(Number(slider.value)); };
document.addEventListener("keydown", event => {
  if (event.target.tagName === "SELECT") return;
  const act = { " ": play, ArrowRight: () => step(1), ArrowLeft: () => step(-1) }[event.key];
  if (act) { event.preventDefault(); act(); }
});
show(start);
})();
