"use strict";
// The Gantt view: one canvas, whatever the number of calls; arrow keys walk through the bars.

class Timeline {
  constructor(tree, reveal) {
    this.tree = tree;
    this.reveal = reveal;
    this.bars = tree.nodes.filter((node) => node.end > 0 || node.start > 0);
    this.from = 0;
    this.to = tree.end;
    this.selected = null;
    this.place();
    this.canvas = make("canvas", {
      tabindex: "0", role: "application", "aria-roledescription": "timeline", "aria-describedby": "tl-help tl-say",
      "aria-label": "Timeline of root calls, cells and sub-calls",
    });
    this.probe = make("i", { hidden: true });
    this.say = make("p", { id: "tl-say", class: "say", role: "status" }, "Point at a bar, or press an arrow key.");
    const zoom = (factor) => () => this.zoom(factor, (this.from + this.to) / 2);
    const button = (label, name, act) => make("button", { type: "button", title: name, "aria-label": name, onclick: act }, label);
    this.element = make("div", { class: "gantt" },
      make("div", { class: "legend" },
        this.key("root", "root model"), this.key("cell", "cell"), this.key("sub", "sub-call"),
        this.key("tool", "tool"), this.key("child", "inside a child run"), this.key("bad", "failed or refused"),
        make("span", { class: "grow" }),
        button("−", "Zoom out", zoom(1.5)), button("+", "Zoom in", zoom(1 / 1.5)),
        button("All", "Show the whole run", () => { this.from = 0; this.to = tree.end; this.draw(); })),
      this.canvas, this.probe, this.say,
      make("p", { id: "tl-help", class: "hint" },
        "Arrow keys walk through the bars, Enter opens one, + and − zoom, drag to move, Ctrl and wheel to zoom."));
    this.listen();
    new ResizeObserver(() => this.draw()).observe(this.canvas);
  }

  key(kind, label) {
    return make("span", { class: "key" }, make("i", { class: `swatch ${kind}` }), label);
  }

  colour(node) {
    const bad = node.kind === "item" ? node.record.status !== "ok"
      : node.kind === "cell" ? !["ok", "skipped"].includes(node.record.status) : Boolean(node.record.error);
    if (bad) return "bad";
    if (node.kind === "item") return node.record.kind === "tool" ? "tool" : node.depth ? "child" : "sub";
    return node.depth ? "child" : node.kind === "step" ? "root" : "cell";
  }

  /** Row 0: root calls; row 1: cells; below: everything else in the first row that is free. */
  place() {
    this.bars.sort((a, b) => a.start - b.start || b.end - a.end);
    const free = [];
    for (const node of this.bars) {
      if (!node.depth && node.kind !== "item") {
        node.row = node.kind === "step" ? 0 : 1;
        continue;
      }
      let lane = free.findIndex((end) => end <= node.start);
      if (lane < 0) lane = free.length < 200 ? free.push(0) - 1 : 199;
      free[lane] = Math.max(free[lane], node.end);
      node.row = lane + 2;
    }
    this.rows = free.length + 2;
  }

  get rowHeight() {
    return Math.max(3, Math.min(16, Math.floor(420 / this.rows)));
  }

  draw() {
    const { canvas } = this;
    const width = canvas.clientWidth, axis = 22;
    const height = axis + this.rows * this.rowHeight + 6;
    if (!width) return;
    const scale = window.devicePixelRatio || 1;
    canvas.style.height = `${height}px`;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    const pen = canvas.getContext("2d");
    const paint = (name) => {
      this.probe.style.color = `var(--${name})`;
      return getComputedStyle(this.probe).color;
    };
    pen.scale(scale, scale);
    this.x = (time) => ((time - this.from) / (this.to - this.from)) * width;
    this.axis(pen, width, height, paint);
    const colours = {};
    for (const kind of ["root", "cell", "sub", "tool", "child", "bad"]) colours[kind] = paint(kind);
    const gap = this.rowHeight > 5 ? 2 : this.rowHeight > 3 ? 1 : 0;
    for (const node of this.bars) {
      if (node.end < this.from || node.start > this.to) continue;
      const left = this.x(node.start);
      const wide = Math.max(1.5, this.x(node.end) - left - 0.5);
      pen.fillStyle = colours[this.colour(node)];
      pen.fillRect(left, axis + node.row * this.rowHeight, wide, this.rowHeight - gap);
      if (node.kind === "step" && !node.depth && wide > 18 && this.rowHeight >= 12) {
        pen.fillStyle = paint("on-bar");
        pen.font = "11px system-ui, sans-serif";
        pen.fillText(String(node.record.number), left + 4, axis + node.row * this.rowHeight + 10.5);
      }
    }
    if (this.selected) {
      const { start, end, row } = this.selected;
      pen.strokeStyle = paint("ink");
      pen.lineWidth = 2;
      const left = this.x(start);
      pen.strokeRect(left - 1, axis + row * this.rowHeight - 1, Math.max(3, this.x(end) - left) + 1, this.rowHeight);
    }
  }

  axis(pen, width, height, paint) {
    const span = this.to - this.from;
    const rough = span / Math.max(2, width / 110);
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
    const digits = Math.max(0, -Math.floor(Math.log10(step)));
    pen.font = "11px system-ui, sans-serif";
    for (let n = Math.ceil(this.from / step); n * step <= this.to; n += 1) {
      const left = this.x(n * step);
      pen.fillStyle = paint("line");
      pen.fillRect(left, 16, 1, height);
      pen.fillStyle = paint("soft");
      const label = `${(n * step).toFixed(digits)} s`;
      if (left + 44 < width) pen.fillText(label, left + 3, 12);
    }
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    const time = this.from + ((event.clientX - box.left) / box.width) * (this.to - this.from);
    const row = Math.floor((event.clientY - box.top - 22) / this.rowHeight);
    const slack = (2 / box.width) * (this.to - this.from);
    let best = null;
    for (const node of this.bars) {
      if (node.row !== row || time < node.start - slack || time > node.end + slack) continue;
      if (!best || node.end - node.start < best.end - best.start) best = node;
    }
    return best;
  }

  select(node) {
    this.selected = node;
    const { record } = node;
    const more = node.kind === "item" ? [record.status, record.model, gist(record.response || record.error, 90)]
      : node.kind === "cell" ? [record.status, `own time ${seconds(record.elapsed_seconds || 0)}`]
        : [record.model, record.error && gist(record.error, 90)];
    const parts = [node.name, `${seconds(node.end - node.start)}, from ${seconds(node.start)}`, ...more];
    this.say.replaceChildren(shown(parts.filter(Boolean).join(" · ")));
    this.draw();
  }

  zoom(factor, centre) {
    const span = Math.min(this.tree.end, Math.max(this.tree.end / 20000, (this.to - this.from) * factor));
    const share = (centre - this.from) / (this.to - this.from);
    this.move(centre - share * span, span);
  }

  move(from, span = this.to - this.from) {
    this.from = Math.max(0, Math.min(from, this.tree.end - span));
    this.to = this.from + span;
    this.draw();
  }

  walk(step) {
    const at = this.selected ? this.bars.indexOf(this.selected) + step : step > 0 ? 0 : this.bars.length - 1;
    const node = this.bars[Math.max(0, Math.min(at, this.bars.length - 1))];
    if (!node) return;
    if (node.start < this.from || node.end > this.to) this.move(node.start - (this.to - this.from) / 3);
    this.select(node);
  }

  neighbour(direction) {
    const now = this.selected;
    if (!now) return this.walk(1);
    const others = this.bars.filter((node) => node.row === now.row + direction);
    const nearest = (a, b) => (Math.abs(a.start - now.start) <= Math.abs(b.start - now.start) ? a : b);
    if (others.length) this.select(others.reduce(nearest));
    return undefined;
  }

  listen() {
    const { canvas } = this;
    let drag = null;
    canvas.addEventListener("pointerdown", (event) => {
      drag = { x: event.clientX, from: this.from, moved: false };
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (drag) {
        const by = event.clientX - drag.x;
        drag.moved = drag.moved || Math.abs(by) > 4;
        if (drag.moved) this.move(drag.from - (by / canvas.clientWidth) * (this.to - this.from));
        return;
      }
      const node = this.at(event);
      canvas.style.cursor = node ? "pointer" : "default";
      if (node && node !== this.selected) this.select(node);
    });
    canvas.addEventListener("pointerup", (event) => {
      const node = drag && !drag.moved ? this.at(event) : null;
      drag = null;
      if (node) this.reveal(node);
    });
    canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      const share = event.offsetX / canvas.clientWidth;
      this.zoom(event.deltaY > 0 ? 1.25 : 0.8, this.from + share * (this.to - this.from));
    }, { passive: false });
    const keys = {
      ArrowRight: () => this.walk(1), ArrowLeft: () => this.walk(-1),
      ArrowDown: () => this.neighbour(1), ArrowUp: () => this.neighbour(-1),
      Home: () => { this.selected = null; this.walk(1); }, End: () => { this.selected = null; this.walk(-1); },
      "+": () => this.zoom(1 / 1.5, this.selected?.start ?? (this.from + this.to) / 2),
      "-": () => this.zoom(1.5, this.selected?.start ?? (this.from + this.to) / 2),
      Enter: () => this.selected && this.reveal(this.selected),
    };
    canvas.addEventListener("keydown", (event) => {
      const act = keys[event.key];
      if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      act();
    });
  }
}
