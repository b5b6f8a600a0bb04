"use strict";
// Iterations, cells and calls as folds. A body is drawn when its fold is opened for the first time.

const PAGE_ITEMS = 50;

const badge = (text, kind = "") => make("span", { class: `badge ${kind}` }, shown(text));
const titled = (title, ...content) => make("div", { class: "part" }, make("h4", {}, title), ...content);

function spentLine(spent) {
  const parts = [`${count(spent.input)} in`, `${count(spent.output)} out`];
  if (spent.priced) parts.push(dollars(spent.cost));
  return parts.join(" · ");
}

/** What a reply says around its cells, and the cells, in the order in which they were written. */
function proseAndCells(step) {
  const parts = [];
  let rest = step.record.reply || "";
  for (const cell of step.cells) {
    const code = cell.record.code;
    const at = code ? rest.indexOf(code) : -1;
    if (at >= 0) {
      parts.push(rest.slice(0, at).replace(/\s*(`{3,}|~{3,})[^\n]*\n?\s*$/, ""));
      rest = rest.slice(at + code.length).replace(/^\s*(`{3,}|~{3,})[^\n]*/, "");
    }
    parts.push(cell);
  }
  parts.push(rest);
  return parts.filter((part) => typeof part !== "string" || part.trim());
}

function stepGist(node) {
  const { record } = node;
  if (record.error) return record.error;
  if (node.candidates.length) return `${plural(node.candidates.length, "candidate")}: runs of the same question, of which one was chosen`;
  const parts = proseAndCells(node);
  const prose = parts.find((part) => typeof part === "string");
  if (prose) return prose;
  const code = node.cells[0]?.record.code || record.reply || "";
  const comment = code.match(/^\s*#\s*(.+)$/m);
  return comment ? comment[1] : code;
}

class Steps {
  /** The folds of one run or child run. */
  list(nodes) {
    return make("div", { class: "steps" }, nodes.map((node) => this.step(node)));
  }

  step(node) {
    const { record } = node;
    const items = [...itemsOf(record)];
    const spent = spentOn(record);
    const bad = node.cells.filter((cell) => !["ok", "skipped"].includes(cell.record.status)).length;
    const failed = items.filter((item) => item.status !== "ok").length;
    const answers = node.cells.some((cell) => cell.record.answer) || (!node.parent && node === APP.answer);
    const summary = [
      make("span", { class: "number", title: node.label }, record.closing ? "end" : String(record.number)),
      make("span", { class: "gist" }, shown(gist(stepGist(node)))),
      make("span", { class: "badges" },
        answers && badge("answer", "good"),
        record.error && badge("no reply", "bad"),
        record.held && badge("answer held"),
        bad > 0 && badge(plural(bad, "cell error"), "bad"),
        items.length > 0 && badge(plural(items.length, "call")),
        failed > 0 && badge(`${count(failed)} failed`, "bad")),
      make("span", { class: "spent" }, spentLine(spent)),
      make("span", { class: "time" }, seconds(this.lasted(node))),
    ];
    node.element = fold("step", summary, () => this.stepBody(node, spent));
    node.element.id = `n${node.index}`;
    return node.element;
  }

  lasted(node) {
    const end = Math.max(node.end, ...node.cells.map((cell) => cell.end));
    return end - node.start;
  }

  stepBody(node, spent) {
    const { record } = node;
    const parts = [];
    const own = record.usage ? `${count(record.usage.input_tokens)} tokens in, ${count(record.usage.output_tokens)} out` : "tokens unknown";
    const price = record.cost_usd === null || record.cost_usd === undefined ? "" : `, ${dollars(record.cost_usd)}`;
    parts.push(make("p", { class: "hint" }, shown(
      `${record.model || "Root model"}: thought for ${seconds(record.elapsed_seconds || 0)}; ${own}${price}. `
      + `With its calls: ${spentLine(spent)}.`)));
    if (record.summary) parts.push(this.notes(record.summary));
    if (record.held) parts.push(make("p", { class: "hint" }, shown(`The answer of this reply was not taken (guard ${record.held}); what the model was told is below.`)));
    if (record.error) parts.push(titled("The root call failed", block(record.error, "error")));
    for (const candidate of node.candidates) parts.push(this.candidate(candidate));
    for (const part of proseAndCells(node)) {
      if (typeof part === "string") parts.push(titled("The model says", block(part.trim(), "prose")));
      else parts.push(this.cell(part));
    }
    if (record.observation) {
      parts.push(fold("minor", [`What the root model was shown next (${count(record.observation.length)} characters)`],
        () => block(record.observation, "output")));
    }
    if (record.reply && record.cells.length) {
      parts.push(fold("minor", ["The reply as it was written"], () => block(record.reply, "prose")));
    }
    return parts;
  }

  candidate(group) {
    const { record } = group;
    const spent = { input: 0, output: 0, cost: 0, priced: false, calls: 0 };
    for (const step of record.trajectory) spentOn(step, spent);
    group.element = fold("group", [
      make("span", { class: "function" }, group.name), make("span", { class: "gist" }, shown(gist(record.answer))),
      make("span", { class: "badges" }, record.chosen && badge("chosen", "good"), badge(record.stop_reason)),
      make("span", { class: "spent" }, spentLine(spent))], () => this.list(group.steps));
    return group.element;
  }

  notes(summary) {
    const spent = { input: summary.usage?.input_tokens || 0, output: summary.usage?.output_tokens || 0,
      cost: summary.cost_usd || 0, priced: summary.cost_usd !== null && summary.cost_usd !== undefined };
    const title = `Before this reply the root model made notes of the iterations up to ${summary.through}, to be shown instead of them`;
    return fold("minor", [title, make("span", { class: "spent" }, spentLine(spent))], () => block(summary.text, "prose"));
  }

  cell(node) {
    const { record } = node;
    const status = { ok: "ok", error: "raised an error", timeout: "ran out of time", died: "ended its worker", skipped: "not run" };
    const kind = record.status === "ok" ? "good" : record.status === "skipped" ? "" : "bad";
    const box = make("div", { class: "cell", id: `n${node.index}`, tabindex: "-1" },
      make("div", { class: "cellhead" },
        make("h4", {}, node.label), badge(status[record.status] || record.status, kind),
        make("span", { class: "hint" }, this.cellTime(record))),
      block(record.code, "code", python));
    for (const group of node.calls) box.append(this.group(group));
    const output = this.output(record);
    if (output) box.append(titled(`Output (${plural(record.output_chars, "character")})`, block(output, "output")));
    if (record.error) box.append(titled("Error", block(record.error, "error")));
    if (record.answer) {
      const title = record.answer.is_json ? "Submitted as the answer (JSON)" : "Submitted as the answer";
      box.append(titled(title, block(record.answer.text, "answer")));
    }
    const changed = Object.entries(record.changed || {});
    if (changed.length || (record.removed || []).length) {
      box.append(fold("minor", [`Variables made or changed: ${count(changed.length)}`], () => variables(changed, record.removed)));
    }
    node.element = box;
    return box;
  }

  cellTime(record) {
    const own = `own time ${seconds(record.elapsed_seconds || 0)}`;
    const waited = (record.total_seconds || 0) - (record.elapsed_seconds || 0);
    return waited > 0.001 ? `${own}, waited ${seconds(waited)} for calls` : own;
  }

  output(record) {
    const missing = record.output_chars - record.output_head.length - record.output_tail.length;
    if (missing <= 0) return record.output_head + record.output_tail;
    return `${record.output_head}\n[… ${count(missing)} characters not kept …]\n${record.output_tail}`;
  }

  group(group) {
    const { items } = group;
    const bad = items.filter((item) => item.record.status !== "ok").length;
    const cached = items.filter((item) => item.record.cached).length;
    const spent = { input: 0, output: 0, cost: 0, priced: false, calls: 0 };
    for (const item of items) spentOn(item.record, spent);
    const summary = [
      make("span", { class: "function" }, shown(group.record.function)),
      make("span", { class: "gist" }, items.length === 1
        ? shown(gist(items[0].record.prompt, 90)) : plural(items.length, "item")),
      make("span", { class: "badges" },
        cached > 0 && badge(`${count(cached)} from cache`),
        bad > 0 ? badge(`${count(bad)} failed or refused`, "bad") : badge("all ok", "good")),
      make("span", { class: "spent" }, spentLine(spent)),
    ];
    group.element = fold("group", summary, () => {
      if (items.length === 1) return this.itemBody(items[0]);
      return this.pages(group);
    });
    if (items.length === 1) items[0].element = group.element;
    return group.element;
  }

  /** Ten thousand items are a hundred pages, drawn one at a time. */
  pages(group) {
    const { items } = group;
    const list = make("div", { class: "items" });
    const last = Math.ceil(items.length / PAGE_ITEMS) - 1;
    const label = make("span", { role: "status" });
    const step = (by, text) => make("button", { type: "button", onclick: () => group.show(group.page + by) }, text);
    const back = step(-1, "← Earlier"), on = step(1, "Later →");
    group.show = (page) => {
      group.page = Math.max(0, Math.min(page, last));
      const from = group.page * PAGE_ITEMS;
      const some = items.slice(from, from + PAGE_ITEMS);
      list.replaceChildren(...some.map((item) => this.item(item)));
      label.textContent = `${count(from + 1)} to ${count(from + some.length)} of ${count(items.length)}`;
      back.disabled = group.page === 0;
      on.disabled = group.page === last;
    };
    group.show(0);
    return last > 0 ? [make("div", { class: "pager" }, back, label, on), list] : [list];
  }

  item(node) {
    const { record } = node;
    const ok = record.status === "ok";
    const summary = [
      make("span", { class: "number" }, count(node.at + 1)),
      make("span", { class: "gist" }, shown(gist(record.prompt, 70)), make("span", { class: "arrow" }, " → "),
        shown(gist(ok ? record.response : record.error, 70))),
      make("span", { class: "badges" }, record.cached && badge("cache"), !ok && badge(record.status, "bad")),
      make("span", { class: "time" }, seconds(record.elapsed_seconds || 0)),
    ];
    node.element = fold("item", summary, () => this.itemBody(node));
    node.element.id = `n${node.index}`;
    return node.element;
  }

  itemBody(node) {
    const { record } = node;
    const kept = record.prompt.length;
    const cut = record.prompt_chars > kept ? `, the first ${count(kept)} of them kept` : "";
    const title = record.kind === "tool" ? "Arguments" : record.child.length ? "Query of the child run" : "Prompt";
    const spent = spentOn(record);
    const facts = [record.model, record.cached ? "from the cache" : seconds(record.elapsed_seconds || 0), spentLine(spent)];
    const parts = [
      make("p", { class: "hint" }, shown(facts.filter(Boolean).join(" · "))),
      titled(`${title} (${plural(record.prompt_chars, "character")}${cut})`, block(record.prompt, "prose")),
    ];
    if (record.status === "ok") {
      const what = record.kind === "tool" ? "Result" : "Reply";
      parts.push(titled(`${what} (${plural(record.response.length, "character")})`, block(record.response, "prose")));
    } else {
      parts.push(titled(record.status === "refused" ? "Refused" : "Failed", block(record.error, "error")));
    }
    if (node.child.length) parts.push(titled("What the child run did", this.list(node.child)));
    return parts;
  }

  /** Open every fold above a node, draw what is needed, and bring it into view. */
  reveal(node) {
    const way = [];
    for (let one = node; one; one = one.parent) way.unshift(one);
    for (const [index, one] of way.entries()) {
      if (one.kind === "item" && one.parent.show) {
        const page = Math.floor(one.at / PAGE_ITEMS);
        if (one.parent.page !== page || !one.element?.isConnected) one.parent.show(page);
      }
      const last = index === way.length - 1;
      if (one.element?.openNow && (!last || one.kind !== "group")) one.element.openNow();
    }
    const target = node.element;
    if (!target) return;
    const focus = target.querySelector(":scope > summary") || target;
    focus.focus({ preventScroll: true });
    target.scrollIntoView({ block: "start" });
    target.classList.remove("flash");
    void target.offsetWidth;
    target.classList.add("flash");
  }
}

function variables(entries, removed = []) {
  return make("table", { class: "vars" }, make("tbody", {},
    entries.map(([name, summary]) => make("tr", {}, make("th", { scope: "row" }, shown(name)), make("td", {}, shown(summary)))),
    removed.map((name) => make("tr", {}, make("th", { scope: "row" }, shown(name)), make("td", { class: "hint" }, "removed")))));
}
