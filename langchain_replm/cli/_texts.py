"""Runs as text for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_core.messages.ai import UsageMetadata

    from langchain_replm.trajectory_file import RecordedRun
    from langchain_replm.types import Cell, HostCall, Iteration, SubCall

SHOWN_CHARS = 600
SHOWN_ITEMS = 3


def summary(run: RecordedRun) -> str:
    """One line: how it ended, what it took, what it cost."""
    one = run.response
    cost = "cost unknown" if one.cost is None else f"${one.cost:.4f}"
    return (
        f"{run.ended}: {one.iterations} iterations, {one.sub_calls} sub-calls, "
        f"{one.total_input_tokens:,} tokens in, {one.total_output_tokens:,} out, {cost}, "
        f"{one.elapsed_seconds:.1f} s"
    )


def heading(position: int, run: RecordedRun) -> str:
    """One line of a list of runs."""
    words = " ".join(run.response.query.split())
    return f"{position:>4}  {run.time or '-':<25}  {run.ended:<14}  {words[:80]}"


def tell(run: RecordedRun, *, full: bool) -> Iterator[str]:
    """The whole run, line by line."""
    one = run.response
    yield f"question: {one.query or '(not recorded)'}"
    yield f"answer:   {one.answer or '(none)'}"
    yield f"ended:    {summary(run)}"
    if one.context is not None:
        yield f"context:  {one.context.chars:,} characters in {one.context.items:,} texts"
    for name, usage in one.usage_by_model.items():
        yield f"model:    {name}: {_tokens(usage)}"
    for note in run.notes:
        yield f"note:     {note}"
    yield from _steps(one.trajectory, "", full=full)
    if one.repl_variables:
        yield ""
        yield "variables at the end:"
        yield from (f"  {name} = {text}" for name, text in one.repl_variables.items())


def _steps(steps: tuple[Iteration, ...], indent: str, *, full: bool) -> Iterator[str]:
    for step in steps:
        yield ""
        name = "closing request" if step.closing else f"iteration {step.number}"
        spent = "" if step.usage is None else f", {_tokens(step.usage)}"
        cost = "" if step.cost_usd is None else f", ${step.cost_usd:.4f}"
        model = step.model or "root model"
        yield f"{indent}== {name} ({model}, {step.elapsed_seconds:.2f} s{spent}{cost})"
        if step.error:
            yield from _block("the root call failed", step.error, indent, full=full)
        if step.reply:
            yield from _block("reply", step.reply, indent, full=full)
        for position, candidate in enumerate(step.candidates, 1):
            chosen = ", chosen" if candidate.chosen else ""
            title = f"candidate {position} ({candidate.stop_reason}{chosen})"
            yield from _block(title, candidate.answer, indent + "  ", full=full)
            yield from _steps(candidate.trajectory, indent + "    ", full=full)
        for number, cell in enumerate(step.cells, 1):
            yield from _cell(number, cell, indent + "  ", full=full)


def _cell(number: int, cell: Cell, indent: str, *, full: bool) -> Iterator[str]:
    yield f"{indent}-- cell {number}: {cell.status} ({cell.elapsed_seconds:.2f} s of its own)"
    for call in cell.host_calls:
        yield from _call(call, indent, full=full)
    if cell.output:
        yield from _block("output", cell.output, indent, full=full)
    if cell.error:
        yield from _block("error", cell.error, indent, full=full)
    if cell.answer is not None:
        yield from _block("submitted", cell.answer.text, indent, full=full)


def _call(call: HostCall, indent: str, *, full: bool) -> Iterator[str]:
    good = sum(item.status == "ok" for item in call.items)
    yield f"{indent}   {call.function}: {good} of {len(call.items)} ok"
    shown = call.items if full else call.items[:SHOWN_ITEMS]
    for item in shown:
        yield from _item(item, indent + "     ", full=full)
    if len(shown) < len(call.items):
        yield f"{indent}     ... {len(call.items) - len(shown):,} more (--full)"


def _item(item: SubCall, indent: str, *, full: bool) -> Iterator[str]:
    what = item.response if item.status == "ok" else f"{item.status}: {item.error}"
    cached = ", cached" if item.cached else ""
    yield from _block(f"{item.prompt_chars:,} characters{cached}", item.prompt, indent, full=full)
    yield from _block("  ->", what, indent, full=full)
    if item.child:
        yield from _steps(item.child, indent + "  ", full=full)


def _block(title: str, text: str, indent: str, *, full: bool) -> Iterator[str]:
    cut = "" if full or len(text) <= SHOWN_CHARS else f" [... {len(text) - SHOWN_CHARS:,} more]"
    lines = (text[:SHOWN_CHARS] if cut else text).strip("\n").split("\n")
    if len(lines) == 1:
        yield f"{indent}{title}: {lines[0]}{cut}"
        return
    yield f"{indent}{title}:"
    yield from (f"{indent}  | {line}" for line in lines)
    if cut:
        yield f"{indent}  |{cut}"


def _tokens(usage: UsageMetadata) -> str:
    return f"{usage['input_tokens']:,} tokens in, {usage['output_tokens']:,} out"
