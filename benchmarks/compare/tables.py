"""The tables of README.md and docs/comparison.md, between markers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.compare.facts import ROOT

if TYPE_CHECKING:
    from benchmarks.compare.facts import Comparison, Fact, Feature

README, PAGE = ROOT / "README.md", ROOT / "docs" / "comparison.md"
SIGNS = {"yes": "yes", "no": "no", "partly": "partly", "n/a": "-", "?": "?"}
PROBED = "*"


class Notes:
    """Footnotes, numbered as they are met; equal notes share a number."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def sign(self, fact: Fact) -> str:
        mark = PROBED if fact.probed else ""
        number = self.numbers.setdefault(fact.note, len(self.numbers) + 1) if fact.note else 0
        return f"{SIGNS[fact.word]}{mark}" + (f" [{number}](#notes)" if number else "")

    def lines(self) -> list[str]:
        return [f"{number}. {note}" for note, number in self.numbers.items()]


def rows(head: list[str], body: list[list[str]]) -> list[str]:
    parts = [head, ["---"] * len(head), *body]
    return ["| " + " | ".join(part) + " |" for part in parts]


def page_table(comparison: Comparison) -> str:
    """The whole table, a block for ours and theirs, and the footnotes."""
    peers, notes = comparison.peers, Notes()

    def block(features: list[Feature]) -> list[str]:
        body = [
            [row.title, *(notes.sign(row.facts[peer.key]) for peer in peers)] for row in features
        ]
        return rows(["", *(peer.title for peer in peers)], body)

    about = [
        [peer.title, told["version"], told["licence"], f"`{told['python']}`", told["date"]]
        for peer in peers
        for told in [comparison.about[peer.key]]
    ]
    return "\n".join([
                *rows(["package", "version", "licence", "Python", "looked at"], about), "",
        "## Features", "", *block([row for row in comparison.features if not row.theirs]), "",
        "## What others have", "", *block([row for row in comparison.features if row.theirs]), "",
        "### Notes", "", *notes.lines(),
    ])  # fmt: skip


def readme_table(comparison: Comparison) -> str:
    """The rows that are marked for the README, without footnotes."""
    peers = comparison.peers
    body = [
        [row.title, *(SIGNS[row.facts[peer.key].word] for peer in peers)]
        for row in comparison.features
        if row.readme
    ]
    return "\n".join(rows(["", *(peer.title for peer in peers)], body))


def between(text: str, name: str, table: str) -> str:
    """Replace what stands between the markers of a name."""
    start, end = f"<!-- {name}: made by make compare -->", f"<!-- {name}: end -->"
    pattern = re.compile(re.escape(start) + r".*?" + re.escape(end), re.DOTALL)
    if not pattern.search(text):
        msg = f"the markers of {name} are missing"
        raise ValueError(msg)
    return pattern.sub(lambda _: f"{start}\n\n{table}\n\n{end}", text)


def wanted(comparison: Comparison) -> dict[Path, str]:
    """What the pages should say."""
    return {
        README: between(README.read_text(encoding="utf-8"), "comparison", readme_table(comparison)),
        PAGE: between(PAGE.read_text(encoding="utf-8"), "comparison", page_table(comparison)),
    }


def write(comparison: Comparison) -> None:
    for path, text in wanted(comparison).items():
        path.write_text(text, encoding="utf-8")
