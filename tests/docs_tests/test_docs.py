"""Every code block of the docs and every docstring example runs, against a real HTTP server."""

from __future__ import annotations

import ast
import asyncio
import gc
import importlib
import inspect
import os
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.util._once import Once

import langchain_replm
from tests.openai_server import OpenAIServer, Reply, Request

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^( *)```python\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs" / "guides").glob("*.md")),
    *(
        page
        for page in sorted([*(ROOT / "cookbook").glob("*.md"), *(ROOT / "docs").rglob("*.md")])
        if page.parent.name != "guides" and BLOCK.search(page.read_text())
    ),
]
ALLOW_AWAIT = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


def respond(request: Request) -> Reply:
    if any(message["role"] == "system" for message in request.messages):
        return Reply("```repl\nprint(len(context))\nFINAL(llm_query('How many?'))\n```")
    return Reply("50,000 times")


@pytest.fixture
def openai_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # A page may configure OpenTelemetry, which a process can do only once.
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())
    with OpenAIServer(respond) as server:
        monkeypatch.setenv("OPENAI_API_KEY", "test")
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        monkeypatch.setenv("OPENAI_API_BASE", server.base_url)
        yield


def run_blocks(blocks: list[str], name: str, names: dict[str, Any] | None = None) -> None:
    space: dict[str, Any] = {**(names or {}), "__name__": "docs"}

    async def run_all() -> None:
        for code in blocks:
            compiled: CodeType = compile(code, name, "exec", flags=ALLOW_AWAIT)
            result = eval(compiled, space)  # noqa: S307 - our own documentation
            if inspect.isawaitable(result):
                await result
        for value in list(space.values()):
            await close_clients(value)

    asyncio.run(run_all())
    gc.collect()


async def close_clients(value: Any) -> None:
    """A socket that nobody closes is a warning, and a warning is an error here."""
    for model in (value, getattr(value, "root_model", None), getattr(value, "sub_model", None)):
        for name in ("root_client", "root_async_client"):
            closing = getattr(getattr(model, name, None), "close", lambda: None)()
            if inspect.isawaitable(closing):
                await closing


@pytest.mark.usefixtures("openai_environment")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_of_a_page_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # for files that a page writes
    blocks = [code for _, code in BLOCK.findall(page.read_text())]
    assert blocks
    run_blocks(blocks, page.name)


def docstring_examples() -> list[tuple[str, str, dict[str, Any]]]:
    found = []
    for info in pkgutil.walk_packages(langchain_replm.__path__, "langchain_replm."):
        if "_worker" in info.name or info.name.endswith("__main__"):
            continue
        module = importlib.import_module(info.name)
        tree = ast.parse(Path(str(module.__file__)).read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = inspect.cleandoc(ast.get_docstring(node) or "")
                for number, (indent, code) in enumerate(BLOCK.findall(text)):
                    name = f"{info.name}.{getattr(node, 'name', 'module')}.{number}"
                    found.append((name, inspect.cleandoc(indent + code), vars(module)))
    return found


EXAMPLES = docstring_examples()


def test_the_public_names_have_examples() -> None:
    assert len(EXAMPLES) >= 10


@pytest.mark.usefixtures("openai_environment")
@pytest.mark.parametrize(("name", "code", "names"), EXAMPLES, ids=[item[0] for item in EXAMPLES])
def test_every_docstring_example_runs(name: str, code: str, names: dict[str, Any]) -> None:
    run_blocks([code], name, names)


SCRIPTS = [
    path
    for path in sorted((ROOT / "examples").glob("*.py"))
    if not path.name.startswith(("demo", "dask", "docker"))  # these have tests of their own
]
PRINTED = ROOT / "tests" / "data" / "examples"
VARIES = "\N{HORIZONTAL ELLIPSIS}"
"""Stands, in what a script is expected to print, for what is different each time."""


@pytest.mark.usefixtures("openai_environment")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_example_prints_what_it_should(script: Path, tmp_path: Path) -> None:
    """`UPDATE_SNAPSHOTS=1` writes anew what they print."""
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    expected = PRINTED / f"{script.stem}.txt"
    if os.environ.get("UPDATE_SNAPSHOTS"):
        expected.write_text(done.stdout)
    pattern = re.escape(expected.read_text()).replace(VARIES, "[^\\n]+")
    assert re.fullmatch(pattern, done.stdout), done.stdout
