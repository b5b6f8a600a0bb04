"""What a run has found: kept as data, and written as tables between the markers of the READMEs."""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks._measure import Row, table

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results.json"
BEGIN, END = "<!-- {}: made by make bench -->", "<!-- {}: end -->"
SHORT = (
    "iterations, time",
    "sub-calls of 50 ms, time",
    "at once, time",
    "at once, right outputs",
    "100 MB, time",
    "100 MB, memory",
    "of prints, time",
    "limit of 1 s",
    "cold start",
    "300 characters each, tokens",
)
"""What the README shows: parts of the titles."""

Part = dict[str, Any]


def machine() -> dict[str, Any]:
    """The class of this machine; nothing that names it."""
    return {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
    }


def floors_part(rows: Iterable[Row]) -> Part:
    """What was measured against floors."""
    return {"machine": machine(), "rows": [row.to_dict() for row in rows]}


def read(path: Path = RESULTS) -> dict[str, Part]:
    """The parts that an earlier run has left."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def keep(parts: Mapping[str, Part], path: Path = RESULTS) -> dict[str, Part]:
    """Replace the parts that were measured now; the others stay."""
    kept = {**read(path), **parts}
    path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return kept


def publish(results: Mapping[str, Part], root: Path = HERE.parent) -> None:
    """Rewrite the tables of both READMEs."""
    if peers := results.get("peers"):
        short = f"{peers_table(peers, SHORT)}\n\n{said_of(peers)}"
        put(root / "README.md", "speed", short)
        put(root / "benchmarks" / "README.md", "peers", full(peers))
    if floors := results.get("floors"):
        rows = [Row(**{k: v for k, v in row.items() if k != "met"}) for row in floors["rows"]]
        text = f"{table(rows)}\n\n{_machine_line(floors['machine'])}"
        put(root / "benchmarks" / "README.md", "floors", text)


def put(path: Path, name: str, text: str) -> None:
    """Replace what stands between the markers of this name.

    Raises:
        ValueError: The file has no such markers.
    """
    page = path.read_text(encoding="utf-8")
    begin, end = BEGIN.format(name), END.format(name)
    before, found, rest = page.partition(begin)
    _, also, after = rest.partition(end)
    if not (found and also):
        msg = f"{path.name} has no markers {begin} and {end}"
        raise ValueError(msg)
    path.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")


def full(peers: Part) -> str:
    """Everything about the peers: table, failures, settings, versions."""
    systems = {system["name"]: system for system in peers["systems"]}
    lines = [peers_table(peers), "", said_of(peers), ""]
    for case in peers["cases"]:
        for name, result in case["results"].items():
            if result["failed"]:
                title = systems[name]["title"]
                lines.append(f"- failed: {title}, {case['title']}: `{result['failed']}`")
    lines += ["", "How each was run:", ""]
    for system in peers["systems"]:
        version = f" {system['version']}" if system["version"] else ""
        lines.append(f"- {system['title']}{version}: {system['setting']}")
    lines += [f"- {name}: —, {reason}" for name, reason in peers["not_run"].items()]
    return "\n".join(lines)


def peers_table(peers: Part, only: Iterable[str] | None = None) -> str:
    """Ours, and the others beside it: times as multiples of ours, the rest as it is."""
    systems = peers["systems"]
    head = ["", *(system["title"] for system in systems)]
    lines = [head, ["---", *["---:"] * len(systems)]]
    for case in peers["cases"]:
        if only is not None and not any(part in case["title"] for part in only):
            continue
        ours = case["results"]["ours"]["value"]
        cells = [
            shown(case["results"].get(system["name"]), case["unit"], ours, system["name"])
            for system in systems
        ]
        lines.append([case["title"], *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def shown(result: Mapping[str, Any] | None, unit: str, ours: float | None, name: str) -> str:
    """One cell of the table."""
    if result is None:
        return "—"
    value = result["value"]
    if result["failed"] or result["text"] or value is None:
        return "failed" if result["failed"] else result["text"] or "—"
    if unit != "s":
        return f"{value:,.0f} MB" if unit == "MB" else f"{value:,.0f}"
    if name == "ours" or not ours:
        return f"{value:.2f} s"
    ratio = value / ours
    return f"{ratio:.0f} x" if ratio >= 9.95 else f"{ratio:.1f} x"


def said_of(peers: Part) -> str:
    """The line under a table of peers."""
    return (
        f"Times of the others are multiples of ours. {_machine_line(peers['machine'])} "
        f"Medians of {peers['rounds']} interleaved rounds; tokens by `{peers['tokenizer']}`."
    )


def _machine_line(seen: Mapping[str, Any]) -> str:
    return f"{seen['cores']} cores, Python {seen['python']}, {seen['date']}."
