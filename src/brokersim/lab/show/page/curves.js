"use strict";
// Knows how curves over one axis are drawn and looked at: zoom, values under the pointer. Doesn't know what they mean.
// The points of a curve in [from, to] as a path. Where several fall on one column of pixels, that column's first,
// lowest, highest and last are drawn: the same picture, whatever the number of samples.
function pathOf(curve, x, y, from, to, columns) {
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
    if (value === null) { flush(); pen = false; continue; }
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

class Curves extends Frame {
  constructor(chart, spec, at) {
    super(chart, spec);
    this.clip = `${chart.node.id}-clip${at}`;
    this.listen();
  }
  keys() { return this.spec.curves.map(one => ({n: one.n, c: one.c, dash: one.dash, wide: one.area || one.dots, dot: one.dots})); }
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
    // Room below the lowest value: there lies what is 0.
    if (this.spec.log) return low === high ? [low / 2, high * 2] : [low / 1.5, high * 1.15];
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
    this.x = t => LEFT + (t - range[0]) / (range[1] - range[0]) * inner;
    const y = scaleOf(low, high, TOP + tall, TOP, log);
    this.inner = inner;
    this.resize(width, HEIGHT);
    this.axes(width, range, low, high, y, tall);
    make(make(this.svg, "clipPath", {id: this.clip}), "rect", {x: LEFT, y: TOP - 1, width: inner, height: tall + 2});
    const group = make(this.svg, "g", {"clip-path": `url(#${this.clip})`});
    for (const curve of this.visible()) this.curve(group, curve, range, y, inner);
    if (!this.spec.curves.some(curve => curve.v.length))
      make(this.svg, "text", {x: LEFT + inner / 2, y: TOP + tall / 2, "text-anchor": "middle"}, "nothing recorded");
    this.cursor = make(this.svg, "line", {class: "cursor", y1: TOP, y2: TOP + tall, visibility: "hidden"});
    this.band = make(this.svg, "rect", {class: "band", y: TOP, height: tall, visibility: "hidden"});
  }
  curve(group, curve, range, y, inner) {
    const path = pathOf(curve, this.x, y, range[0], range[1], inner);
    if (curve.area && path) {
      const t = DATA.axes[curve.t], floor = y(this.spec.log ? this.bounds(range)[0] : 0).toFixed(1);
      const [start, end] = [t[0], t[t.length - 1]].map(one => this.x(one).toFixed(1));
      make(group, "path", {d: `${path}L${end} ${floor}L${start} ${floor}Z`, fill: curve.c, stroke: "none"});
      return;
    }
    if (curve.dots) { this.dots(group, curve, range, y, Infinity); return; }
    const attributes = {class: "curve", d: path, stroke: curve.c, "data-label": curve.n};
    if (curve.dash) attributes["stroke-dasharray"] = curve.dash;
    make(group, "path", attributes);
    // One sample alone makes no line.
    if (!curve.step || curve.v.length === 1) this.dots(group, curve, range, y);
  }
  // A line between few points must not look as if it had been measured in between.
  dots(group, curve, range, y, most = 60) {
    const t = DATA.axes[curve.t], first = above(t, range[0] - 1e-9), last = above(t, range[1]);
    if (last - first > most) return;
    for (let at = first; at < last; at++)
      if (curve.v[at] !== null)
        make(group, "circle", {cx: this.x(t[at]), cy: y(curve.v[at]), r: 2.5, fill: curve.c});
  }
  axes(width, range, low, high, y, tall) {
    make(this.svg, "text", {x: 2, y: 13, class: "unit"}, this.spec.y);
    make(this.svg, "text", {x: width - RIGHT, y: 13, "text-anchor": "end", class: "unit"}, `→ ${this.spec.x}`);
    let bottom = Infinity;
    for (const value of ticksOf(low, high, tall / 36, this.spec.log)) {
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
