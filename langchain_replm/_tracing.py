"""How calls are named and tagged in traces."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig

# `nostream` keeps the inner tokens out of a parent graph's "messages" stream.
_TAGS = {
    "root_generate": ["rlm:root", "nostream"],
    "llm_query": ["rlm:sub", "nostream"],
    "rlm_query": ["rlm:child"],
    "tool": ["rlm:tool"],
}
_ROLES = {"root_generate": "root", "llm_query": "sub", "rlm_query": "child", "tool": "tool"}


def call_config(name: str, *, iteration: int, depth: int) -> RunnableConfig:
    """The part of a config that says what a call is.

    Callbacks are not in it on purpose: LangChain takes them from the ambient config, which
    LangGraph has set to the node's; passing them explicitly would post every run twice.
    """
    return {
        "run_name": name,
        "tags": _TAGS[name],
        "metadata": {"rlm_role": _ROLES[name], "rlm_iteration": iteration, "rlm_depth": depth},
    }
