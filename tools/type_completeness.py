"""Is the type information of everything public complete? Exits with 1 and a list if it is not.

`pyright --verifytypes` reads a dependency only if it says that it is typed. LangGraph does, with
one marker at its top; but that is a namespace package, of which each part needs a marker. So
pyright is shown a copy of LangGraph that has them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "langchain_replm"


def main() -> int:
    """Print what is not known; a score below 100 % is a failure."""
    with tempfile.TemporaryDirectory() as folder:
        _mark_as_typed("langgraph", Path(folder))
        found = _verify(Path(folder))
    for symbol in found["symbols"]:
        for problem in symbol.get("diagnostics", []):
            print(f"{_place(problem)}{symbol['name']}: {problem['message']}")
    print(f"{found['completenessScore']:.1%} of the public types are known")
    return int(found["completenessScore"] < 1)


def _mark_as_typed(package: str, folder: Path) -> None:
    spec = find_spec(package)
    assert spec is not None
    for place in spec.submodule_search_locations or ():
        shutil.copytree(
            place,
            folder / package,
            ignore=shutil.ignore_patterns("__pycache__"),
            dirs_exist_ok=True,
        )
    for part in (folder / package).iterdir():
        if part.is_dir():
            (part / "py.typed").touch()


def _verify(folder: Path) -> dict[str, Any]:
    paths = os.pathsep.join([str(folder), str(ROOT)])
    # Pyright asks the `python` that it finds first where packages are.
    search = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    command = [sys.executable, "-m", "pyright", "--verifytypes", PACKAGE]
    done = subprocess.run(
        [*command, "--ignoreexternal", "--outputjson"],
        env={**os.environ, "PYTHONPATH": paths, "PATH": search},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    found: dict[str, Any] = json.loads(done.stdout)["typeCompleteness"]
    assert Path(found["packageRootDirectory"].removeprefix("file://")) == ROOT / PACKAGE, found
    return found


def _place(problem: dict[str, Any]) -> str:
    if "range" not in problem:
        return ""
    return f"{problem['file']}:{problem['range']['start']['line'] + 1}: "


if __name__ == "__main__":
    sys.exit(main())
