"use strict";
// The page: verdict, cost, timeline, iterations, search.

const byId = (id) => document.getElementById(id);
const APP = { tree: null, steps: new Steps(), answer: null };

const STOPS = {
  answered: "the run ended because the root model gave its answer",
  max_iterations: "the run used up its root replies; the answer is what the root model said when it was asked to close",
  max_sub_calls: "the run used up its sub-calls; the answer is what the root model said after that",
  max_tokens: "the run used up its tokens; the answer is what the root model said when it was asked to close",
  max_cost: "the run used up its money; the answer is what the root model said when it was asked to close",
  deadline: "the run used up its time; the answer is what was there by then",
  errors: "the root model failed too many times in a row",
  cancelled: "the run was cancelled from outside",
  unfinished: "the record breaks off: the run is still going on, or its process died",
};

function figure(value, label, hint) {
  return make("div", { class: "figure", title: hint }, make("strong", {}, shown(value)), make("span", {}, label));
}

function verdict(run, tree) {
  const source = tree.source();
  APP.answer = source && (source.kind === "cell" ? source.parent : source);
  const why = make("p", { class: "why" }, make("span", { class: run.stop_reason === "answered" ? "badge good" : "badge bad" }, shown(run.stop_reason)), " ");
  why.append(`Why it ended: ${STOPS[run.stop_reason] || "see the name of the limit"}.`);
  const answer = run.answer
    ? block(run.answer, "answer big")
    : make("p", { class: "answer big none" }, "There is no answer.");
  const section = byId("verdict");
  section.replaceChildren( // instead of the plain text for browsers that run no script
    make("h2", {}, "Question"), block(run.query || "(not recorded)", "question"),
    make("h2", {}, "Answer"), answer, why, figures(run));
  if (source) section.append(origin(run, source));
  if (run.cost === null) {
    const without = (run.unpriced_models || []).join(", ");
    section.append(make("p", { class: "hint" }, shown(without
      ? `The cost is unknown: there is no price, or no count of tokens, for ${without}.`
      : "The cost is unknown: the run was not told the prices of its models.")));
  }
  for (const note of run.notes || []) section.append(make("p", { class: "hint" }, shown(`Note: ${note}.`)));
  if ((run.sandbox_missing || []).length) {
    section.append(make("p", { class: "hint" }, shown(`Not guaranteed by the sandbox on that machine: ${run.sandbox_missing.join(", ")}.`)));
  }
}

function figures(run) {
  const tokens = run.total_input_tokens + run.total_output_tokens;
  const unpriced = (run.unpriced_models || []).join(", ");
  const hint = run.cost !== null ? "USD, all models and depths" : unpriced ? `no price or no tokens known of: ${unpriced}` : "the run was not told the prices of its models";
  const context = run.context;
  return make("div", { class: "figures" },
    figure(dollars(run.cost), "cost", hint),
    figure(count(tokens), "tokens", `${count(run.total_input_tokens)} in, ${count(run.total_output_tokens)} out`),
    figure(seconds(run.elapsed_seconds), "time"),
    figure(count(run.iterations), "iterations", "replies of the root model"),
    figure(count(run.sub_calls), "sub-calls", "model calls made by cells"),
    run.cache_hits > 0 && figure(count(run.cache_hits), "cache hits"),
    run.tool_calls > 0 && figure(count(run.tool_calls), "tool calls"),
    context && figure(count(context.chars), context.kind === "list" ? `characters in ${plural(context.items, "text")}` : "characters read from",
      "length of the context"));
}

/** Where the answer comes from, at one glance: the reply, its words, its cell. */
function origin(run, source) {
  const step = source.kind === "cell" ? source.parent : source;
  const go = make("button", { type: "button", class: "link", onclick: () => APP.steps.reveal(source) }, source.name);
  const box = make("div", { class: "origin" });
  if (source.kind === "cell") {
    box.append(make("p", {}, "The answer was submitted by ", go, ". The code of that cell:"));
    box.append(block(source.record.code, "code", python));
    box.append(...builtFrom(source));
  } else if (run.answer && step.record.reply) {
    box.append(make("p", {}, "The answer stands in the text of ", go, "."));
  } else {
    box.append(make("p", {}, "The last thing that happened: ", go, "."));
  }
  return box;
}

function builtFrom(source) {
  const made = APP.tree.lineage(source);
  if (!made.length) return [];
  const line = ({ name, cell, summary }) => {
    const calls = cell.calls.reduce((sum, group) => sum + group.items.length, 0);
    return make("li", {}, make("code", {}, shown(name)), " was made in ",
      make("button", { type: "button", class: "link", onclick: () => APP.steps.reveal(cell) }, cell.name),
      calls ? ` with ${plural(calls, "call")}` : "", make("span", { class: "hint" }, ": ", shown(gist(summary, 110))));
  };
  return [make("p", {}, "It was built from these variables, the nearest first:"), make("ul", { class: "made" }, made.map(line))];
}

function costs(run, tree) {
  const root = { input: 0, output: 0, cost: 0, priced: false, calls: 0 };
  const calls = { input: 0, output: 0, cost: 0, priced: false, calls: 0 };
  const split = (steps) => steps.forEach((step) => {
    spentOn({ ...step, cells: [], candidates: [] }, root);
    for (const item of itemsOf(step)) spentOn(item, calls);
    for (const candidate of step.candidates || []) split(candidate.trajectory);
  });
  split(run.trajectory);
  const table = (title, head, rows) => make("div", { class: "scroll" }, make("table", {}, make("caption", {}, title),
    make("thead", {}, make("tr", {}, head.map((name) => make("th", { scope: "col" }, name)))),
    make("tbody", {}, rows.map(([name, ...cells]) => make("tr", {}, make("th", { scope: "row" }, shown(name)), cells.map((value) => make("td", {}, value)))))));
  const models = Object.entries(run.usage_by_model || {}).map(([name, usage]) => [
    name, count(usage.input_tokens), count(usage.input_token_details?.cache_read || 0),
    count(usage.output_tokens), count(usage.output_token_details?.reasoning || 0)]);
  const unknown = (spent) => (spent.priced ? dollars(spent.cost) : "unknown");
  const who = [["Root model", count(root.input), count(root.output), unknown(root)]];
  if (calls.calls || calls.input) who.push(["Sub-calls and children", count(calls.input), count(calls.output), unknown(calls)]);
  who.push(["Sum", count(root.input + calls.input), count(root.output + calls.output), dollars(run.cost)]);
  byId("facts").append(make("h2", { id: "cost" }, "Tokens and cost"), make("div", { class: "tables" },
    table("By model", ["", "input", "of it cached", "output", "of it reasoning"], models),
    table("By role", ["", "input", "output", "cost"], who)));
  if (run.context) {
    const { kind, items, chars, sha256, head, tail } = run.context;
    byId("facts").append(make("h2", {}, "What was read"),
      make("p", {}, `${kind === "list" ? plural(items, "text") : "One text"}, ${plural(chars, "character")}. SHA-256 `,
        make("code", { class: "hash" }, shown(sha256))),
      head ? fold("minor", ["Its start and its end, as the root model was shown them"],
        () => [block(head, "prose"), tail && tail !== head ? block(tail, "prose") : null]) : null);
  }
}

function childRuns(tree) {
  const section = byId("children");
  const runs = (steps) => steps.flatMap((step) => step.cells).flatMap((cell) => cell.calls).flatMap((group) => group.items)
    .filter((item) => item.child.length);
  const first = runs(tree.steps.flatMap((step) => [step, ...step.candidates.flatMap((one) => one.steps)]));
  if (!first.length) return;
  section.hidden = false;
  const branch = (items) => make("ul", { class: "tree" }, items.slice(0, 500).map((item) => {
    const inner = runs(item.child);
    const spent = spentOn(item.record);
    const line = [make("button", { type: "button", class: "link", onclick: () => APP.steps.reveal(item) }, shown(gist(item.record.prompt, 90))),
      make("span", { class: "hint" }, ` ${plural(item.child.length, "iteration")} · ${spentLine(spent)} → `),
      shown(gist(item.record.response || item.record.error, 90))];
    return make("li", {}, inner.length ? fold("minor", line, () => branch(inner)) : line);
  }), items.length > 500 && make("li", { class: "hint" }, `and ${count(items.length - 500)} more, in their iterations`));
  section.append(make("h2", {}, "Child runs"), branch(first));
}

// --- search -------------------------------------------------------------------------------------

const MOST_HITS = 100;

function snippet(text, at, length) {
  const from = Math.max(0, at - 60), to = at + length + 90;
  return [from ? "…" : "", shown(text.slice(from, at)), make("mark", {}, shown(text.slice(at, at + length))),
    shown(text.slice(at + length, to)), to < text.length ? "…" : ""];
}

function find(needle) {
  const box = byId("hits");
  box.hidden = !needle;
  if (!needle) return box.replaceChildren();
  const wanted = needle.toLowerCase();
  const hits = [];
  let total = 0;
  for (const node of APP.tree.nodes) {
    for (const [where, value] of Object.entries(Tree.texts(node))) {
      const at = value ? value.toLowerCase().indexOf(wanted) : -1;
      if (at < 0) continue;
      total += 1;
      if (hits.length < MOST_HITS) hits.push({ node, where, value, at });
    }
  }
  const title = total ? `${plural(total, "text")} with “${needle}”${total > MOST_HITS ? `, the first ${MOST_HITS}` : ""}` : `Nothing holds “${needle}”`;
  box.replaceChildren(make("h2", {}, shown(title)), make("ol", { class: "hits" }, hits.map(({ node, where, value, at }) =>
    make("li", {}, make("button", { type: "button", class: "link", onclick: () => APP.steps.reveal(node) }, shown(`${node.name}: ${where}`)),
      make("div", { class: "snippet" }, snippet(value, at, needle.length))))));
  scrollTo({ top: 0 });
  return undefined;
}

function listenForSearch() {
  const input = byId("search");
  let timer = 0;
  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => find(input.value.trim()), 120);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.target.closest("input, textarea")) {
      event.preventDefault();
      input.focus();
    } else if (event.key === "Escape" && document.activeElement === input) {
      input.value = "";
      find("");
    }
  });
}

// --- light and dark ---------------------------------------------------------------------------------

function listenForTheme() {
  const button = byId("theme"), root = document.documentElement;
  const names = { "": "Theme: system", light: "Theme: light", dark: "Theme: dark" };
  const memory = { get: () => { try { return localStorage.getItem("rlm-theme") || ""; } catch { return ""; } },
    set: (name) => { try { localStorage.setItem("rlm-theme", name); } catch { /* a frame without storage */ } } };
  const apply = (name) => {
    root.dataset.theme = name in names ? name : "";
    button.textContent = names[root.dataset.theme];
    APP.timeline?.draw();
  };
  const order = Object.keys(names);
  button.addEventListener("click", () => {
    const next = order[(order.indexOf(root.dataset.theme) + 1) % order.length];
    memory.set(next);
    apply(next);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => APP.timeline?.draw());
  apply(memory.get());
}

// --- the page ---------------------------------------------------------------------------------------

function start() {
  const run = JSON.parse(byId("run").textContent);
  const tree = new Tree(run);
  APP.tree = tree;
  verdict(run, tree);
  byId("iterations").append(make("div", { class: "row" }, make("h2", {}, "Iterations"),
    make("span", { class: "hint" }, "what the root model thought, ran and saw; click or press Enter to open"),
    make("span", { class: "grow" }),
    tree.steps.length > 1 && tree.steps.length <= 50 && make("button", { type: "button", onclick: () => tree.steps.forEach((step) => step.element.openNow()) }, "Open all"),
    tree.steps.length > 1 && make("button", { type: "button", onclick: () => tree.steps.forEach((step) => { step.element.open = false; }) }, "Close all")));
  byId("iterations").append(APP.steps.list(tree.steps));
  costs(run, tree);
  childRuns(tree);
  const names = Object.entries(run.repl_variables || {});
  if (names.length) {
    byId("variables").hidden = false;
    byId("variables").append(make("h2", {}, "Variables at the end"), variables(names));
  }
  APP.timeline = new Timeline(tree, (node) => APP.steps.reveal(node));
  if (APP.timeline.bars.length) {
    byId("timeline").hidden = false;
    byId("timeline").append(make("h2", {}, "Timeline"), APP.timeline.element);
  }
  const parts = { verdict: "Answer", timeline: "Timeline", iterations: "Iterations", children: "Child runs", variables: "Variables", facts: "Cost" };
  for (const [id, name] of Object.entries(parts)) {
    if (!byId(id).hidden) byId("nav").append(make("a", { href: `#${id}` }, name));
  }
  listenForSearch();
  listenForTheme();
  document.documentElement.dataset.ready = "yes";
}

start();
