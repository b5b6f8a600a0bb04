"""A picture of the comparison: each RLM's time as a multiple of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

PLOT = Path(__file__).resolve().parents[1] / "docs" / "images" / "benchmarks.svg"
OURS = "#0b7a4b"


def draw(peers: dict[str, Any], path: Path = PLOT) -> None:
    """Write the picture; times only, on a logarithmic scale."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    mpl.rcParams["svg.hashsalt"] = "benchmarks"  # equal data, equal file
    cases = [case for case in peers["cases"] if case["unit"] == "s" and _ours(case)]
    markers = "osD^vP*X<>hp"
    figure, axes = plt.subplots(figsize=(9, 0.62 * len(cases) + 1.6), layout="constrained")
    for number, system in enumerate(peers["systems"]):
        name = system["name"]
        points = [
            (case["results"][name]["value"] / _ours(case), line)
            for line, case in enumerate(reversed(cases))
            if case["results"][name]["value"]
        ]
        axes.scatter(
            [x for x, _ in points],
            [y for _, y in points],
            label=system["title"],
            marker=markers[number % len(markers)],
            s=70 if name == "ours" else 42,
            color=OURS if name == "ours" else f"C{number % 10}",
            zorder=3 if name == "ours" else 2,
        )
    axes.set_xscale("log")
    axes.axvline(1, color=OURS, linewidth=1, zorder=1)
    axes.set_yticks(range(len(cases)), [case["title"] for case in reversed(cases)])
    axes.set_xlabel("time, as a multiple of langchain-replm (left of the line: faster)")
    axes.grid(axis="x", color="#d5d8dc", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None}, facecolor="white")
    plt.close(figure)


def _ours(case: dict[str, Any]) -> float | None:
    return case["results"]["ours"]["value"]
