"""Reply text in, cells or a final or neither out. Reads nothing but the reply."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from langchain_replm._guards import shown_whole
from langchain_replm._reply import may_submit, parse_reply, without_thinking
from langchain_replm.state import FinalText, Turn, read_turn

if TYPE_CHECKING:
    from langchain_replm._reply import ParsedReply
    from langchain_replm.scope import RunScope
    from langchain_replm.state import RLMState


def parse(state: RLMState, scope: RunScope) -> dict[str, Any]:
    """Find out what the reply wants.

    Returns:
        `turn` with its cells, its text final, or what is wrong with it.
    """
    turn = read_turn(state)
    if turn.error is not None:
        return {"turn": turn.model_dump()}
    if turn.direct:
        return {"turn": turn.model_copy(update=_direct(turn.reply)).model_dump()}
    parsed = parse_reply(turn.reply, truncated=turn.truncated)
    if _begins_with_answer(turn.reply, parsed) and any(s.cells for s in scope.steps(state)):
        parsed = replace(parsed, cells=())
    update: dict[str, Any] = {
        "code": parsed.cells,
        "final": parsed.final and FinalText(kind=parsed.final.kind, text=parsed.final.text),
        "problem": parsed.problem,
        "detail": parsed.detail,
        "prose": parsed.prose,
    }
    if turn.foreign is not None and not parsed.cells and parsed.final is None:
        update |= {"problem": "foreign_call", "detail": f"a call of a tool named {turn.foreign}"}
    held = None if turn.closing else _held(state, parsed, scope)
    update["held"] = held
    if held == "hold_invented_output":
        update |= {"code": parsed.cells[: parsed.real_cells], "final": None}
    elif held is None and _is_plain_answer(parsed):
        update["answer"] = parsed.final.text if parsed.final else None
    return {"turn": turn.model_copy(update=update).model_dump()}


def _direct(reply: str) -> dict[str, Any]:
    """The reply is the answer, unless there is nothing in it."""
    text = without_thinking(reply)
    parsed = parse_reply(text)
    # Some models write FINAL(...) out of habit, and then it stands alone.
    if parsed.final is not None and parsed.final.kind == "text" and not parsed.prose:
        text = parsed.final.text
    return {"answer": text, "prose": text} if text else {"problem": "empty"}


def wants_sandbox(turn: Turn) -> bool:
    """The reply has something to run: cells, or a final that may name a variable."""
    submits = turn.final is not None and turn.held is None
    return turn.answer is None and (bool(turn.code) or submits)


def _held(state: RLMState, parsed: ParsedReply, scope: RunScope) -> str | None:
    """The guard that does not take what the reply submits, for reasons that the reply shows."""
    config = scope.settings.config
    if config.hold_invented_output and parsed.real_cells is not None:
        rest = parsed.cells[parsed.real_cells :]
        if parsed.final is not None or any(may_submit(code) for code in rest):
            return "hold_invented_output"
    if config.hold_first_answer and _answers_unseen(state, parsed, scope):
        return "hold_first_answer"
    return None


def _begins_with_answer(reply: str, parsed: ParsedReply) -> bool:
    """The answer stands before everything else; cells after it are not waited for.

    A stream has told the answer by then. Only where cells have run before: else it is a guess.
    """
    is_text = parsed.final is not None and parsed.final.kind == "text"
    return is_text and bool(parsed.cells) and reply.lstrip().startswith("FINAL(")


def _is_plain_answer(parsed: ParsedReply) -> bool:
    """A text final that stands alone and cannot be the name of a variable."""
    final = parsed.final
    if final is None or parsed.cells or final.kind != "text":
        return False
    return not final.text.strip().isidentifier()


def _answers_unseen(state: RLMState, parsed: ParsedReply, scope: RunScope) -> bool:
    """A text final before any cell has run, over a context that the preview does not show whole.

    Plans and guesses come out this way; a model that knows the answer can repeat it.
    """
    if parsed.final is None or parsed.cells:
        return False
    past = scope.steps(state)
    if any(step.cells or step.reply for step in past):
        return False
    return not shown_whole(state["context_handle"])
