"use strict";
// Knows a chart: its panels, one legend that hides, one stretch of time that all of them show. Fetches nothing.
const KINDS = {curves: Curves, bars: Bars, boxes: Boxes, cells: Cells, dots: Dots};

class Chart {
  constructor(node) {
    this.node = node; this.spec = DATA.charts[node.id]; this.hidden = new Set(); this.zoomed = null;
    const keys = this.spec.panels.map(panel => KINDS[panel.kind].prototype.keys.call({spec: panel}));
    this.ownLegends = new Set(keys.map(each => each.map(one => one.n).join("\n"))).size > 1;
    const bar = make(node, "div", {class: "bar"});
    // A single curve is named by its panel and its axis.
    if (!this.ownLegends && keys[0].length > 1) this.legend(bar, keys[0]);
    // Only what lies along an axis of time can be zoomed.
    if (this.spec.panels.some(panel => panel.kind === "curves")) this.tools(make(bar, "span", {class: "tools"}));
    this.panels = make(node, "div", {class: "panels"});
    this.panels.style.setProperty("--columns", this.spec.columns);
    this.whole = this.extent();
    this.all = this.spec.panels.map((panel, at) => new KINDS[panel.kind](this, panel, at));
    node.addEventListener("keydown", event => this.key(event));
    document.addEventListener("pointerdown", event => { if (!this.panels.contains(event.target)) this.point(null); });
    new ResizeObserver(() => this.draw()).observe(this.panels);
  }
  extent() {
    let from = Infinity, to = -Infinity;
    for (const panel of this.spec.panels) for (const curve of panel.kind === "curves" ? panel.curves : []) {
      const t = DATA.axes[curve.t];
      if (t.length) { from = Math.min(from, t[0]); to = Math.max(to, t[t.length - 1]); }
    }
    return from > to ? [0, 1] : from === to ? [from, from + 1] : [from, to];
  }
  // A key: n its name, c its colour, dash, wide for what is filled, dot for what has no line.
  legend(bar, keys) {
    for (const key of keys) {
      const button = make(bar, "button", {type: "button", "aria-pressed": !this.hidden.has(key.n), "data-hides": key.n});
      const picture = make(button, "svg", {viewBox: "0 0 24 8", "aria-hidden": "true"});
      // Shapes are higher than a line.
      if (key.dot && key.shape) make(picture, "path", {d: SHAPES[key.shape](4), fill: key.c, transform: "translate(12 4) scale(0.75)"});
      else {
        const line = make(picture, "line",
          {x1: key.dot ? 8 : 0, x2: key.dot ? 16 : 24, y1: 4, y2: 4, stroke: key.c, "stroke-width": key.wide ? 8 : 3});
        if (key.dash) line.setAttribute("stroke-dasharray", key.dash);
      }
      button.append(key.n);
      button.addEventListener("click", () => this.toggle(key.n));
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
