"""Every notebook of the cookbook runs without a key, and holds the outputs that it has."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import nbformat
import pytest
from langchain_openai import ChatOpenAI
from playwright.sync_api import expect, sync_playwright

from tests.browser import FLAGS, find_browser
from tests.langsmith_server import langsmith
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


def lasting(cell: Any) -> Any:
    """What a cell has put out, as far as it is the same on every machine."""
    outputs = cell.get("outputs", [])
    if "varies" not in cell.metadata.get("tags", ()):
        return outputs
    return [(output["output_type"], printed(cell).count("\n")) for output in outputs]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_puts_out_what_is_stored_in_it(path: Path, shared: tuple[Any, str]) -> None:
    stored, now = nbformat.read(path, as_version=4), execute(path, *shared)
    for old, new in zip(stored.cells, now.cells, strict=True):
        errors = [output for output in new.get("outputs", ()) if output.get("name") == "stderr"]
        assert not errors, new.source
        assert lasting(new) == lasting(old), f"run make notebooks:\n{new.source}"
        assert not CHANCE.search(printed(old)), "a path, a time or an id of this machine"


def code_of(name: str) -> list[Any]:
    """The code cells of a notebook."""
    cells = nbformat.read(ROOT / "cookbook" / f"{name}.ipynb", as_version=4).cells
    return [cell for cell in cells if cell.cell_type == "code"]


HOSTILE = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The server of the notebook, as it says: its cells saved as `web.py`, and uvicorn."""
    code = [cell.source for cell in code_of("streaming_to_a_web_page")][:3]
    (folder / "web.py").write_text("\n\n".join([*code, f"replies[0] = {HOSTILE!r} + replies[0]"]))
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = str(found.getsockname()[1])
    command = [sys.executable, "-m", "uvicorn", "web:app", "--port", port, "--log-level", "warning"]
    environment = {name: value for name, value in os.environ.items() if "API_KEY" not in name}
    server = subprocess.Popen(command, cwd=folder, env=environment)
    try:
        address, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                httpx.get(address)
                break
            except httpx.TransportError:
                time.sleep(0.05)
        yield address
    finally:
        server.terminate()
        server.wait(30)


def test_the_page_shows_a_run_as_it_goes_on(tmp_path: Path) -> None:
    program, reason = find_browser()
    if program is None:
        pytest.skip(reason)
    with served(tmp_path) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        page = browser.new_page()
        page.goto(address)
        title = page.title()
        page.fill("input", "How many herons?")
        page.press("input", "Enter")
        expect(page.locator("h1")).to_have_text("10000", timeout=30_000)
        work = page.locator("pre").inner_text()
        assert work.index("[iteration_start] Iteration 1") < work.index("print(n, 'herons')")
        assert work.index("10000 herons") < work.index("[iteration_start] Iteration 2")
        assert "broke off" not in work
        assert HOSTILE in work
        assert page.locator("img, pre script").count() == 0
        assert page.title() == title
        browser.close()


def test_the_tree_of_the_notebook_arrives_in_langsmith(tmp_path: Path) -> None:
    cells = code_of("tracing")
    ending = (
        "from langchain_core.tracers.langchain import wait_for_all_tracers\nwait_for_all_tracers()"
    )
    script = tmp_path / "tracing.py"
    script.write_text("\n\n".join([*(cell.source for cell in cells), ending]))
    with langsmith() as ingest:
        environment = {name: value for name, value in os.environ.items() if "OPENAI" not in name}
        subprocess.run([sys.executable, str(script)], env=environment, timeout=60, check=True)
    names = [line[:24].rstrip() for line in printed(cells[-1]).splitlines()]  # beside their roles
    assert ingest.tree() == names * 2  # it makes two runs


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
