"""Run benchmarks and print one table of ratios: `python -m benchmarks [names] [--rounds N]`."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import time
from pathlib import Path

from benchmarks._measure import Plan, Row, progress, table

NAMES = (
    "iteration",
    "fanout",
    "context",
    "coldstart",
    "worker",
    "modes",
    "printflood",
    "concurrent",
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(NAMES))
    parser.add_argument("--rounds", type=int, default=5, help="how often everything is measured")
    parser.add_argument("--quick", action="store_true", help="small sizes: does it still run?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there, too")
    options = parser.parse_args()
    unknown = set(options.names) - set(NAMES)
    if unknown:
        parser.error(
            f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}"
        )
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    plan = Plan(options.rounds, options.quick)
    rows: list[Row] = []
    for name in options.names or NAMES:
        start = time.monotonic()
        progress(name)
        rows += importlib.import_module(f"benchmarks.{name}").measure(plan)
        progress(f"{name} took {time.monotonic() - start:.0f} s, load {os.getloadavg()[0]:.1f}")
    print(table(rows))
    aims = [row for row in rows if row.met is not None]
    print(f"\n{sum(bool(row.met) for row in aims)} of {len(aims)} aims met; {_machine()}.")
    if options.json:
        data = {"machine": _machine(), "plan": vars(plan), "rows": [row.to_dict() for row in rows]}
        options.json.write_text(json.dumps(data, indent=1), encoding="utf-8")


def _machine() -> str:
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"Python {platform.python_version()}, {os.cpu_count()} cores, load {load}"


if __name__ == "__main__":
    main()
