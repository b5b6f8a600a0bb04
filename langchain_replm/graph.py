"""The loop: four nodes and their edges. No other file repeats an iteration.

```
START → root_generate → parse → sandbox_exec → truncate → (root_generate | END)
                          └── nothing to run ──────┘
```
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache as once
from typing import TYPE_CHECKING, Any

from langgraph.graph import END, START, StateGraph

from langchain_replm._cache import check_cache
from langchain_replm._compiled import RLMGraph
from langchain_replm._context_chunks import as_context_store
from langchain_replm._distrust import distrustful
from langchain_replm._drivers import Node
from langchain_replm._models import resolve_by_depth, resolve_chat_model, resolve_named
from langchain_replm._nodes.candidates import candidates
from langchain_replm._nodes.parse import parse, wants_sandbox
from langchain_replm._nodes.root_generate import root_generate
from langchain_replm._nodes.sandbox_exec import sandbox_exec
from langchain_replm._nodes.truncate import truncate
from langchain_replm._prices import check_prices
from langchain_replm._root_tool import check_action_format
from langchain_replm._tools import check_tools
from langchain_replm._traces.iterations import put_into_iterations
from langchain_replm._tracing import NODE_TRACE
from langchain_replm._typed import AnswerFormat
from langchain_replm.config import RLMConfig
from langchain_replm.journal import as_journal
from langchain_replm.sandbox._modes import sandbox_for
from langchain_replm.sandbox._places import Places
from langchain_replm.scope import Settings
from langchain_replm.state import RLMOutput, RLMState, read_turn
from langchain_replm.trajectory_file import as_recorder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from langchain_core.caches import BaseCache
    from langchain_core.language_models import BaseChatModel
    from langchain_core.stores import ByteStore
    from langchain_core.tools import BaseTool
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.store.base import BaseStore

    from langchain_replm.context_store import ContextStore
    from langchain_replm.journal import Journal
    from langchain_replm.sandbox.base import Sandbox
    from langchain_replm.scope import Recorder

SUPERSTEPS_PER_ITERATION = 4
MANY_SUPERSTEPS = 10_000


def build_rlm_graph(  # noqa: PLR0913 - the parameters of a run
    root_model: BaseChatModel | str,
    *,
    sub_model: BaseChatModel | str | Sequence[BaseChatModel | str] | None = None,
    models: Mapping[str, BaseChatModel | str] | None = None,
    config: RLMConfig | None = None,
    tools: Sequence[BaseTool | Callable[..., Any]] = (),
    sandbox: Sandbox | None = None,
    context_store: ContextStore | BaseStore | ByteStore | str | Path | None = None,
    response_format: Any = None,
    journal: Journal | BaseStore | str | Path | None = None,
    cache: BaseCache | None = None,
    trajectory_file: str | Path | Recorder | None = None,
) -> RLMStateGraph:
    """The loop as a `StateGraph` that can still be changed; its `compile` gives an `RLMGraph`.

    Args:
        root_model: Writes the cells. A chat model, or a name for `init_chat_model`.
        sub_model: Answers `llm_query`, and writes the cells of children; the root model when it is
            None. A list has one model for each depth, the last one for all that are deeper.
        models: More models for `llm_query(prompt, model=name)`.
        config: Limits, sampling, sandbox mode, prompt variant.
        tools: LangChain tools or functions that cells may call by name.
        sandbox: Where cells run, instead of `config.sandbox_mode`.
        context_store: Where contexts are kept: a directory, a LangGraph `BaseStore`, a LangChain
            `ByteStore`. By default beside the checkpoints, when there is a checkpointer, and else
            in this process.
        response_format: What the answer must be: a pydantic model, a dataclass, a `TypedDict`, or
            a JSON Schema. The graph's output then has `structured_response`, as JSON data.
        journal: Where results of sub-calls are kept as they arrive: a `Journal`, a LangGraph
            `BaseStore` or the path of a SQLite file. By default they are kept beside the
            checkpoints, when there is a checkpointer.
        cache: Any LangChain cache: replies to sub-calls are kept in it, for all runs.
        trajectory_file: Where runs are written down as they go on: a path, or a `TrajectoryFile`.

    Raises:
        ConfigurationError: A model, a tool, a name or the response format is wrong.

    Example:
        ```python
        from langchain_replm import build_rlm_graph
        from langchain_replm.testing import ScriptedChatModel

        builder = build_rlm_graph(ScriptedChatModel(replies=["FINAL(a heron)"]))
        graph = builder.compile()
        result = graph.invoke({"query": "Which bird?", "context": "a heron"})
        assert result["answer"] == "a heron"
        ```
    """
    several = config or RLMConfig()
    config = several.model_copy(update={"n_candidates": 1})
    root = resolve_chat_model(root_model, role="root_model")
    sub = resolve_by_depth(sub_model, default=root)
    check_cache(cache)
    named = resolve_named(models or {})
    check_prices(config, (root, *sub, *named.values()))
    settings = Settings(
        root_model=root,
        sub_models=sub,
        cache=cache,
        models=named,
        config=config,
        tools=check_tools(tools),
        sandbox=sandbox_for(config.sandbox_mode) if sandbox is None else sandbox,
        context_store=None if context_store is None else as_context_store(context_store),
        journal=None if journal is None else as_journal(journal),
        make_child=once(lambda: builder.compile(checkpointer=False, name="child RLM")),
        response_format=None if response_format is None else AnswerFormat(response_format),
        recorder=as_recorder(trajectory_file),
    )
    builder = RLMStateGraph(settings)
    return builder if several.n_candidates == 1 else _with_candidates(builder, several)


def _with_candidates(builder: RLMStateGraph, config: RLMConfig) -> RLMStateGraph:
    """The graph that runs another one several times for each query."""
    # One for all calls: runs that begin at once in threads must count the same workers.
    candidate = builder.compile(checkpointer=False, name="candidate")
    return RLMStateGraph(replace(builder.settings, config=config, make_candidate=lambda: candidate))


def create_rlm_graph(
    root_model: BaseChatModel | str,
    *,
    checkpointer: bool | BaseCheckpointSaver[Any] | None = None,
    **parameters: Any,
) -> RLMGraph:
    """The loop, compiled: use it alone, in a chain, or as a node of another graph.

    Args:
        root_model: Writes the cells.
        checkpointer: A LangGraph checkpointer, for runs that can be resumed.
        **parameters: As for `build_rlm_graph`.

    Example:
        ```python
        from langchain_replm import create_rlm_graph
        from langchain_replm.testing import ScriptedChatModel

        graph = create_rlm_graph(ScriptedChatModel(replies=["FINAL(two herons)"]))
        assert (
            graph.invoke({"query": "How many?", "context": "heron heron"})["answer"] == "two herons"
        )
        ```
    """
    return build_rlm_graph(root_model, **parameters).compile(checkpointer=checkpointer)


class RLMStateGraph(StateGraph[RLMState, None, RLMState, RLMOutput]):
    """The four nodes and their edges."""

    def __init__(self, settings: Settings) -> None:
        check_action_format(settings.config, settings.root_model, settings.sub_models)
        super().__init__(RLMState, output_schema=RLMOutput)
        self.settings = settings
        if settings.make_candidate is not None:
            self._add("candidates", candidates, _always(END), (END,))
            self.add_edge(START, "candidates")
            return
        self._add("root_generate", root_generate, _always("parse"), ("parse",))
        self._add("parse", parse, _after_parse, ("sandbox_exec", "truncate"))
        leads_to = (
            ("truncate", "sandbox_exec") if "tools" in settings.config.approve else ("truncate",)
        )
        self._add("sandbox_exec", sandbox_exec, _after_exec, leads_to)
        self._add("truncate", truncate, _after_truncate, ("root_generate", END))
        self.add_edge(START, "root_generate")

    def _add(
        self,
        name: str,
        function: Any,
        leads_to: Callable[[dict[str, Any]], str],
        destinations: tuple[str, ...],
    ) -> None:
        node = Node(function, leads_to, name=name)
        self.add_node(name, node, destinations=destinations, trace_policy=NODE_TRACE)

    def compile(
        self,
        checkpointer: bool | BaseCheckpointSaver[Any] | None = None,  # noqa: FBT001 - LangGraph's
        **options: Any,
    ) -> RLMGraph:
        """As `StateGraph.compile`; the result is an `RLMGraph`."""
        name = options.pop("name", None) or "RLM"
        compiled = super().compile(distrustful(checkpointer), name=name, **options)
        put_into_iterations(compiled.nodes)
        config = self.settings.config
        most_calls = config.max_iterations + config.max_consecutive_errors  # the closing ones
        supersteps = SUPERSTEPS_PER_ITERATION * most_calls + 2
        if config.approve:  # a person may grant more, and each question is a superstep
            supersteps = max(supersteps, MANY_SUPERSTEPS)
        # Class attributes, because LangGraph copies a graph by calling its class with its __dict__.
        places = Places(config.max_workers, config.idle_seconds or 0.0)
        attributes = {"settings": self.settings, "supersteps": supersteps, "places": places}
        graph_class: type[RLMGraph] = type("RLMGraph", (RLMGraph,), attributes)
        return graph_class(**compiled.__dict__)


def _always(name: str) -> Callable[[dict[str, Any]], str]:
    return lambda _: name


def _after_parse(update: dict[str, Any]) -> str:
    return "sandbox_exec" if wants_sandbox(read_turn(update)) else "truncate"


def _after_exec(update: dict[str, Any]) -> str:
    return "sandbox_exec" if read_turn(update).asks else "truncate"


def _after_truncate(update: dict[str, Any]) -> str:
    return END if update.get("stop_reason") else "root_generate"
