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
    packages: list[str]
    version: str
    licence: str
    python: str


@dataclass(frozen=True)
class Feature:
    key: str
    title: str
    theirs: bool
    readme: bool
    facts: dict[str, Fact]


@dataclass(frozen=True)
class Comparison:
    looked_at: str
    peers: list[Peer]
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
    return Comparison(str(data["looked_at"]), peers, features)


def known_peers(data: dict[str, Any] | None = None) -> list[Peer]:
    """The packages that are compared, with their pinned versions."""
    data = tomllib.loads(READ.read_text(encoding="utf-8")) if data is None else data
    return [Peer(key, **values) for key, values in data["peers"].items()]


def pinned(peer: Peer) -> list[str]:
    """What pip installs for a peer; the version is that of its first package."""
    first, *others = peer.packages
    return [f"{first}=={peer.version}", *others]


def fact(row: dict[str, Any], peer: Peer, seen: dict[str, Any]) -> Fact:
    ran = seen.get(peer.key, {}) if row.get("probed") else {}
    found = ran.get("found", {}).get(row["key"])
    told = row.get(peer.key)
    if found is not None and told is None:
        if ran["version"] != peer.version:
            msg = f"{peer.key} was probed at {ran['version']}, the facts are of {peer.version}"
            raise ValueError(msg)
        return Fact(found["is"], "", probed=True)
    word, _, note = (told or "").partition(":")
    if found is not None or word not in WORDS:
        msg = f"{row['key']}: {peer.key} needs one fact, probed or read: {found}, {told}"
        raise ValueError(msg)
    return Fact(word, note.strip(), probed=False)
