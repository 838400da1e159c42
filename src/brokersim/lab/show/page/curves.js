"use strict";
// Knows how the curves of a report are drawn and looked at: axes, zoom, values under the pointer, a legend that hides.
// Doesn't know what they mean: it draws what the page's data says, in units the data names. Fetches nothing.
(() => {
const DATA = JSON.parse(document.getElementById("data").textContent);
const HEIGHT = 210, LEFT = 56, RIGHT = 12, TOP = 22, BOTTOM = 24;
const PLAIN = new Intl.NumberFormat("en", {maximumSignificantDigits: 7});
const SHORT = new Intl.NumberFormat("en", {maximumSignificantDigits: 4, notation: "compact"});

function make(parent, name, attributes = {}, text = null) {
  const drawn = ["svg", "path", "line", "text", "rect", "g", "clipPath", "circle"].includes(name);
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

// The points of a curve in [from, to] as a path. Where several fall on one column of pixels, that column's first,
// lowest, highest and last are drawn: the same picture, whatever the number of samples.
function pathOf(curve, x, y, from, to, columns, log) {
  const t = DATA.axes[curve.t], v = curve.v;
  const first = Math.max(0, above(t, from) - 1), last = Math.min(t.length, above(t, to) + 1);
  const dense = last - first > 4 * columns;
  let path = "", pen = false, column = null, kept = null;
  const point = (px, value) => {
    const at = y(value).toFixed(1);
    path += !pen ? `M${px.toFixed(1)} ${at}` : curve.step ? `H${px.toFixed(1)}V${at}` : `L${px.toFixed(1)} ${at}`;
    pen = true;
  };
  const flush = () => {
    if (kept) for (const value of [kept.first, kept.low, kept.high, kept.last]) point(column, value);
    kept = null;
  };
  for (let at = first; at < last; at++) {
    const value = v[at];
    if (value === null || (log && value <= 0)) { flush(); pen = false; continue; }
    const px = x(t[at]);
    if (!dense) { point(px, value); continue; }
    const pixel = Math.round(px);
    if (kept && pixel === column) {
      kept.low = Math.min(kept.low, value); kept.high = Math.max(kept.high, value); kept.last = value;
    } else { flush(); column = pixel; kept = {first: value, low: value, high: value, last: value}; }
  }
  flush();
  return path;
}

function valueAt(curve, t) {
  const times = DATA.axes[curve.t];
  let at = above(times, t) - 1;
  if (!curve.step && at + 1 < times.length && (at < 0 || times[at + 1] - t < t - times[at])) at += 1;
  return at < 0 ? null : curve.v[at];
}

class Panel {
  constructor(chart, spec, at) {
    this.chart = chart; this.spec = spec;
    this.node = make(chart.panels, "div", {class: "panel"});
    make(this.node, "h4", {}, spec.title);
    if (spec.note) make(this.node, "p", {class: "quiet"}, spec.note);
    if (chart.ownLegends) chart.legend(make(this.node, "div", {class: "bar"}), spec.curves);
    const label = `${spec.title || chart.spec.title}: ${spec.y} over ${spec.x}`;
    this.svg = make(this.node, "svg", {height: HEIGHT, role: "img", "aria-label": label});
    this.tip = make(this.node, "div", {class: "tip", hidden: ""});
    this.clip = `${chart.node.id}-clip${at}`;
    this.listen();
  }
  visible() { return this.spec.curves.filter(curve => !this.chart.hidden.has(curve.n)); }
  bounds([from, to]) {
    let low = Infinity, high = -Infinity;
    for (const curve of this.visible()) {
      const t = DATA.axes[curve.t];
      const last = Math.min(t.length, above(t, to));
      for (let at = Math.max(0, above(t, from) - 1); at < last; at++) {
        const value = curve.v[at];
        if (value === null || (this.spec.log && value <= 0)) continue;
        if (value < low) low = value;
        if (value > high) high = value;
      }
    }
    if (low > high) [low, high] = this.spec.log ? [1, 10] : [0, 1];
    if (this.spec.log) return low === high ? [low / 2, high * 2] : [low / 1.15, high * 1.15];
    if (this.spec.zero) { low = Math.min(low, 0); high = Math.max(high, 0); }
    if (this.spec.zero && low === high) high = low + 1;
    const pad = (high - low) * 0.05 || Math.abs(high) * 0.05 || 1;
    return [this.spec.zero && low === 0 ? 0 : low - pad, this.spec.zero && high === 0 ? 0 : high + pad];
  }
  draw() {
    const width = this.node.clientWidth;
    if (!width) return;
    const range = this.chart.range(), [low, high] = this.bounds(range), log = this.spec.log;
    const inner = width - LEFT - RIGHT, tall = HEIGHT - TOP - BOTTOM;
    const scale = log ? Math.log : value => value;
    this.x = t => LEFT + (t - range[0]) / (range[1] - range[0]) * inner;
    const y = v => TOP + tall - (scale(v) - scale(low)) / (scale(high) - scale(low)) * tall;
    this.inner = inner;
    this.svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.svg.replaceChildren();
    this.axes(width, range, low, high, y, tall);
    make(make(this.svg, "clipPath", {id: this.clip}), "rect", {x: LEFT, y: TOP - 1, width: inner, height: tall + 2});
    const group = make(this.svg, "g", {"clip-path": `url(#${this.clip})`});
    for (const curve of this.visible()) this.curve(group, curve, range, y, inner, log);
    if (!this.spec.curves.some(curve => curve.v.length))
      make(this.svg, "text", {x: LEFT + inner / 2, y: TOP + tall / 2, "text-anchor": "middle"}, "nothing recorded");
    this.cursor = make(this.svg, "line", {class: "cursor", y1: TOP, y2: TOP + tall, visibility: "hidden"});
    this.band = make(this.svg, "rect", {class: "band", y: TOP, height: tall, visibility: "hidden"});
  }
  curve(group, curve, range, y, inner, log) {
    const path = pathOf(curve, this.x, y, range[0], range[1], inner, log);
    if (curve.area && path) {
      const t = DATA.axes[curve.t], floor = y(this.spec.log ? this.bounds(range)[0] : 0).toFixed(1);
      const [start, end] = [t[0], t[t.length - 1]].map(one => this.x(one).toFixed(1));
      make(group, "path", {d: `${path}L${end} ${floor}L${start} ${floor}Z`, fill: curve.c, stroke: "none"});
      return;
    }
    if (curve.dots) { this.dots(group, curve, range, y, log, Infinity); return; }
    const attributes = {class: "curve", d: path, stroke: curve.c, "data-label": curve.n};
    if (curve.dash) attributes["stroke-dasharray"] = curve.dash;
    make(group, "path", attributes);
    if (!curve.step) this.dots(group, curve, range, y, log);
  }
  // A line between few points must not look as if it had been measured in between.
  dots(group, curve, range, y, log, most = 60) {
    const t = DATA.axes[curve.t], first = above(t, range[0] - 1e-9), last = above(t, range[1]);
    if (last - first > most) return;
    for (let at = first; at < last; at++)
      if (curve.v[at] !== null && !(log && curve.v[at] <= 0))
        make(group, "circle", {cx: this.x(t[at]), cy: y(curve.v[at]), r: 2.5, fill: curve.c});
  }
  axes(width, range, low, high, y, tall) {
    make(this.svg, "text", {x: 2, y: 13, class: "unit"}, this.spec.y);
    make(this.svg, "text", {x: width - RIGHT, y: 13, "text-anchor": "end", class: "unit"}, `→ ${this.spec.x}`);
    let bottom = Infinity;
    for (const value of this.spec.log ? logTicks(low, high) : evenTicks(low, high, tall / 36)) {
      const at = y(value);
      make(this.svg, "line", {class: "grid", x1: LEFT, x2: width - RIGHT, y1: at, y2: at});
      if (bottom - at < 14) continue;
      bottom = at;
      make(this.svg, "text", {x: LEFT - 6, y: at + 4, "text-anchor": "end"}, tick(value));
    }
    for (const value of evenTicks(range[0], range[1], this.inner / 75)) {
      const at = this.x(value);
      make(this.svg, "line", {class: "axis", x1: at, x2: at, y1: TOP + tall, y2: TOP + tall + 4});
      const anchor = at > width - 30 ? "end" : "middle";
      make(this.svg, "text", {x: anchor === "end" ? width : at, y: HEIGHT - 6, "text-anchor": anchor}, tick(value));
    }
    make(this.svg, "line", {class: "axis", x1: LEFT, x2: width - RIGHT, y1: TOP + tall, y2: TOP + tall});
  }
  // -- looking: a pointer over it shows values, dragging zooms, two fingers zoom, twice shows all
  listen() {
    const fingers = new Map(), svg = this.svg;
    let from = null, apart = null;
    const time = event => {
      const [start, end] = this.chart.range();
      const share = (event.clientX - svg.getBoundingClientRect().left - LEFT) / this.inner;
      return start + Math.min(1, Math.max(0, share)) * (end - start);
    };
    const leave = event => { fingers.delete(event.pointerId); apart = from = null; this.chart.point(null); };
    svg.addEventListener("pointerdown", event => {
      fingers.set(event.pointerId, event);
      if (event.pointerType !== "mouse") { this.chart.point(time(event), this); apart = null; return; }
      if (event.button) return;
      from = time(event); svg.setPointerCapture(event.pointerId); event.preventDefault();
    });
    svg.addEventListener("pointermove", event => {
      if (fingers.has(event.pointerId)) fingers.set(event.pointerId, event);
      if (fingers.size === 2) {
        const [a, b] = [...fingers.values()].map(time), distance = Math.abs(a - b);
        if (apart) this.chart.zoom(apart / Math.max(distance, 1e-9), (a + b) / 2);
        apart = distance || null;
        return;
      }
      this.chart.point(time(event), this);
      if (from === null) return;
      const [a, b] = [from, time(event)].map(this.x);
      this.band.setAttribute("x", Math.min(a, b)); this.band.setAttribute("width", Math.abs(a - b));
      this.band.setAttribute("visibility", "visible");
    });
    svg.addEventListener("pointerup", event => {
      const start = from, end = time(event);
      fingers.delete(event.pointerId); from = apart = null;
      if (start === null) return;
      this.band.setAttribute("visibility", "hidden");
      if (Math.abs(this.x(start) - this.x(end)) > 4) this.chart.show(Math.min(start, end), Math.max(start, end));
    });
    svg.addEventListener("pointercancel", leave);
    // A finger that is lifted leaves the values it showed: they could not be read under it.
    svg.addEventListener("pointerleave", event => {
      if (event.pointerType !== "mouse") fingers.delete(event.pointerId);
      else if (from === null) leave(event);
    });
    svg.addEventListener("dblclick", () => this.chart.showAll());
  }
  point(t, here) {
    if (!this.cursor) return;
    this.cursor.setAttribute("visibility", t === null ? "hidden" : "visible");
    this.tip.hidden = t === null || !here;
    if (t === null) return;
    const px = this.x(t);
    this.cursor.setAttribute("x1", px); this.cursor.setAttribute("x2", px);
    if (here) this.tell(t, px);
  }
  tell(t, px) {
    this.tip.replaceChildren();
    // As many decimals as a pixel can tell apart.
    const [from, to] = this.chart.range();
    const digits = Math.min(9, Math.max(0, Math.ceil(-Math.log10((to - from) / this.inner))));
    make(this.tip, "div", {}, `${this.spec.x}: ${t.toFixed(digits)}`);
    for (const curve of this.visible()) {
      const line = make(this.tip, "div");
      make(line, "i", {style: `background:${curve.c}`});
      line.append(`${curve.n}: ${shown(valueAt(curve, t))}`);
    }
    const room = this.node.clientWidth - this.tip.offsetWidth;
    this.tip.style.left = `${Math.max(0, px > room / 2 + LEFT ? px - this.tip.offsetWidth - 10 : px + 10)}px`;
  }
}

class Chart {
  constructor(node) {
    this.node = node; this.spec = DATA.charts[node.id]; this.hidden = new Set(); this.zoomed = null;
    const labels = this.spec.panels.map(panel => panel.curves.map(curve => curve.n).join("\n"));
    this.ownLegends = new Set(labels).size > 1;
    const bar = make(node, "div", {class: "bar"});
    if (!this.ownLegends) this.legend(bar, this.spec.panels[0].curves);
    this.tools(make(bar, "span", {class: "tools"}));
    this.panels = make(node, "div", {class: "panels"});
    this.panels.style.setProperty("--columns", this.spec.columns);
    this.whole = this.extent();
    this.all = this.spec.panels.map((panel, at) => new Panel(this, panel, at));
    node.addEventListener("keydown", event => this.key(event));
    document.addEventListener("pointerdown", event => { if (!this.panels.contains(event.target)) this.point(null); });
    new ResizeObserver(() => this.draw()).observe(this.panels);
  }
  extent() {
    let from = Infinity, to = -Infinity;
    for (const panel of this.spec.panels) for (const curve of panel.curves) {
      const t = DATA.axes[curve.t];
      if (t.length) { from = Math.min(from, t[0]); to = Math.max(to, t[t.length - 1]); }
    }
    return from > to ? [0, 1] : from === to ? [from, from + 1] : [from, to];
  }
  legend(bar, curves) {
    for (const curve of curves) {
      const button = make(bar, "button", {type: "button", "aria-pressed": !this.hidden.has(curve.n), "data-hides": curve.n});
      const line = make(make(button, "svg", {viewBox: "0 0 24 8", "aria-hidden": "true"}), "line",
        {x1: curve.dots ? 8 : 0, x2: curve.dots ? 16 : 24, y1: 4, y2: 4, stroke: curve.c, "stroke-width": curve.area || curve.dots ? 8 : 3});
      if (curve.dash) line.setAttribute("stroke-dasharray", curve.dash);
      button.append(curve.n);
      button.addEventListener("click", () => this.toggle(curve.n));
    }
  }
  toggle(name) {
    if (!this.hidden.delete(name)) this.hidden.add(name);
    for (const button of this.node.querySelectorAll("button[data-hides]"))
      button.setAttribute("aria-pressed", !this.hidden.has(button.dataset.hides));
    this.draw();
  }
  tools(bar) {
    const [from, to] = [0.5, 2];
    for (const [text, meaning, act] of [["+", "zoom in", () => this.zoom(from)], ["−", "zoom out", () => this.zoom(to)],
      ["◂", "earlier", () => this.pan(-0.25)], ["▸", "later", () => this.pan(0.25)], ["all", "show all", () => this.showAll()]]) {
      make(bar, "button", {type: "button", title: meaning, "aria-label": meaning}, text).addEventListener("click", act);
      bar.append(" ");
    }
  }
  key(event) {
    const acts = {"+": () => this.zoom(0.5), "-": () => this.zoom(2), "0": () => this.showAll(),
      ArrowLeft: () => this.pan(-0.25), ArrowRight: () => this.pan(0.25)};
    if (event.target !== this.node || !acts[event.key]) return;
    event.preventDefault();
    acts[event.key]();
  }
  range() { return this.zoomed || this.whole; }
  show(from, to) {
    const span = Math.max(to - from, (this.whole[1] - this.whole[0]) * 1e-7);
    if (span >= this.whole[1] - this.whole[0]) { this.showAll(); return; }
    const start = Math.min(Math.max(from, this.whole[0]), this.whole[1] - span);
    this.zoomed = [start, start + span];
    this.draw();
  }
  showAll() { this.zoomed = null; this.draw(); }
  zoom(factor, around = null) {
    const [from, to] = this.range(), centre = around === null ? (from + to) / 2 : around;
    this.show(centre - (centre - from) * factor, centre + (to - centre) * factor);
  }
  pan(share) { const [from, to] = this.range(), by = (to - from) * share; this.show(from + by, to + by); }
  point(t, here = null) { for (const panel of this.all) panel.point(t, panel === here); }
  draw() { for (const panel of this.all) panel.draw(); }
}

// Only what is looked at is built: a page may have hundreds of panels, most of them under folds.
const watch = new IntersectionObserver(entries => {
  for (const {target, isIntersecting} of entries)
    if (isIntersecting) { watch.unobserve(target); new Chart(target); }
}, {rootMargin: "600px"});
for (const node of document.querySelectorAll("figure.chart")) watch.observe(node);
addEventListener("beforeprint", () => {
  for (const node of document.querySelectorAll("figure.chart:not(:has(.panels))")) { watch.unobserve(node); new Chart(node).draw(); }
});

// Pictures that are no curves: drag over one to zoom in, double-click to see all of it.
for (const svg of document.querySelectorAll("figure.picture svg")) {
  const whole = svg.getAttribute("viewBox");
  let from = null, band = null;
  const at = event => new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
  const box = (a, b) => [Math.min(a.x, b.x), Math.min(a.y, b.y), Math.abs(a.x - b.x), Math.abs(a.y - b.y)];
  const end = () => { if (band) band.remove(); band = from = null; };
  svg.addEventListener("pointerdown", event => {
    if (event.pointerType !== "mouse" || event.button) return;
    from = at(event); svg.setPointerCapture(event.pointerId); event.preventDefault();
    band = make(svg, "rect", {class: "band"});
  });
  svg.addEventListener("pointermove", event => {
    if (!from) return;
    const [x, y, width, height] = box(from, at(event));
    for (const [name, value] of Object.entries({x, y, width, height})) band.setAttribute(name, value);
  });
  svg.addEventListener("pointerup", event => {
    if (!from) return;
    const zoomed = box(from, at(event));
    if (zoomed[2] > 5 && zoomed[3] > 5) svg.setAttribute("viewBox", zoomed.join(" "));
    end();
  });
  svg.addEventListener("pointercancel", end);
  svg.addEventListener("dblclick", () => svg.setAttribute("viewBox", whole));
}
})();
