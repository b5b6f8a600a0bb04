"""Executes the notebooks of the cookbook, and writes their outputs: `make notebooks`.

All of them run in one kernel, one after the other, each with an empty namespace and in a folder of
its own. No key reaches the kernel, so that every notebook takes its offline models. What is written
is the same on every machine: no paths, times or random ids.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "cookbook").glob("*.ipynb"))
SECRET = re.compile(r"_API_KEY$|^LANGSMITH_|^LANGCHAIN_|^OTEL_")
TIMEOUT_SECONDS = 60
FRESH = (
    "%reset -f\nimport os, tempfile\nos.chdir(tempfile.mkdtemp(dir={folder!r}))\ndel os, tempfile"
)


@contextmanager
def kernel() -> Iterator[tuple[KernelManager, str]]:
    """A kernel for all notebooks, and the folder that theirs are made in."""
    environment = {name: value for name, value in os.environ.items() if not SECRET.search(name)}
    with tempfile.TemporaryDirectory() as folder:
        manager = KernelManager(kernel_name="python3", transport="ipc", ip=f"{folder}/kernel")
        manager.start_kernel(env=environment, cwd=folder)
        try:
            yield manager, folder
        finally:
            manager.shutdown_kernel(now=True)


def execute(path: Path, manager: KernelManager, folder: str) -> Any:
    """The notebook with what its cells put out now.

    Raises:
        nbclient.exceptions.CellExecutionError: A cell has failed.
    """
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(FRESH.format(folder=folder)))
    client = NotebookClient(notebook, km=manager, timeout=TIMEOUT_SECONDS)
    try:
        client.execute()
    finally:
        if client.kc is not None:  # the kernel stays, its sockets on this side do not
            client.kc.stop_channels()
    del notebook.cells[0]
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for number, cell in enumerate(notebook.cells, 1):
        cell["id"] = f"cell-{number}"
        tags = cell.metadata.get("tags")
        cell.metadata = {"tags": tags} if tags else {}
        if cell.cell_type == "code":
            cell.execution_count = None
            cell.outputs = [clean(output, folder) for output in merged(cell.outputs)]
    return notebook


def merged(outputs: list[Any]) -> list[Any]:
    """Neighbouring pieces of one stream as one piece: how they were cut is chance."""
    kept: list[Any] = []
    for output in outputs:
        stream = output.get("name")
        if stream and kept and kept[-1].get("name") == stream:
            kept[-1]["text"] += output["text"]
        else:
            kept.append(output)
    return kept


def clean(output: Any, folder: str) -> Any:
    """An output without the paths of this machine."""
    for place in (output, output.get("data", {})):
        for name, value in place.items():
            if isinstance(value, str):
                short = re.sub(re.escape(folder) + r"/\w+", ".", value)
                place[name] = short.replace(str(ROOT), ".")
    if "execution_count" in output:
        output["execution_count"] = None
    return output


def main(names: list[str]) -> None:
    """Execute all notebooks, or those that are named, and write them."""
    with kernel() as (manager, folder):
        for path in NOTEBOOKS:
            if not names or path.stem in names:
                nbformat.write(execute(path, manager, folder), path)
                print(path.relative_to(ROOT))


if __name__ == "__main__":
    main(sys.argv[1:])
