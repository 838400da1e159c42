"use strict";
// Knows how bars, boxes, cells and dots are drawn and looked at. Doesn't know what they mean.
const ROW = 22, AXIS = 36, SIDE = 8, JOBS = 46;

// What lies in rows, a group each, along one axis of values: their names stand to the left, whatever their length.
class Rows extends Frame {
  frame(low, high, row, log) {
    const width = this.node.clientWidth, groups = this.spec.groups;
    this.left = Math.min(width * 0.4, widest(groups) + 12);
    const height = groups.length * row + AXIS;
    this.resize(width, height);
    const right = width - this.right();
    const x = scaleOf(low, high, this.left, right, log), bottom = height - AXIS;
    let last = -Infinity;
    for (const value of ticksOf(low, high, (right - this.left) / 70, log)) {
      const at = x(value);
      make(this.svg, "line", {class: "grid", x1: at, x2: at, y1: 0, y2: bottom});
      if (at - last < widest([tick(value)]) + 10) continue;
      last = at;
      make(this.svg, "text", {x: at, y: bottom + 15, "text-anchor": "middle"}, tick(value));
    }
    make(this.svg, "text", {x: right, y: height - 4, "text-anchor": "end", class: "unit"}, `${this.spec.y} →`);
    groups.forEach((name, at) =>
      make(this.svg, "text", {x: this.left - 8, y: (at + 0.5) * row + 4, "text-anchor": "end", class: "group"}, name));
    make(this.svg, "line", {class: "axis", x1: this.left, x2: this.left, y1: 0, y2: bottom});
    return x;
  }
  right() { return 14; }
  told(node, lines) {
    node.addEventListener("pointerenter", () => {
      const box = node.getBBox();
      this.say(lines, box.x + box.width / 2, box.y + box.height);
    });
    node.addEventListener("pointerleave", () => this.say([], 0, 0));
  }
}

class Bars extends Rows {
  keys() {
    return this.spec.sets.filter(one => one.label)
      .map(one => ({n: one.label, c: one.colours[0], wide: !one.is_mark}));
  }
  visible() { return this.spec.sets.filter(one => !this.chart.hidden.has(one.label)); }
  right() { return 14 + widest(this.visible().flatMap(one => one.texts)); }
  draw() {
    if (!this.node.clientWidth) return;
    const sets = this.visible(), bars = sets.filter(one => !one.is_mark), {log, base} = this.spec;
    const values = sets.flatMap(one => [...one.values, ...one.low, ...one.high]).filter(v => v !== null && !(log && v <= 0));
    const floor = log ? base || Math.min(1, ...values) : base;
    const low = Math.min(floor, ...values), most = Math.max(log ? floor * 2 : Math.max(floor, ...values) > floor ? floor : floor + 1, ...values);
    const row = Math.max(ROW, bars.length * 14 + 8), tall = (row - 8) / Math.max(1, bars.length);
    this.x = this.frame(low, log ? most : most * 1.02, row, log);
    this.spec.groups.forEach((name, group) => {
      bars.forEach((one, at) => this.bar(one, group, group * row + 4 + at * tall, tall, floor));
      for (const one of sets) if (one.is_mark) this.mark(one, group, group * row + 2, row - 4);
    });
  }
  bar(one, group, y, tall, floor) {
    const value = one.values[group];
    if (value === null || value === undefined) return;
    const from = this.x(floor), to = this.x(value), colour = one.colours[group] ?? one.colours[0];
    const node = make(this.svg, "rect", {x: Math.min(from, to), y, width: Math.max(1, Math.abs(to - from)), height: tall - 2,
      fill: colour, "data-set": one.label, "data-group": this.spec.groups[group]});
    const [low, high] = [one.low[group], one.high[group]];
    if (low != null && high != null)
      make(this.svg, "path", {class: "interval", d: `M${this.x(low)} ${y + tall / 2 - 1}H${this.x(high)}`});
    const text = one.texts[group];
    // Behind everything that is drawn in this row.
    const marks = this.visible().filter(each => each.is_mark).map(each => each.values[group]).filter(each => each != null);
    const ends = [from, to, ...(high != null ? [this.x(high)] : []), ...marks.map(each => this.x(each))];
    if (text) make(this.svg, "text", {x: Math.max(...ends) + 6, y: y + tall / 2 + 3}, text);
    this.told(node, [this.spec.groups[group], `${one.label || this.spec.y}: ${text || shown(value)}`]);
  }
  mark(one, group, y, tall) {
    const value = one.values[group];
    if (value === null || value === undefined) return;
    const at = this.x(value);
    const node = make(this.svg, "path", {class: "mark", d: `M${at} ${y}V${y + tall}`, stroke: one.colours[0]});
    this.told(node, [this.spec.groups[group], `${one.label}: ${shown(value)}`]);
  }
}

class Boxes extends Rows {
  draw() {
    if (!this.node.clientWidth) return;
    const row = 30, most = Math.max(0, ...this.spec.boxes.flat()) || 1;
    const x = this.frame(0, most * 1.02, row, false);
    this.spec.boxes.forEach(([low, first, middle, third, high], at) => {
      const y = at * row + 5, tall = row - 10, centre = y + tall / 2;
      make(this.svg, "path", {class: "interval", d: `M${x(low)} ${centre}H${x(high)}M${x(low)} ${y + 5}v${tall - 10}M${x(high)} ${y + 5}v${tall - 10}`});
      const node = make(this.svg, "rect", {x: x(first), y, width: Math.max(1, x(third) - x(first)), height: tall, fill: this.spec.colours[at]});
      make(this.svg, "path", {class: "median", d: `M${x(middle)} ${y - 2}v${tall + 4}`});
      this.told(node, [this.spec.groups[at], `median ${shown(middle)}, half of them ${shown(first)} to ${shown(third)}`,
        `${shown(low)} to ${shown(high)} without the outer tenth`]);
    });
  }
}

class Cells extends Frame {
  draw() {
    const width = this.node.clientWidth, {rows, columns, values, most} = this.spec, tall = 26, top = 4;
    if (!width) return;
    const left = Math.min(width * 0.4, widest([...rows, `↑ ${this.spec.y}`]) + 12), wide = (width - left - SIDE) / columns.length;
    const bottom = top + rows.length * tall;
    this.resize(width, bottom + AXIS);
    rows.forEach((name, y) => make(this.svg, "text", {x: left - 8, y: top + y * tall + 17, "text-anchor": "end"}, name));
    columns.forEach((name, x) =>
      make(this.svg, "text", {x: left + (x + 0.5) * wide, y: bottom + 15, "text-anchor": "middle"}, name));
    make(this.svg, "text", {x: width - SIDE, y: bottom + 31, "text-anchor": "end", class: "unit"}, `${this.spec.x} →`);
    make(this.svg, "text", {x: left - 8, y: bottom + 31, "text-anchor": "end", class: "unit"}, `↑ ${this.spec.y}`);
    values.forEach((line, y) => line.forEach((value, x) => {
      const share = value === null ? 0 : Math.min(1, value / (most || 1));
      make(this.svg, "rect", {class: "cell", x: left + x * wide, y: top + y * tall, width: wide, height: tall,
        fill: value === null ? "#fff" : `color-mix(in srgb, #08306b ${Math.round(8 + 82 * share)}%, white)`});
      make(this.svg, "text", {x: left + (x + 0.5) * wide, y: top + y * tall + 17, "text-anchor": "middle",
        class: share > 0.45 ? "light" : "dark"}, value === null ? "–" : value.toPrecision(3));
    }));
  }
}

const SHAPES = {
  circle: r => `M${-r} 0a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0Z`,
  square: r => `M${-r} ${-r}h${2 * r}v${2 * r}h${-2 * r}Z`,
  triangle: r => `M0 ${-1.3 * r}L${1.2 * r} ${r}L${-1.2 * r} ${r}Z`,
  diamond: () => "M0 -9L9 0L0 9L-9 0Z",
  star: () => "M0 -10L2.9 -3.1L10 -3.1L4.5 1.5L6.2 8.7L0 4.6L-6.2 8.7L-4.5 1.5L-10 -3.1L-2.9 -3.1Z",
};

// Points over two figures. Pointing at one tells what it is; choosing one shows its curve, if it has one.
class Dots extends Frame {
  constructor(chart, spec) {
    super(chart, spec);
    this.svg.addEventListener("pointermove", event => this.look(event));
    this.svg.addEventListener("pointerleave", () => { if (!this.chosen) this.say([], 0, 0); });
    this.svg.addEventListener("click", event => this.choose(this.near(event)));
    this.below = make(this.node, "div", {class: "chosen"});
    const first = spec.sets.flatMap(one => one.is_named ? one.dots : []).find(dot => spec.curves[dot.key]);
    if (first) queueMicrotask(() => this.choose(first));
  }
  keys() {
    return this.spec.sets.map(one => ({n: one.label, c: one.colour, wide: !one.line, dot: !one.line, shape: one.shape}));
  }
  visible() { return this.spec.sets.filter(one => !this.chart.hidden.has(one.label)); }
  draw() {
    const width = this.node.clientWidth, height = 300, bottom = height - AXIS;
    if (!width) return;
    const every = this.spec.sets.flatMap(one => one.dots), xs = every.map(dot => dot.x), 
      ys = every.flatMap(dot => [dot.y, dot.low, dot.high].filter(value => value !== null));
    const {log_x, log} = this.spec;
    this.edge = width - (this.spec.right_times ? JOBS : RIGHT);
    const [left, right] = this.range(xs, log_x), [low, high] = this.range(ys, log);
    this.resize(width, height);
    this.x = scaleOf(left, right, LEFT, this.edge - 4, log_x);
    this.y = scaleOf(low, high, bottom, TOP, log);
    make(this.svg, "text", {x: 2, y: 13, class: "unit"}, `↑ ${this.spec.y}`);
    make(this.svg, "text", {x: this.edge, y: height - 3, "text-anchor": "end", class: "unit"}, `${this.spec.x} →`);
    if (this.spec.right_times) this.right(low, high, bottom, width, log);
    for (const value of ticksOf(low, high, bottom / 40, log)) {
      make(this.svg, "line", {class: "grid", x1: LEFT, x2: this.edge, y1: this.y(value), y2: this.y(value)});
      make(this.svg, "text", {x: LEFT - 6, y: this.y(value) + 4, "text-anchor": "end"}, tick(value));
    }
    for (const value of ticksOf(left, right, width / 80, log_x))
      make(this.svg, "text", {x: this.x(value), y: bottom + 15, "text-anchor": "middle"}, tick(value));
    make(this.svg, "line", {class: "axis", x1: LEFT, x2: this.edge, y1: bottom, y2: bottom});
    for (const one of this.spec.levels) this.level(one);
    for (const one of this.visible()) this.set(one);
    const taken = [];
    for (const one of this.visible()) if (one.is_named) for (const dot of one.dots) this.name(dot, width, taken);
  }
  range(values, log) {
    const known = log ? values.filter(value => value > 0) : values, most = Math.max(...known, log ? 1e-9 : 0);
    return log ? [Math.min(...known, most) / 1.3, most * 1.3] : [Math.min(0, ...known), most * 1.06 || 1];
  }
  // The same heights in other units, to the right.
  right(low, high, bottom, width, log) {
    const times = this.spec.right_times;
    make(this.svg, "text", {x: width - 2, y: 13, "text-anchor": "end", class: "unit"}, `${this.spec.right} ↑`);
    make(this.svg, "line", {class: "axis", x1: this.edge, x2: this.edge, y1: TOP, y2: bottom});
    for (const value of ticksOf(low * times, high * times, bottom / 40, log))
      make(this.svg, "text", {x: this.edge + 6, y: this.y(value / times) + 4, class: "right"}, tick(value));
  }
  level(one) {
    const y = this.y(one.y), top = one.to === null ? y : this.y(one.to), right = this.edge;
    if (one.to === null) make(this.svg, "path", {class: "level", d: `M${LEFT} ${y}H${right}`, stroke: "#555", "stroke-dasharray": "2 3"});
    else make(this.svg, "rect", {class: "level", x: LEFT, y: top, width: right - LEFT, height: Math.max(1, y - top), fill: "#888", opacity: 0.25});
    make(this.svg, "text", {x: right - 4, y: top - 3, "text-anchor": "end", class: "unit"}, one.label);
  }
  set(one) {
    for (const dot of one.dots) if (dot.low !== null && dot.high !== null)
      make(this.svg, "path", {class: "interval", d: `M${this.x(dot.x)} ${this.y(dot.low)}V${this.y(dot.high)}`});
    if (one.line) {
      const path = one.dots.map(dot => `${this.x(dot.x)} ${this.y(dot.y)}`).join("L");
      if (path) make(this.svg, "path", {class: "curve", d: `M${path}`, stroke: one.colour});
    }
    for (const dot of one.dots) {
      const isHollow = one.shape === "diamond";  // it may lie on another
      make(this.svg, "path", {d: SHAPES[one.shape](one.line ? 4.5 : 3.5), transform: `translate(${this.x(dot.x)} ${this.y(dot.y)})`,
        fill: isHollow ? "none" : one.colour, stroke: one.colour, "stroke-width": isHollow ? 2.5 : 0, "data-label": one.label});
    }
  }
  name(dot, width, taken) {
    // Bold is wider; what does not fit to the right begins further left, and above a name that is there already.
    const wide = 1.2 * widest([dot.name]), at = Math.max(2, Math.min(this.x(dot.x) + 14, width - wide - 2));
    let y = this.y(dot.y) - 12;
    while (taken.some(one => at < one.to && one.at < at + wide && Math.abs(one.y - y) < 16)) y -= 16;
    taken.push({at, to: at + wide, y});
    make(this.svg, "text", {x: at, y, class: "name"}, dot.name);
  }
  near(event) {
    const box = this.svg.getBoundingClientRect(), px = event.clientX - box.left, py = event.clientY - box.top;
    let found = null, least = 24;
    for (const one of this.visible()) for (const dot of one.dots) {
      const away = Math.hypot(this.x(dot.x) - px, this.y(dot.y) - py);
      // What is drawn last lies on top.
      if (away <= least) { least = away; found = dot; }
    }
    return found;
  }
  look(event) {
    const dot = this.near(event);
    this.svg.style.cursor = dot ? "pointer" : "default";
    this.say(dot ? [dot.name, `${this.spec.y}: ${shown(dot.y)}`, `${this.spec.x}: ${shown(dot.x)}`] : [], dot ? this.x(dot.x) : 0, dot ? this.y(dot.y) : 0);
  }
  choose(dot) {
    const panel = dot && this.spec.curves[dot.key];
    if (!panel) return;
    this.below.replaceChildren();
    const figure = make(this.below, "div", {class: "chart"});
    figure.id = `${this.chart.node.id}-chosen`;
    DATA.charts[figure.id] = {title: dot.name, columns: 1, panels: [{...panel, title: dot.name}]};
    new Chart(figure);
  }
}
