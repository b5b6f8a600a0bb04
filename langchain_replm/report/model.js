"use strict";
// The run as a tree of nodes. A node knows its record, its parent and, once drawn, its element.

/** Tokens, cost and calls of one step or one call, children included. */
function spentOn(record, into = { input: 0, output: 0, cost: 0, priced: false, calls: 0 }) {
  const add = (usage, cost) => {
    if (usage) {
      into.input += usage.input_tokens || 0;
      into.output += usage.output_tokens || 0;
    }
    if (cost !== null && cost !== undefined) {
      into.cost += cost;
      into.priced = true;
    }
  };
  if (record.cells) {
    add(record.usage, record.cost_usd);
    if (record.summary) add(record.summary.usage, record.summary.cost_usd);
    for (const item of itemsOf(record)) spentOn(item, into);
    for (const candidate of record.candidates || []) {
      for (const step of candidate.trajectory) spentOn(step, into);
    }
  } else {
    // A call of a child run carries the sums of the child.
    for (const usage of Object.values(record.usage || {})) add(usage, null);
    if (record.cost_usd !== null && record.cost_usd !== undefined) add(null, record.cost_usd);
    else if ((record.child || []).length) {
      const inner = record.child.map((step) => spentOn(step));
      for (const one of inner) if (one.priced) add(null, one.cost);
    }
    into.calls += record.sub_calls || 0;
  }
  return into;
}

function* itemsOf(step) {
  for (const cell of step.cells || []) {
    for (const call of cell.host_calls || []) yield* call.items;
  }
}

class Tree {
  constructor(run) {
    this.run = run;
    this.nodes = [];
    this.steps = (run.trajectory || []).map((step) => this.step(step, null, 0));
    this.end = Math.max(run.elapsed_seconds || 0, ...this.nodes.map((node) => node.end), 0.001);
  }

  add(kind, record, parent, depth, start, length, label) {
    const node = { kind, record, parent, depth, start: start || 0, label, element: null };
    node.end = node.start + (length || 0);
    node.index = this.nodes.push(node) - 1;
    return node;
  }

  step(record, parent, depth) {
    const name = record.closing ? "Closing request" : `Iteration ${record.number}`;
    const node = this.add("step", record, parent, depth, record.started_seconds, record.elapsed_seconds, name);
    node.name = parent ? `${parent.name} › ${name.toLowerCase()}` : name;
    node.candidates = (record.candidates || []).map((candidate, index) => {
      const group = { kind: "group", record: candidate, parent: node, depth, element: null };
      group.name = `Candidate ${index + 1}`;
      group.steps = candidate.trajectory.map((step) => this.step(step, group, depth + 1));
      return group;
    });
    node.cells = (record.cells || []).map((cell, index) => this.cell(cell, node, depth, index));
    return node;
  }

  cell(record, parent, depth, index) {
    const length = Math.max(record.total_seconds || 0, record.elapsed_seconds || 0);
    const node = this.add("cell", record, parent, depth, record.started_seconds, length, `Cell ${index + 1}`);
    node.name = `${parent.name}, cell ${index + 1}`;
    node.calls = (record.host_calls || []).map((call) => {
      const group = { kind: "group", record: call, parent: node, depth, element: null };
      group.items = call.items.map((item, at) => this.item(item, group, depth, at, call));
      return group;
    });
    return node;
  }

  item(record, group, depth, at, call) {
    const node = this.add("item", record, group, depth, record.started_seconds, record.elapsed_seconds, call.function);
    const place = call.items.length > 1 ? ` ${at + 1} of ${count(call.items.length)}` : "";
    node.name = `${group.parent.name}, ${call.function}${place}`;
    node.at = at;
    node.child = (record.child || []).map((step) => this.step(step, node, depth + 1));
    return node;
  }

  /** The steps that led to the answer: of several candidates, those of the chosen one. */
  decisive() {
    return this.steps.flatMap((step) => {
      const chosen = step.candidates.find((candidate) => candidate.record.chosen);
      return chosen ? chosen.steps : [step];
    });
  }

  /** Where the answer was submitted: a cell, or the text of the last reply. */
  source() {
    for (const step of this.decisive().reverse()) {
      const cell = step.cells.find((one) => one.record.answer);
      if (cell) return cell;
    }
    return this.decisive().at(-1) || null;
  }

  /** The variables that a cell used and the cells that made them, and theirs: the nearest first. */
  lineage(cell, most = 10) {
    const cells = this.decisive().flatMap((step) => step.cells);
    const found = [], seen = new Set(), queue = [cell];
    while (queue.length && found.length < most) {
      const user = queue.shift();
      const before = cells.slice(0, cells.indexOf(user)).reverse();
      for (const name of new Set(user.record.code.match(/(?<![.\w])[A-Za-z_]\w*(?![\w"'])/g) || [])) {
        const maker = before.find((one) => Object.hasOwn(one.record.changed || {}, name));
        if (!maker || seen.has(`${maker.index} ${name}`) || found.length >= most) continue;
        seen.add(`${maker.index} ${name}`);
        found.push({ name, cell: maker, summary: maker.record.changed[name] });
        if (!queue.includes(maker)) queue.push(maker);
      }
    }
    return found;
  }

  /** Every text of a node that a person may look for. */
  static texts(node) {
    const r = node.record;
    if (node.kind === "step") return { reply: r.reply, notes: r.summary?.text, observation: r.observation, error: r.error };
    if (node.kind === "cell") {
      return { code: r.code, output: r.output_head + r.output_tail, error: r.error, answer: r.answer?.text };
    }
    return { prompt: r.prompt, reply: r.response, error: r.error };
  }
}
