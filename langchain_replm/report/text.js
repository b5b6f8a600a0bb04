"use strict";
// Small parts that everything else is made of. Text from the run reaches the page only through
// text nodes: nothing here, or in the other files, ever makes markup out of a string.

const PAGE_CHARS = 12000;
// Marks that nobody sees but that change what is seen: they are spelled out.
const INVISIBLE =
  /[\u0000-\u0008\u000b\u000e-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]/g;

function make(tag, properties, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "class") element.className = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat()) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}

/** Text as nodes: plain, with the marks that nobody sees spelled out. */
function shown(text) {
  const value = String(text ?? "");
  const fragment = document.createDocumentFragment();
  let last = 0;
  for (const match of value.matchAll(INVISIBLE)) {
    if (match.index > last) fragment.append(value.slice(last, match.index));
    const code = match[0].charCodeAt(0).toString(16).toUpperCase().padStart(4, "0");
    fragment.append(make("span", { class: "mark", title: "a character that is not visible" }, `U+${code}`));
    last = match.index + 1;
  }
  fragment.append(value.slice(last));
  return fragment;
}

/** A block of text; the rest of a long one comes on demand. */
function block(text, className, paint = shown) {
  const value = String(text ?? "");
  const pre = make("pre", { class: className, tabindex: "0", dir: "auto" });
  const put = (end) => pre.replaceChildren(paint(value.slice(0, end)));
  put(PAGE_CHARS);
  if (value.length <= PAGE_CHARS) return pre;
  const left = value.length - PAGE_CHARS;
  const more = make("button", { type: "button", class: "more" }, `Show ${count(left)} more characters`);
  more.addEventListener("click", () => { put(value.length); more.remove(); pre.focus(); });
  return make("div", {}, pre, more);
}

const WORDS = {
  keyword: "False None True and as assert async await break class continue def del elif else except finally for from global if import in is lambda match nonlocal not or pass raise return try while with yield",
  builtin: "abs all any ascii bin bool bytes chr dict dir divmod enumerate filter float format frozenset hasattr hash int isinstance iter len list map max min next ord pow print range repr reversed round set slice sorted str sum tuple type zip Exception KeyError TypeError ValueError",
  rlm: "context context_metadata llm_query llm_query_batch llm_query_batched llm_batch llm_map rlm_query rlm_query_batch FINAL FINAL_VAR SHOW_VARS TOOL_CALL answer SubCallError",
};
const KINDS = new Map(
  Object.entries(WORDS).flatMap(([kind, words]) => words.split(" ").map((word) => [word, kind])),
);
const TOKEN =
  /(#[^\n]*)|((?:[rbfuRBFU]{1,2})?(?:"""[^]*?(?:"""|$)|'''[^]*?(?:'''|$)|"(?:[^"\\\n]|\\[^])*"?|'(?:[^'\\\n]|\\[^])*'?))|(\b\d[\w.]*)|([A-Za-z_]\w*)/g;

/** Python, coloured. */
function python(code) {
  const fragment = document.createDocumentFragment();
  let last = 0;
  for (const match of code.matchAll(TOKEN)) {
    const kind = match[1] ? "comment" : match[2] ? "string" : match[3] ? "number" : KINDS.get(match[4]);
    if (!kind) continue;
    if (match.index > last) fragment.append(shown(code.slice(last, match.index)));
    fragment.append(make("span", { class: `py-${kind}` }, shown(match[0])));
    last = match.index + match[0].length;
  }
  fragment.append(shown(code.slice(last)));
  return fragment;
}

const NUMBER = new Intl.NumberFormat("en-US");
const count = (number) => NUMBER.format(number);
const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

function seconds(value) {
  if (value < 0.0995) return `${Math.round(value * 1000)} ms`;
  if (value < 99.5) return `${value.toFixed(value < 9.95 ? 2 : 1)} s`;
  const minutes = Math.floor(value / 60);
  return `${minutes} min ${Math.round(value - 60 * minutes)} s`;
}

function dollars(value) {
  if (value === null || value === undefined) return "unknown";
  if (value === 0) return "$0";
  const digits = value >= 1 ? 2 : Math.min(8, 3 - Math.floor(Math.log10(value)));
  return `$${value.toFixed(digits)}`;
}

function gist(text, most = 150) {
  const line = String(text ?? "").replace(/\s+/g, " ").trim();
  return line.length <= most ? line : `${line.slice(0, most - 1)}…`;
}

/** A fold that makes its body when it is first opened; `open()` opens it from elsewhere. */
function fold(className, summary, body) {
  const element = make("details", { class: className }, make("summary", {}, summary));
  let filled = false;
  const fill = () => {
    if (filled) return;
    filled = true;
    element.append(...[body()].flat().filter(Boolean));
  };
  element.addEventListener("toggle", () => { if (element.open) fill(); });
  element.openNow = () => { fill(); element.open = true; };
  return element;
}
