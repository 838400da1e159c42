"use strict";
// Knows how things are drawn in a report: elements, numbers, ticks. All parts of the page's script are one function.
const DATA = JSON.parse(document.getElementById("data").textContent);
const HEIGHT = 210, LEFT = 56, RIGHT = 12, TOP = 22, BOTTOM = 24;
const PLAIN = new Intl.NumberFormat("en", {maximumSignificantDigits: 7});
const SHORT = new Intl.NumberFormat("en", {maximumSignificantDigits: 4, notation: "compact"});

function make(parent, name, attributes = {}, text = null) {
  const drawn = ["svg", "path", "line", "text", "rect", "g", "clipPath", "circle", "title"].includes(name);
  const node = drawn ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== null) node.textContent = text;
  if (parent) parent.appendChild(node);
  return node;
}
const shown = v => v === null || v === undefined ? "–" : PLAIN.format(v);
const tick = v => Math.abs(v) >= 1e5 ? SHORT.format(v) : PLAIN.format(v);

// The first index whose time is above t.
function above(times, t) {
  let low = 0, high = times.length;
  while (low < high) { const mid = (low + high) >> 1; if (times[mid] <= t) low = mid + 1; else high = mid; }
  return low;
}

function evenTicks(from, to, most) {
  const rough = (to - from) / Math.max(1, most), power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find(one => power * one >= rough * 0.999);
  const found = [];
  for (let n = Math.ceil(from / step - 1e-9); n * step <= to + step * 1e-9; n++) found.push(+(n * step).toPrecision(12));
  return found;
}

function logTicks(from, to) {
  const found = [];
  for (let power = Math.floor(Math.log10(from)); power <= Math.ceil(Math.log10(to)); power++)
    for (const one of to / from > 30 ? [1] : [1, 2, 5]) {
      const value = +(one * 10 ** power).toPrecision(12);
      if (value >= from * 0.999 && value <= to * 1.001) found.push(value);
    }
  return found;
}

// The widest of some texts in pixels, at the size they are drawn.
const measuring = document.createElement("canvas").getContext("2d");
function widest(texts) {
  measuring.font = "12px system-ui, sans-serif";
  return Math.max(0, ...texts.map(text => measuring.measureText(text).width));
}

// A scale from values to pixels. On a logarithmic one what is not above 0 lies on its floor.
function scaleOf(low, high, from, to, log) {
  const of = log ? value => Math.log(Math.max(value, low)) : value => value;
  const least = of(low), span = of(high) - least || 1;
  return value => from + (of(value) - least) / span * (to - from);
}
const ticksOf = (low, high, most, log) => log ? logTicks(low, high) : evenTicks(low, high, most);

// A panel of a chart: its title, its note, its legend if it has one of its own, and where its values are told.
class Frame {
  constructor(chart, spec) {
    this.chart = chart; this.spec = spec;
    this.node = make(chart.panels, "div", {class: "panel"});
    make(this.node, "h4", {}, spec.title);
    if (spec.note) make(this.node, "p", {class: "quiet"}, spec.note);
    if (chart.ownLegends) chart.legend(make(this.node, "div", {class: "bar"}), this.keys());
    const label = [spec.title || chart.spec.title, [spec.y, spec.x].filter(Boolean).join(" over ")].join(": ");
    this.svg = make(this.node, "svg", {role: "img", "aria-label": label});
    this.tip = make(this.node, "div", {class: "tip", hidden: ""});
  }
  keys() { return []; }
  resize(width, height) {
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.setAttribute("height", height);
    this.svg.replaceChildren();
  }
  point() {}
  // Told beside the pointer, inside the panel.
  say(lines, px, py) {
    this.tip.replaceChildren();
    for (const line of lines) make(this.tip, "div", {}, line);
    this.tip.hidden = !lines.length;
    const room = this.node.clientWidth - this.tip.offsetWidth;
    this.tip.style.left = `${Math.max(0, Math.min(room, px + 12))}px`;
    this.tip.style.top = `${this.svg.offsetTop + py + 14}px`;
  }
}
