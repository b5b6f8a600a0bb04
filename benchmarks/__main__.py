"""Run benchmarks, print ratios, and keep what was found: `python -m benchmarks [names]`."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import time
from pathlib import Path
from typing import Any

from benchmarks._measure import Plan, Row, progress, table
from benchmarks._results import floors_part, keep, machine, peers_table, publish, said_of

FLOORS = (
    "iteration",
    "fanout",
    "context",
    "coldstart",
    "worker",
    "modes",
    "printflood",
    "concurrent",
)
NAMES = (*FLOORS, "peers")


def main() -> None:
    options = _options()
    names = [name for name in options.names or NAMES if name != "peers" or not options.no_peers]
    plan = Plan(options.rounds, options.quick, options.large)
    found: dict[str, Any] = {}
    rows: list[Row] = []
    for name in names:
        start = time.monotonic()
        progress(name)
        if name == "peers":
            from benchmarks.peers import compare_peers

            found["peers"] = compare_peers(plan)
        else:
            rows += importlib.import_module(f"benchmarks.{name}").measure(plan)
        progress(f"{name} took {time.monotonic() - start:.0f} s, load {os.getloadavg()[0]:.1f}")
    if rows:
        print(table(rows))
        aims = [row for row in rows if row.met is not None]
        print(f"\n{sum(bool(row.met) for row in aims)} of {len(aims)} aims met.\n")
    if "peers" in found:
        print(f"{peers_table(found['peers'])}\n\n{said_of(found['peers'])}")
    if set(FLOORS) <= set(names):
        found["floors"] = floors_part(rows)
    if not options.quick and found:
        _keep(found)
    if options.json:
        data = {"machine": machine(), "plan": vars(plan), "rows": [row.to_dict() for row in rows]}
        options.json.write_text(json.dumps(data, indent=1), encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(NAMES))
    parser.add_argument("--no-peers", action="store_true", help="only ours against the floors")
    parser.add_argument("--rounds", type=int, default=3, help="how often everything is measured")
    parser.add_argument("--quick", action="store_true", help="small sizes: does it still run?")
    parser.add_argument("--large", action="store_true", help="also what takes minutes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there, too")
    options = parser.parse_args()
    if unknown := set(options.names) - set(NAMES):
        told = ", ".join(sorted(unknown))
        parser.error(f"no such benchmark: {told}; there are {', '.join(NAMES)}")
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    return options


def _keep(found: dict[str, Any]) -> None:
    """Write results.json, the tables of the READMEs and the picture."""
    results = keep(found)
    publish(results)
    if "peers" in found:
        from benchmarks._plot import draw

        draw(found["peers"])


if __name__ == "__main__":
    main()
