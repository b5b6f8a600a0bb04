"""Runs inside a real Jupyter kernel, whose event loop is running: sync, async, with display."""

from __future__ import annotations

from typing import Any

import pytest

# Its own dependencies warn while they are imported; warnings of ours still count in the kernel.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

SETUP = """
import warnings
warnings.simplefilter("error", ResourceWarning)
from langchain_replm import RLM
from langchain_replm.testing import ScriptedChatModel

def make():
    cell = "```repl\\nr = llm_query_batch(['a', 'b', '<script>c</script>'])\\nFINAL(r[1])\\n```"
    sub = ScriptedChatModel(respond=lambda messages: messages[-1].text.upper())
    return RLM(ScriptedChatModel(replies=[cell]), sub_model=sub)
"""
CELLS = [
    SETUP,
    'response = make().generate("Which?", "a text", progress=True)\nprint(response.answer)',
    'response = await make().agenerate("Which?", "a text", progress=True)\nprint(response.answer)',
    'async for chunk in make().astream_generate("Which?", "a text", progress=True): pass\n'
    "print(chunk.type, chunk.content)",
    "import asyncio\n"
    "both = await asyncio.gather(*(make().agenerate('Which?', 'a text') for _ in range(2)))\n"
    "print([one.answer for one in both])",
    "response",
]


@pytest.fixture(scope="module")
def outputs() -> list[list[Any]]:
    """What each cell of a notebook has put out."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(code) for code in CELLS]
    NotebookClient(notebook, timeout=90, kernel_name="python3").execute()
    return [cell.outputs for cell in notebook.cells]


def printed(cell: list[Any]) -> str:
    return "".join(item.text for item in cell if item.output_type == "stream")


def test_it_answers_sync_and_async(outputs: list[list[Any]]) -> None:
    assert [printed(cell) for cell in outputs[1:5]] == [
        "B\n", "B\n", "final_answer B\n", "['B', 'B']\n",
    ]  # fmt: skip


@pytest.mark.parametrize("cell", [1, 2, 3], ids=["sync", "async", "stream"])
def test_the_view_is_one_output_that_says_how_it_ended(outputs: list[list[Any]], cell: int) -> None:
    shown = [item.data for item in outputs[cell] if item.output_type == "display_data"]
    assert len(shown) == 1
    html = shown[0]["text/html"]
    assert "answered: 1 iterations, 3 sub-calls" in html
    assert "<script>c" not in html
    assert "&lt;script&gt;c" in html
    assert "answered: 1 iterations" in shown[0]["text/plain"], "for a notebook without HTML"


def test_a_response_displays_itself(outputs: list[list[Any]]) -> None:
    [shown] = [item.data for item in outputs[5] if item.output_type == "execute_result"]
    assert "<" in shown["text/html"]
    assert "<script>c</script>" not in shown["text/html"]
