"""The facts of docs/comparison.toml and what the probes saw, checked and put together."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
READ = ROOT / "docs" / "comparison.toml"
PROBED = ROOT / "docs" / "comparison_probed.json"
WORDS = ("yes", "no", "partly", "n/a", "?")


@dataclass(frozen=True)
class Fact:
    """One cell of the table."""

    word: str
    note: str
    probed: bool


@dataclass(frozen=True)
class Peer:
    key: str
    title: str
    install: list[str]
    """Pinned requirements; the first one is the package itself."""
    main: str
    """What its users call, as `module:Name` or `module`."""

    @property
    def package(self) -> str:
        return self.install[0].partition("==")[0]

    @property
    def pin(self) -> str:
        return self.install[0].partition("==")[2]


@dataclass(frozen=True)
class Feature:
    key: str
    title: str
    theirs: bool
    readme: bool
    facts: dict[str, Fact]


@dataclass(frozen=True)
class Comparison:
    peers: list[Peer]
    about: dict[str, dict[str, str]]
    """Of each peer what its package says: version, licence, python, and the date of the look."""
    features: list[Feature]


def load(read: dict[str, Any] | None = None, probed: dict[str, Any] | None = None) -> Comparison:
    """Every peer has one fact for every feature, probed or read, and never both.

    Raises:
        ValueError: A fact is missing, is there twice, or is no known word.
    """
    data = tomllib.loads(READ.read_text(encoding="utf-8")) if read is None else read
    seen = json.loads(PROBED.read_text(encoding="utf-8")) if probed is None else probed
    peers = known_peers(data)
    features = []
    for row in data["features"]:
        facts = {peer.key: fact(row, peer, seen) for peer in peers}
        theirs, readme = row.get("theirs", False), row.get("readme", False)
        features.append(Feature(row["key"], row["title"], theirs, readme, facts))
    return Comparison(peers, {peer.key: about(peer, seen) for peer in peers}, features)


def known_peers(data: dict[str, Any] | None = None) -> list[Peer]:
    """The packages that are compared, with their pinned versions."""
    data = tomllib.loads(READ.read_text(encoding="utf-8")) if data is None else data
    return [Peer(key, **values) for key, values in data["peers"].items()]


def about(peer: Peer, seen: dict[str, Any]) -> dict[str, str]:
    """What the package said about itself when it was probed."""
    told = seen.get(peer.key, {})
    if not told or (peer.pin and told["version"] != peer.pin):
        msg = f"{peer.key} {peer.pin} has not been probed: {told.get('version', 'never')}"
        raise ValueError(msg)
    return {name: told[name] for name in ("version", "licence", "python", "date")}


def fact(row: dict[str, Any], peer: Peer, seen: dict[str, Any]) -> Fact:
    """A probed fact may have a note (`":note"`), a read one is a word and perhaps a note."""
    ran = seen.get(peer.key, {}) if row.get("probed") else {}
    found = ran.get("found", {}).get(row["key"])
    word, _, note = row.get(peer.key, "").partition(":")
    if (found is not None) == bool(word) or (word and word not in WORDS):
        msg = f"{row['key']}: {peer.key} needs one fact, probed or read: {found}, {word!r}"
        raise ValueError(msg)
    return Fact(found["is"] if found else word, note.strip(), probed=found is not None)
