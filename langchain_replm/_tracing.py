"""How runs are named, tagged and described in traces. Values only; nothing here is started.

A trace reads like the algorithm:

```
RLM                          rlm_role=run
  iteration 1                rlm_role=iteration
    root_generate            the node, and in it the model call   rlm_role=root
    parse
    sandbox_exec
      cell 1                 rlm_role=cell
        llm_query            rlm_role=sub
        llm_query (cached)   rlm_role=sub, rlm_cached; from the journal: rlm_recorded
        rlm_query            rlm_role=child; its own iterations are below it
        search               rlm_role=tool
    truncate
```
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langgraph.types import TracePolicy

from langchain_replm.events import preview
from langchain_replm.types import Iteration, total

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.runnables import RunnableConfig

    from langchain_replm.events import RLMEvent

# `nostream` keeps the inner tokens out of a parent graph's "messages" stream.
_TAGS = {
    "root_generate": ["rlm:root", "nostream"],
    "root_summary": ["rlm:root", "nostream"],
    "root_judge": ["rlm:root", "nostream"],
    "llm_query": ["rlm:sub", "nostream"],
    "rlm_query": ["rlm:child"],
    "candidate": ["rlm:candidate"],
    "tool": ["rlm:tool"],
}
_ROLES = {
    "root_generate": "root",
    "root_summary": "summary",
    "root_judge": "judge",
    "llm_query": "sub",
    "rlm_query": "child",
    "candidate": "candidate",
    "tool": "tool",
}

METADATA_PREFIX = "rlm_"
TAG_PREFIX = "rlm:"


def call_config(
    name: str, *, iteration: int, depth: int, cell: int | None = None, prompt_chars: int = 0
) -> RunnableConfig:
    """The part of a config that says what a call is.

    Callbacks are not in it on purpose: LangChain takes them from the ambient config, which the
    driver has set to the cell's (or LangGraph to the node's); passing them explicitly would post
    every run twice.
    """
    metadata: dict[str, Any] = {
        "rlm_role": _ROLES[name],
        "rlm_iteration": iteration,
        "rlm_depth": depth,
    }
    if cell is not None:
        metadata |= {"rlm_cell": cell, "rlm_prompt_chars": prompt_chars}
    return {"run_name": name, "tags": list(_TAGS[name]), "metadata": metadata}


def others(names: Mapping[str, Any]) -> dict[str, Any]:
    """What is not ours among metadata. What is ours describes one run, not those below it."""
    return {name: value for name, value in names.items() if not name.startswith(METADATA_PREFIX)}


def iteration_metadata(step: Iteration) -> dict[str, Any]:
    """What is known of an iteration when it has ended, its sub-calls and children included."""
    totals = total([step])
    usage = totals.usage_by_model.values()
    return {
        "rlm_closing": step.closing,
        "rlm_sub_calls": totals.sub_calls,
        "rlm_cache_hits": totals.cache_hits,
        "rlm_input_tokens": sum(tokens["input_tokens"] for tokens in usage),
        "rlm_output_tokens": sum(tokens["output_tokens"] for tokens in usage),
        "rlm_cells": len(step.cells),
        "rlm_cell_errors": sum(cell.error is not None for cell in step.cells),
    }


def iteration_outputs(step: Iteration) -> dict[str, Any]:
    """What a trace shows of an iteration; the whole texts are in the runs below it."""
    shown = {"reply": preview(step.reply), "observation": preview(step.observation or "")}
    return shown if step.error is None else {**shown, "error": step.error}


def node_inputs(state: Any) -> dict[str, Any]:
    """What a trace shows of the input of a node.

    The state holds the whole trajectory: recorded at every node, a run of n iterations would
    upload the square of it.
    """
    if not isinstance(state, dict):
        return {}
    return {"iteration": iteration_number(state)}


def node_outputs(command: Any) -> dict[str, Any]:
    """What a trace shows of the output of a node: what it has found out, without the record."""
    update = getattr(command, "update", None)
    if not isinstance(update, dict):
        return {}
    turn = update.get("turn") or {}
    found = {name: turn.get(name) for name in ("code", "final", "problem", "answer", "error")}
    found |= {name: update.get(name) for name in ("limit", "stop_reason", "answer")}
    cells = turn.get("cells") or ()
    shown = {name: value for name, value in found.items() if value}
    if cells:
        shown["cells"] = [cell["status"] for cell in cells]
    return {**shown, "next": command.goto}


NODE_TRACE = TracePolicy(process_inputs=node_inputs, process_outputs=node_outputs)


def iteration_number(state: Mapping[str, Any]) -> int:
    """The iteration that a node works on, from the state that it gets."""
    return 1 + len(state.get("trajectory") or ())


def cell_name(event: RLMEvent) -> str:
    """How a cell is called in traces: by its place in the reply, from 1."""
    return "final" if event.detail["submits"] else f"cell {event.detail['cell']}"


def cell_metadata(event: RLMEvent) -> dict[str, Any]:
    """What is known of a cell, from the event of its start or of its end."""
    known = {"rlm_role": "cell", "rlm_iteration": event.iteration, "rlm_depth": event.depth}
    names = ("cell", "status", "sub_calls", "cache_hits")
    return known | {
        f"{METADATA_PREFIX}{name}": event.detail[name] for name in names if name in event.detail
    }
