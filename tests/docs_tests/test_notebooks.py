"""Every notebook of the cookbook runs without a key, and holds the outputs that it has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from langchain_openai import ChatOpenAI

from tools.notebooks import NOTEBOOKS, ROOT, execute, kernel

# What Jupyter imports warns.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
CHANCE = re.compile(
    r"/home/|/tmp/|/work/|0x[0-9a-f]{8}|<\w+ [0-9a-f]{16}|\d+\.\d+ ?(?:s|ms|seconds)\b"
)


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[Any, str]]:
    with kernel() as both:
        yield both


def printed(cell: Any) -> str:
    return "".join(
        output.get("text") or output.get("data", {}).get("text/plain", "")
        for output in cell.get("outputs", ())
    )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, shared: tuple[Any, str]) -> None:
    stored, now = nbformat.read(path, as_version=4), execute(path, *shared)
    for old, new in zip(stored.cells, now.cells, strict=True):
        errors = [output for output in new.get("outputs", ()) if output.get("name") == "stderr"]
        assert not errors, new.source
        assert bool(printed(old)) == bool(printed(new)), f"run make notebooks:\n{new.source}"
        assert not CHANCE.search(printed(old)), "a path, a time or an id of this machine"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_person_with_a_key_gets_real_models(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = nbformat.read(path, as_version=4).cells
    assert cells[0].source.startswith("# ")
    assert any("assert " in cell.source for cell in cells if cell.cell_type == "code")
    tagged = [cell for cell in cells if "offline" in cell.metadata.get("tags", ())]
    assert len(tagged) == 1, "one cell, and it is marked"
    assert "if not ONLINE:" in tagged[0].source

    monkeypatch.setenv("OPENAI_API_KEY", "test")
    space: dict[str, Any] = {}
    for cell in cells[: cells.index(tagged[0]) + 1]:
        if cell.cell_type == "code":  # a first line %%writefile is for Jupyter
            exec(re.sub(r"\A%%.*", "", cell.source), space)  # noqa: S102 - our own notebook
    assert isinstance(space["root"], ChatOpenAI)
    assert type(space.get("sub", space["root"])) is ChatOpenAI


def test_the_list_of_recipes_is_complete() -> None:
    listed = (ROOT / "cookbook" / "README.md").read_text()
    for path in [*NOTEBOOKS, *(ROOT / "cookbook").glob("*.md")]:
        if path.name != "README.md":
            assert f"({path.name})" in listed, path.name


@pytest.mark.parametrize("script", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.name)
def test_the_list_of_examples_is_complete(script: Path) -> None:
    if not script.name.startswith("demo_"):  # parts of demo.py
        assert f"({script.name})" in (ROOT / "examples" / "README.md").read_text()
