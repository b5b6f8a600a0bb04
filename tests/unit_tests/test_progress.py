"""The live view: what a board knows, and what a terminal, a log and a notebook show of it."""

from __future__ import annotations

import builtins
import sys
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from langchain_replm import RLM, RLMConfig
from langchain_replm.events import RLMEvent
from langchain_replm.progress import NO_RICH, PlainProgress, hearing, open_progress
from langchain_replm.progress.board import Board
from langchain_replm.progress.notebook import as_html
from langchain_replm.progress.terminal import TerminalProgress
from langchain_replm.testing import ScriptedChatModel

USAGE = {"input_tokens": 1_200, "output_tokens": 30, "total_tokens": 1_230}


def event(kind: Any, number: int = 1, depth: int = 0, **detail: Any) -> RLMEvent:
    return RLMEvent(kind, number, "", detail, depth)


def start(number: int = 1, *, closing: bool = False) -> RLMEvent:
    left = {"sub_calls_left": 500, "cost_left_usd": 1.5}
    return event("iteration_start", number, closing=closing, max_iterations=7, left=left)


def replied(cost_usd: float | None = 0.01, error: str | None = None) -> RLMEvent:
    usage = None if error else USAGE
    return event("root_reply", model="root", usage=usage, cost_usd=cost_usd, error=error)


def begun(code: str = "x = 1") -> RLMEvent:
    return event("cell_start", cell=1, code=code, submits=False)


def asked(depth: int = 0) -> RLMEvent:
    return event("sub_call_start", depth=depth)


def heard(status: str = "ok", depth: int = 0, cost_usd: float | None = 0.001) -> RLMEvent:
    usage = {"sub": {"input_tokens": 10, "output_tokens": 2, "total_tokens": 12}}
    return event(
        "sub_call_end", depth=depth, status=status, usage_by_model=usage, cost_usd=cost_usd
    )


def ran(code: str = "x = 1", output: str = "12\n", error: str | None = None) -> RLMEvent:
    return event("cell_end", cell=1, code=code, submits=False, output=output, error=error)


def answered(cost_usd: float | None = 0.012) -> RLMEvent:
    return event(
        "final_answer", answer="a", stop_reason="answered", iterations=2, sub_calls=3,
        cache_hits=1, cost_usd=cost_usd,
    )  # fmt: skip


RUN = [start(), replied(), begun(), asked(), asked(), asked(1), heard(), heard("failed"),
       event("sub_call_cache_hit")]  # fmt: skip


def board_of(*events: RLMEvent) -> Board:
    board = Board()
    for item in events:
        board.hear(item)
    return board


def test_a_board_knows_where_the_run_stands() -> None:
    board = board_of(*RUN)
    assert board.title == "iteration 1 of at most 7: cell 1 runs"
    assert str(board.calls) == "2 of 3 finished, 1 failed, 1 from the cache"
    assert board.calls.running == 1
    assert board.spent.startswith("1,220 tokens in, 34 out, $0.0120, ")
    assert board.budget == "left: 500 sub-calls, $1.50"


def test_a_child_is_charged_when_it_has_ended_and_not_twice() -> None:
    before = board_of(*RUN)
    after = board_of(*RUN, heard(depth=1))
    assert after.input_tokens == before.input_tokens
    assert after.calls.ended == before.calls.ended + 1


def test_a_cost_that_is_not_known_is_not_shown() -> None:
    assert "$" not in board_of(start(), replied(None)).spent
    assert "$" not in board_of(start(), replied(), answered(None)).outcome


def test_a_view_may_be_used_for_several_runs() -> None:
    board = board_of(*RUN, ran(), answered(), start())
    assert (board.rows, board.input_tokens, board.ended) == ([], 0, None)


def test_the_closing_request_goes_on_with_the_same_run() -> None:
    board = board_of(*RUN, ran(), start(2, closing=True))
    assert board.title == "iteration 2 of at most 7: the root model is asked to close"
    assert len(board.rows) == 1


def lines_of(*events: RLMEvent, cells: bool = False) -> list[str]:
    file = StringIO()
    with open_progress(plain=True, cells=cells, file=file) as view:
        for item in events:
            view(item)
    return file.getvalue().splitlines()


def test_lines_are_few() -> None:
    many = [asked() for _ in range(500)] + [heard() for _ in range(500)]
    lines = lines_of(start(), replied(), begun(), *many, ran(), answered())
    assert lines[0] == "--- iteration 1 of at most 7: the root model thinks"
    assert lines[1:3] == ["    sub-calls: 500 of 500 finished", "    x = 1 -> 12"]
    assert lines[3].startswith("=== answered: 2 iterations, 3 sub-calls (1 cache hits), ")
    assert len(lines) == 4


def test_lines_with_cells_and_observations() -> None:
    observed = event("code_executed", observation="Output:\n12", cells=1, errors=0)
    lines = lines_of(start(), begun("a\nb"), ran(), observed, cells=True)
    assert lines[1:] == ["  | a", "  | b", "  > Output:", "  > 12"]


def test_an_error_is_one_line() -> None:
    failed = ran(error="Traceback ...\nNameError: no such name")
    assert lines_of(start(), begun(), failed)[-1] == "    x = 1 -> NameError: no such name"
    assert "the call failed: busy" in lines_of(start(), replied(error="busy"))[-1]


HOSTILE = "\x1b[2J\x1b]0;owned\x07 [bold]red[/bold] <script>alert(1)</script>"


def test_text_of_strangers_cannot_steer_a_terminal() -> None:
    for lines in (
        lines_of(start(), begun(HOSTILE), ran(HOSTILE, HOSTILE), cells=True),
        lines_of(start(), begun(HOSTILE), ran(HOSTILE, HOSTILE)),
    ):
        assert "\x1b" not in "\n".join(lines)


def terminal(*events: RLMEvent, cells: bool = False) -> str:
    """What stands on the screen, the live part included, without colours."""
    file = StringIO()
    console = Console(file=file, width=100, no_color=True, _environ={"TERM": "dumb"})
    view = TerminalProgress(console=console, cells=cells)
    for item in events:
        view(item)
    console.print(view.render())
    return file.getvalue()


def test_a_terminal_shows_a_bar_and_the_last_cells() -> None:
    shown = terminal(start(), replied(), begun(), ran(), start(2), begun("y = 2"), *RUN[3:])
    assert "RLM, iteration 2 of at most 7: cell 1 runs" in shown
    assert "1 x = 1" in shown
    assert "2 of 3 finished, 1 failed, 1 from the cache, 1 to come" in shown
    assert "━" in shown
    assert "left: 500 sub-calls, $1.50" in shown


def test_a_terminal_keeps_how_the_run_ended() -> None:
    shown = terminal(start(), answered())
    assert "answered: 2 iterations" in shown
    assert "thinks" not in shown


def test_a_terminal_shows_cells_when_it_is_asked_to() -> None:
    observed = event("code_executed", observation="Output: 12", cells=1, errors=0)
    shown = terminal(start(), begun("y = 2"), ran(), observed, cells=True)
    assert "iteration 1: cell 1" in shown
    assert "y = 2" in shown
    assert "Output: 12" in shown


def test_a_terminal_shows_text_of_strangers_as_text() -> None:
    shown = terminal(start(), begun(HOSTILE), ran(HOSTILE, HOSTILE))
    assert "\x1b" not in shown
    assert "[bold]red" in shown
    shown = terminal(
        start(), begun(HOSTILE), ran(), event("code_executed", observation=HOSTILE), cells=True
    )
    assert "\x1b" not in shown


def test_a_notebook_gets_escaped_html() -> None:
    html = as_html(board_of(start(), begun(HOSTILE), asked(), ran(HOSTILE, HOSTILE)))
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "<progress max='1' value='0'>" in html


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_without_rich_gets_lines_and_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("rich")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "langchain_replm.progress.terminal")
    original = builtins.__import__

    def without_rich(name: str, *rest: Any) -> Any:
        if name.startswith("rich"):
            raise ImportError(name)
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_rich)
    file = Terminal()
    view = open_progress(file=file)
    assert isinstance(view, PlainProgress)
    assert file.getvalue() == NO_RICH + "\n"


def test_a_terminal_with_rich_gets_the_live_view() -> None:
    assert isinstance(open_progress(file=Terminal()), TerminalProgress)


def test_without_progress_nothing_is_opened() -> None:
    def listener(_: RLMEvent) -> None: ...

    with hearing(listener, progress=False) as hears:
        assert hears is listener


def test_view_and_listener_hear_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    kinds: list[str] = []
    with hearing(lambda item: kinds.append(item.type), progress=True) as hears:
        assert hears is not None
        for item in (start(), answered()):
            hears(item)
    assert kinds == ["iteration_start", "final_answer"]
    told = capsys.readouterr()
    assert told.out == "", "the answer's place"
    assert "=== answered" in told.err


def test_what_is_left_is_that_of_the_moment_also_in_child_runs() -> None:
    root = ScriptedChatModel(
        replies=["```repl\nrlm_query('deeper', 'text'); llm_query('a')\n```", "FINAL(ok)"]
    )
    child = ScriptedChatModel(replies=["```repl\nllm_query('b')\nFINAL('done')\n```"])
    board, seen = Board(), []

    def listen(item: RLMEvent) -> None:
        board.hear(item)
        seen.append((item.type, item.depth, board.left["sub_calls_left"]))

    config = RLMConfig(max_sub_calls=9, max_recursion_depth=2)
    sub = ScriptedChatModel(respond=lambda _: "fine")
    rlm = RLM(root, sub_model=[child, sub], config=config)
    rlm.generate("q", "context", on_event=listen)
    ends = [(depth, left) for kind, depth, left in seen if kind == "sub_call_end"]
    assert ends == [(1, 7), (0, 7), (0, 6)], "one budget over all depths, and none of it late"
