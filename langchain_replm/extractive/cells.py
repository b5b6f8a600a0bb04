r"""The cells that the planner writes: plain Python, readable in the live view.

Each is a body below settings that `render` writes above it. A cell ends with a line
`plan> key=number`, which is how the planner learns what came of it: it keeps no memory of its own
and reads the conversation, as any root model does.
"""

from __future__ import annotations

PEEK = r'''
import re

# What is there? Type, number of documents, sizes. And small tools for the cells to come.
docs = [context] if isinstance(context, str) else list(context)
try:
    names = [str(m.get("source") or f"document-{i}") for i, m in enumerate(context_metadata)]
except (NameError, AttributeError, TypeError):
    names = []
if len(names) != len(docs):
    names = ["context"] if len(docs) == 1 else [f"document-{i}" for i in range(len(docs))]

STRINGS = re.compile(
    r"#[^\n]*|\"\"\"(?:[^\\]|\\.)*?\"\"\"|\'\'\'(?:[^\\]|\\.)*?\'\'\'"
    r"|\"(?:[^\"\\\n]|\\.)*\"|\'(?:[^\'\\\n]|\\.)*\'", re.S)

def code_only(d):
    """A document without strings and comments (Python sources only), places unchanged."""
    if not names[d].endswith(".py"):
        return docs[d]
    return STRINGS.sub(lambda m: re.sub(r"[^\n]", " ", m[0]), docs[d])

def line_number(d, position):
    return docs[d].count("\n", 0, position) + 1

def whole_line(d, position):
    start = docs[d].rfind("\n", 0, position) + 1
    end = docs[d].find("\n", position)
    return docs[d][start:end if end >= 0 else None].strip()[:300]

def pieces(text):
    """(line offset, line or sentence of a very long line) of a text."""
    for i, line in enumerate(text.split("\n")):
        for piece in re.split(r"(?<=[.!?])\s+", line) if len(line) > 300 else [line]:
            yield i, piece.strip()

def shared(terms, text):
    """Which stems begin a word of the text?"""
    words = re.findall(r"\w+", text.lower())
    return {t for t in terms if any(w.startswith(t) for w in words)}

read = set()     # passages that the sub-model has read already
sizes = sorted(((len(doc), name) for doc, name in zip(docs, names)), reverse=True)
chars = sum(size for size, name in sizes)
print(f"{type(context).__name__}: {len(docs):,} documents, {chars:,} characters. The largest:")
for size, name in sizes[:5]:
    print(f"{size:>12,}  {name}")
print("The first begins:", docs[0][:160] if docs else "(nothing)")
print(f"plan> documents={len(docs)}")
'''

DEFINE = r"""
# Find where the name is defined; keep the places that fit the qualifiers best.
found = []
for d in range(len(docs)):
    if not re.search(pattern, docs[d]):     # most documents end here, cheaply
        continue
    code = code_only(d)
    for m in re.finditer(pattern, code):
        indent = len(m[1])
        above = re.findall(r"^class[ \t]+(\w+)", code[:m.start()], re.M) if indent else []
        path = re.split(r"[/\\.]", names[d])
        fit = sum(q in path or q in above[-1:] for q in qualifiers)
        found.append((-fit, indent > 0, len(path), d, m.start(), indent))
fitting = min((f[0] for f in found), default=0)
found = sorted(f for f in found if f[0] == fitting)[:20]

# Cut each definition into passages that a sub-model can read.
passages = []
for nth, (fit, nested, depth, d, start, indent) in enumerate(found):
    after = re.compile(r"\n[ \t]{0,%d}(?=[^\s#)\]])" % indent).search(docs[d], start)
    lines = docs[d][start:after.start() if after else None].split("\n")
    first, i = line_number(d, start), 0
    while i < len(lines):
        j, size = i, 0
        while j < len(lines) and (j == i or size + len(lines[j]) < width):
            size, j = size + len(lines[j]) + 1, j + 1
        text = "\n".join(lines[i:j])[:2 * width]
        score = len(shared(terms, text)) + 3 * bool(re.search(cue, text, re.M)) - nth
        passages.append((score, d, first + i, text))
        i = j if j >= len(lines) else max(i + 1, j - 3)     # three lines of overlap
passages = sorted(passages, key=lambda p: -p[0])
passages = [p for p in passages if p[1:3] not in read][:most]
for fit, nested, depth, d, start, indent in found[:8]:
    print(f"{names[d]}:{line_number(d, start)}: {whole_line(d, start)}")
print(f"plan> hits={len(found)} passages={len(passages)}")
"""

SEARCH = r"""
import math

# Keyword search over everything: windows of the text, scored by how rare their terms are.
half = width // 2
cells, spread = {}, {}
for d in range(len(docs)):
    low = docs[d].lower()
    for t in terms:
        for m in re.finditer(r"\b" + re.escape(t), low):
            cells.setdefault((d, m.start() // half), set()).add(t)
for held in cells.values():
    for t in held:
        spread[t] = spread.get(t, 0) + 1
total = sum(len(doc) for doc in docs) / half + 1
rare = {t: math.log(1 + total / n) for t, n in spread.items()}

windows = []
for (d, c), held in cells.items():
    held = held | cells.get((d, c + 1), set())
    named = shared(terms, re.sub(r"\W", " ", names[d]))
    score = sum(rare[t] for t in held)
    score += sum(rare.get(t, 0) for t in named)      # a file is named after what it is about
    if len(held | named) >= needed * len(terms):
        windows.append((score, d, c))
windows = sorted(windows, key=lambda w: (-w[0], w[1], w[2]))[:300]

passages = []
for score, d, c in windows:
    start = docs[d].rfind("\n", max(0, c * half - 200), c * half + 1) + 1 or c * half
    text = docs[d][start:start + width + 200]
    line = max(sum(rare.get(t, 0) for t in shared(terms, p)) for i, p in pieces(text))
    passages.append((score + line, d, line_number(d, start), text))
kept = []
for p in sorted(passages, key=lambda p: -p[0]):
    near = [q for q in kept if q[1] == p[1]]     # at most two of one document, not overlapping
    if p[1:3] not in read and len(near) < 2 and all(abs(q[2] - p[2]) > 15 for q in near):
        kept.append(p)
passages = kept[:most]
for score, d, line, text in passages:
    top = max(pieces(text), key=lambda p: len(shared(terms, p[1])))
    print(f"{score:6.1f}  {names[d]}:{line + top[0]}: {top[1][:120]}")
print(f"plan> hits={len(windows)} passages={len(passages)}")
"""

READ = r"""
# Let the sub-model read the best passages, all at once.
prompts = [
    f"<passage from=\"{names[d]}:{line}\">\n{text}\n</passage>\n\n"
    f"Question: {question}\n\n"
    f"Copy the one line of the passage that answers the question, exactly as it stands there. "
    f"If no line does, reply NOT FOUND."
    for score, d, line, text in passages
]
replies = llm_query_batch(prompts)

# A reply is a claim: find the line of the passage that it quotes, or drop it.
asked = set(re.findall(r"\w+", question.lower())) | {"the", "is", "a", "an", "line", "answer"}
candidates = []
for (score, d, line, text), reply in zip(passages, replies):
    read.add((d, line))
    claim = " ".join(reply.split())[:300] if isinstance(reply, str) else ""
    said = re.findall(r"\w+", claim.lower())
    fresh = set(said) - asked     # what the reply adds to the question's own words
    best = (0, 0, "")
    for i, piece in pieces(text):
        have = re.findall(r"\w+", piece.lower())
        if not have:
            continue
        both = len(set(said) & set(have))
        alike = 2 * both / (len(set(said)) + len(set(have)))
        if fresh and len(fresh) <= 3 and fresh <= set(have):     # "The default is 128."
            alike = 0.5
        alike += 0.1 * len(shared(terms, piece)) / (len(terms) or 1)
        alike += bool(claim) and " ".join(piece.split()) == claim
        best = max(best, (alike, -i, piece))
    if not claim or "NOT FOUND" in claim.upper() or best[0] < 0.45:
        print(f"- {names[d]}:{line}  no: {claim[:100] or reply!r}")
        continue
    candidates.append((score, d, line - best[1], best[2]))
    print(f"+ {names[d]}:{line - best[1]}: {best[2][:120]}")
print(f"plan> extracted={len(candidates)}")
"""

DECIDE = r"""
# Take the value out of each quoted line; equal values vote, then the better passage decides.
votes = {}
for score, d, line, quote in candidates:
    value = re.search(wanted, quote)
    if value is None:
        print(f"- {names[d]}:{line} holds no value of the kind asked for: {quote[:80]}")
        continue
    value = next((g for g in value.groups() if g), value[0]).strip()
    score += sum(3 for t in shared(terms, quote))
    votes.setdefault(value, []).append((score, d, line, quote))
if votes:
    value = max(votes, key=lambda v: max(votes[v])[0] + len(votes[v]) - 1)
    score, d, line, quote = max(votes[value])
    print(f"{len(votes)} different answers; the best: {value}")
    FINAL(f"{lead}{value}\n\n{names[d]}:{line}: {quote}" if lead
          else f"{names[d]}:{line}: {quote}")
print(f"plan> decided={len(votes)}")
"""

PLACES = r"""
# The definitions are the answer: name their places and quote them.
places = [f"{names[d]}:{line_number(d, f[4])}: {whole_line(d, f[4])}"
          for f in found[:8] for d in [f[3]]]
files = sorted({names[f[3]] for f in found})
FINAL(f"{name} is defined in " + ", ".join(files[:8]) + "\n\n" + "\n".join(places))
"""

TALLY = r"""
# Count over the whole text; nothing is sampled.
counts, examples = {}, []
for d in range(len(docs)):
    if not pattern:
        counts[d] = len(docs[d])
        continue
    if not re.search(pattern, docs[d]):
        continue
    text = code_only(d) if without_strings else docs[d]
    places = [m.start() for m in re.finditer(pattern, text)]
    if places:
        counts[d] = len(places)
        examples.append((d, places[0]))
if per == "fewest":
    counts = {d: counts.get(d, 0) for d in range(len(docs))}
order = sorted(counts, key=lambda d: (counts[d] if per == "fewest" else -counts[d], names[d]))
for d in order[:5]:
    print(f"{counts[d]:>12,}  {names[d]}")
total = sum(counts.values())
print(f"plan> total={total} matched={len(counts)}")
"""

SUBMIT_TALLY = r"""
# Say the number, and enough to check it by.
if per in ("most", "fewest"):
    d = order[0]
    text = f"{names[d]} has the {per} {what}: {counts[d]:,}\n\n" + "\n".join(
        f"{names[e]} ({counts[e]:,})" for e in order[1:4])
else:
    number = total if per == "matches" else len(counts)
    text = f"{number:,} {what} (of {len(docs):,} documents, {len(counts):,} with a match)"
    shown = examples[:: max(1, len(examples) // 3)][:3]
    text += "\n\n" + "\n".join(
        f"{names[d]}:{line_number(d, p)}: {whole_line(d, p)}" for d, p in shown)
FINAL(text.strip())
"""

GIVE_UP = r"""
# Three tries with ever wider terms, and no passage that answers: say so instead of guessing.
FINAL(f"Nothing in the text was found that answers this (searched for: {', '.join(terms)}).")
"""


def render(step: str, attempt: int, body: str, settings: dict[str, object]) -> str:
    r"""One cell: its tag, its settings as assignments, its body.

    Example:
        ```python
        assert render("peek", 1, "print(n)", {"n": 3}) == "# step: peek, try 1\nn = 3\nprint(n)"
        ```
    """
    head = [f"# step: {step}, try {attempt}"]
    head += [f"{name} = {value!r}" for name, value in settings.items()]
    return "\n".join([*head, body.strip("\n")])
