r"""Questions about the whole text: how many, how often, which has the most.

Each becomes a regular expression and a way to add up its matches. A cell does the adding.

Example:
    ```python
    tally = find_tally("How many modules define a function named main?")
    assert tally is not None and tally.per == "documents"
    ```
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Per = Literal["matches", "documents", "most", "fewest"]

_DOCUMENT = r"(?:module|file|document|source file|package|text)s?"
_QUOTED = r"(?:\"(?P<double>[^\"]+)\"|'(?P<single>[^']+)'|`(?P<tick>[^`]+)`|(?P<bare>[\w.]+))"
_UNITS = {
    "line": r"[^\n]*\n|[^\n]+\Z",
    "word": r"\w+",
    "class": r"^[ \t]*class[ \t]+\w+[ \t]*[(:]",
    "classe": r"^[ \t]*class[ \t]+\w+[ \t]*[(:]",
    "function": r"^[ \t]*(?:async[ \t]+)?def[ \t]+\w+",
    "method": r"^[ \t]+(?:async[ \t]+)?def[ \t]+\w+",
    "import": r"^[ \t]*(?:import|from)[ \t]+[\w.]+",
    "character": "",
}
_UNIT = r"(?P<unit>line|word|classe|class|function|method|import|character)s?"
_CODE_UNITS = frozenset({"class", "classe", "function", "method", "import"})


@dataclass(frozen=True, slots=True)
class Tally:
    """What to count over the whole text.

    Attributes:
        what: The thing counted, in words, for the answer.
        pattern: Regular expression (multi-line mode); empty means characters, or documents when
            `per` is `"documents"`.
        per: Count matches, or documents with a match, or find the document with most or fewest.
        code_only: Leave strings and comments of Python sources out.
    """

    what: str
    pattern: str
    per: Per
    code_only: bool = False


def _defined(found: re.Match[str]) -> Tally:
    name, thing = found["name"], found["thing"].lower()
    if thing == "class":
        pattern, where = rf"^[ \t]*class[ \t]+{name}\b", ""
    elif thing == "method":
        pattern, where = rf"^[ \t]+(?:async[ \t]+)?def[ \t]+{name}\b", ""
    else:
        pattern, where = rf"^(?:async[ \t]+)?def[ \t]+{name}\b", " at module level"
    return Tally(f"documents that define a {thing} named {name}{where}", pattern, "documents", True)


def _named(found: re.Match[str]) -> Tally:
    keyword = "class" if found["thing"].lower().startswith("class") else "(?:async[ \t]+)?def"
    pattern = rf"^[ \t]*{keyword}[ \t]+{found['name']}\b"
    return Tally(f"{found['thing']} named {found['name']}", pattern, "matches", True)


def _derived(found: re.Match[str]) -> Tally:
    base = re.escape(found["name"])
    pattern = rf"^[ \t]*class[ \t]+\w+[ \t]*\((?:[^()]*,)?\s*{base}\s*[,)]"
    return Tally(f"classes that derive directly from {found['name']}", pattern, "matches", True)


def _imported(found: re.Match[str]) -> Tally:
    name = re.escape(found["name"])
    pattern = rf"^[ \t]*(?:from[ \t]+{name}\b|import[ \t]+(?:[\w., \t]+,[ \t]*)?{name}\b)"
    return Tally(f"documents that import {found['name']}", pattern, "documents", True)


def _phrase(found: re.Match[str]) -> str:
    parts = found.groupdict()
    return next(str(parts[k]) for k in ("double", "single", "tick", "bare") if parts[k])


def _word_pattern(phrase: str) -> str:
    return rf"(?<!\w){re.escape(phrase)}(?!\w)"


def _mentioned(found: re.Match[str]) -> Tally:
    phrase = _phrase(found)
    if found["holder"].lower().startswith("line"):
        pattern = rf"^[^\n]*{_word_pattern(phrase)}[^\n]*$"
        return Tally(f"lines that contain {phrase!r}", pattern, "matches")
    return Tally(f"documents that contain {phrase!r}", _word_pattern(phrase), "documents")


def _occurs(found: re.Match[str]) -> Tally:
    phrase = _phrase(found)
    return Tally(f"occurrences of {phrase!r}", _word_pattern(phrase), "matches")


def _extreme(found: re.Match[str]) -> Tally:
    unit = found["unit"].lower()
    per: Per = "fewest" if found["which"].lower() in {"fewest", "least"} else "most"
    label = "classes" if unit.startswith("class") else f"{unit}s"
    return Tally(label, _UNITS[unit], per, unit in _CODE_UNITS)


def _longest(found: re.Match[str]) -> Tally:
    small = found["which"].lower() in {"shortest", "smallest"}
    return Tally("characters", "", "fewest" if small else "most")


def _total(found: re.Match[str]) -> Tally:
    unit = found["unit"].lower()
    label = "classes" if unit.startswith("class") else f"{unit}s"
    return Tally(label, _UNITS[unit], "matches", unit in _CODE_UNITS)


def _documents(_: re.Match[str]) -> Tally:
    return Tally("documents", "", "documents")


_RULES = (
    ((rf"how many {_DOCUMENT} (?:define|have|contain|declare|implement)s? (?:an? |the )?"
     r"(?P<thing>function|class|method) (?:named |called )?[`'\"]?(?P<name>\w+)"), _defined),
    ((r"how many (?P<thing>functions|classes|methods) (?:are |is )?(?:named|called) "
     r"[`'\"]?(?P<name>\w+)"), _named),
    ((r"how many classes (?:derive|inherit|descend|subclass|are (?:derived|subclasses|direct "
     r"subclasses))(?: directly)?(?: from| of)? (?:the )?(?:class )?[`'\"]?(?P<name>[A-Za-z_]\w*"
     r"(?:\.\w+)*)"), _derived),
    (rf"how many {_DOCUMENT} imports? (?:the )?(?:module )?[`'\"]?(?P<name>\w[\w.]*\w)", _imported),
    ((rf"how many (?P<holder>{_DOCUMENT}|lines) (?:mention|contain|include|have|use)s? (?:the )?"
     rf"(?:word |words |text |string |name |phrase )?{_QUOTED}\W*$"), _mentioned),
    ((r"how (?:often|many times) (?:does|do|is|are) (?:the )?(?:word |words |text |string |name "
     rf"|phrase |term )?{_QUOTED} (?:occur|appear|used|mentioned|found|written)"), _occurs),
    ((r"how many (?:occurrences|mentions|instances) of (?:the )?(?:word |text |string |name "
     rf"|phrase |term )?{_QUOTED}"), _occurs),
    ((rf"which {_DOCUMENT} (?:has|have|contains?|defines?|makes?) the "
     rf"(?P<which>most|fewest|least) {_UNIT}\b"), _extreme),
    ((rf"(?:which|what) (?:is|{_DOCUMENT} is) the (?P<which>longest|largest|biggest|shortest|"
     rf"smallest)(?: {_DOCUMENT})?\b"), _longest),
    ((rf"how many {_UNIT}(?: (?:are|is|does|do|has|have|in|there|it|defined|the|this|whole|all|"
     rf"together|{_DOCUMENT}|overall|altogether|contain|corpus))*\W*$"), _total),
    ((rf"how many {_DOCUMENT}(?: (?:are|there|in|the|whole|all|together|text|corpus|context))*"
     r"\W*$"), _documents),
)  # fmt: skip


def find_tally(text: str) -> Tally | None:
    """What a question wants counted over the whole text; `None` when it does not ask that."""
    for pattern, make in _RULES:
        found = re.search(pattern, text, re.IGNORECASE)
        if found is not None:
            return make(found)
    return None
