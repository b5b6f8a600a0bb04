"""Ways to answer, compared on equal terms: same models, limits, prices, and counts.

| name | what it does |
| --- | --- |
| `base` | the whole context in one prompt; over the window the outcome is `"window"`, scored 0 |
| `truncation` | one prompt with the middle of the context cut out until it fits |
| `map-reduce` | the sub-model reads every chunk at once, the root model combines the notes |
| `search` | no model: BM25 over sentences, then a pattern for the kind of answer |
| `files` | a LangChain agent that lists, searches and reads files which hold the context |
| `rlm-no-sub-calls` | an RLM whose cells cannot call models; the paper's ablation |
| `rlm` | an RLM whose sub-calls are plain completions (depth 1) |
| `rlm-2` | an RLM whose cells can start child RLMs (depth 2) |

Any other Runnable over `{"query", "context"}` that returns an `RLMResponse` or an `Outcome` is a
runner, too.
"""

from __future__ import annotations

import difflib
from importlib import import_module
from typing import TYPE_CHECKING, Any

from langchain_replm._models import resolve_by_depth, resolve_chat_model
from langchain_replm.config import RLMConfig
from langchain_replm.errors import ConfigurationError
from langchain_replm.runnable import RLM

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from langchain_replm.evals.types import Runner

_BASELINES = {
    "base": ("whole", "WholeContext"),
    "truncation": ("whole", "Truncation"),
    "map-reduce": ("map_reduce", "MapReduce"),
    "search": ("search", "Search"),
    "files": ("files", "FilesAgent"),
}
_RLMS: dict[str, dict[str, Any]] = {
    "rlm-no-sub-calls": {"enable_sub_calls": False, "max_recursion_depth": 1},
    "rlm": {"max_recursion_depth": 1},
    "rlm-2": {"max_recursion_depth": 2},
}

RUNNERS: tuple[str, ...] = (*_BASELINES, *_RLMS)
"""The names that `runner` knows."""


def runner(
    name: str,
    *,
    root_model: BaseChatModel | str,
    sub_model: BaseChatModel | str | None = None,
    config: RLMConfig | None = None,
    **options: Any,
) -> Runner:
    """The runner of that name.

    Args:
        name: One of `RUNNERS`.
        root_model: Answers, combines, or writes cells; a chat model, or a name for
            `init_chat_model`.
        sub_model: Reads parts; the root model when None.
        config: Limits, sampling and prices of each run. `max_total_tokens`, `max_cost_usd`,
            `max_seconds`, `max_sub_calls`, `max_iterations`, `max_tool_calls` and
            `max_concurrency` mean for a baseline what they mean for an RLM.
        **options: For baselines `window_tokens`, for `map-reduce` also `chunk_tokens`; for RLMs the
            parameters of `RLM`.

    Raises:
        ConfigurationError: There is no such runner or no such option, or a value is wrong.

    Example:
        ```python
        from langchain_replm.evals.runners import runner
        from langchain_replm.testing import ScriptedChatModel

        base = runner("base", root_model=ScriptedChatModel(replies=["17"]), window_tokens=1_000)
        assert base.invoke({"query": "Which code?", "context": "It is 17."}).answer == "17"
        outcome = base.invoke({"query": "Which code?", "context": "It is 17. " * 1_000})
        assert (outcome.answer, outcome.stop_reason) == ("", "window")
        ```
    """
    if name not in RUNNERS:
        near = difflib.get_close_matches(name, RUNNERS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        msg = f"There is no runner {name!r}.{hint} The runners are: {', '.join(RUNNERS)}."
        raise ConfigurationError(msg)
    config = config or RLMConfig()
    root = resolve_chat_model(root_model, role="root_model")
    if name in _RLMS:
        _check_options(name, options, set(RLM.model_fields) - {"root_model", "sub_model", "config"})
        chosen = config.model_copy(update=_RLMS[name])
        return RLM(root, sub_model=sub_model, config=chosen, **options)
    [sub, *_] = resolve_by_depth(sub_model, default=root)
    module, kind = _BASELINES[name]
    make = getattr(import_module(f"{__name__}.{module}"), kind)
    known = {"window_tokens", "chunk_tokens"} if name == "map-reduce" else {"window_tokens"}
    _check_options(name, options, known)
    made: Runner = make(name, root, sub, config, **options)
    return made


def _check_options(name: str, options: dict[str, Any], known: set[str]) -> None:
    if unknown := sorted(set(options) - known):
        told = ", ".join(sorted(known)) or "none"
        msg = f"The runner {name!r} has no option {unknown[0]!r}. It has: {told}."
        raise ConfigurationError(msg)
