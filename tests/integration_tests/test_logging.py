"""One logger; no text of the user above DEBUG, wherever it may come from."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from langchain_replm import RLM, RLMConfig
from langchain_replm.testing import ScriptedChatModel
from tests.scenarios import cell

MARKS = ["incontext", "inquery", "inprompt", "inreply", "inanswer", "infailure", "inerror",
         "inlistener", "inchild"]  # fmt: skip


def sub(messages: list[Any]) -> Any:
    text = messages[-1].text
    if "fail" in text:
        return RuntimeError(f"the provider quotes infailure {text}")
    return f"inreply {text}"


def listener(event: Any) -> None:
    if event.type == "cell_end":
        raise ValueError(f"inlistener {event.detail}")


def run(**config: Any) -> None:
    replies = [
        RuntimeError("busy: infailure"),
        cell("print(context)", "r = llm_query_batch(['inprompt', 'fail inprompt', context])"),
        cell("raise ValueError('inerror')"),
        cell("rlm_query('inchild', context)"),
        cell("FINAL('inanswer' + context)"),
    ]
    rlm = RLM(
        ScriptedChatModel(replies=replies),
        sub_model=ScriptedChatModel(respond=sub),
        config=RLMConfig(max_recursion_depth=2, **config),
    )
    response = rlm.generate("inquery?", "incontext " * 300, on_event=listener)
    assert response.stop_reason == "answered"


def told(caplog: pytest.LogCaptureFixture, *, least: int) -> str:
    """Everything that handlers of our logger would write from this level on, tracebacks too."""
    formatter = logging.Formatter("%(levelname)s %(name)s %(message)s")
    records = [
        r for r in caplog.records if r.levelno >= least and r.name.startswith("langchain_replm")
    ]
    return "\n".join(map(formatter.format, records))


@pytest.mark.parametrize("verbose", [False, True])
def test_no_text_of_the_user_above_debug(
    caplog: pytest.LogCaptureFixture, *, verbose: bool
) -> None:
    caplog.set_level(logging.INFO, "langchain_replm")
    run(verbose=verbose)
    text = told(caplog, least=logging.INFO)
    for mark in MARKS:
        assert mark not in text, mark
    assert "WARNING langchain_replm the root model failed: RuntimeError" in text
    assert "on_event failed for cell_end: ValueError" in text
    assert "stop_reason=answered" in text
    assert ("cell_start" in text) is verbose


def test_debug_has_the_text(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "langchain_replm")
    run()
    text = told(caplog, least=logging.DEBUG)
    for mark in ("infailure", "inreply", "inerror", "inlistener", "inanswer"):
        assert mark in text, mark


def test_every_logger_is_of_one_tree() -> None:
    import ast
    from pathlib import Path

    import langchain_replm

    names = {
        ast.unparse(node.args[0])
        for file in Path(langchain_replm.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("getLogger")
    }
    assert names <= {"'langchain_replm'", "__name__"}
