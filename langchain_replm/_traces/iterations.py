"""The iteration level of a trace, between the graph's run and those of its nodes.

LangGraph starts a run for each node, below that of the graph, with the callbacks that it puts into
the node's config. `InIteration` stands around what LangGraph runs for a node: with the first node
of an iteration it starts a run for the iteration, and it hangs the node below that. When nobody
listens it hands on what it gets; that costs one look at the config.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import AsyncCallbackManager, BaseCallbackManager, CallbackManager
from langchain_core.runnables import Runnable
from pydantic import ValidationError

from langchain_replm._prices import name_of
from langchain_replm._requests import root_model
from langchain_replm._traces.calls import annotate, apump, is_own, pump
from langchain_replm._traces.prompts import shorten_prompts
from langchain_replm._tracing import (
    METADATA_PREFIX,
    iteration_metadata,
    iteration_number,
    iteration_outputs,
    others,
)
from langchain_replm.errors import RLMError
from langchain_replm.events import totals_of
from langchain_replm.scope import SCOPE_KEY
from langchain_replm.state import make_response
from langchain_replm.types import Iteration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.runnables import RunnableConfig
    from langgraph.pregel._read import PregelNode

    from langchain_replm._traces.calls import Calls
    from langchain_replm.scope import RunScope


NODES = ("root_generate", "parse", "sandbox_exec", "truncate")


def put_into_iterations(tasks: Mapping[str, PregelNode]) -> None:
    """Let the nodes of the loop appear in traces below their iteration."""
    for name in (name for name in NODES if name in tasks):
        task = tasks[name]
        if task.node is not None and not isinstance(task.node, InIteration):
            task.node = InIteration(task.node, name=name)  # a cached property


class InIteration(Runnable[Any, Any]):
    """A node as LangGraph runs it (the node and the writing of its update), in its iteration."""

    def __init__(self, node: Runnable[Any, Any], *, name: str) -> None:
        self.node = node
        self.name = name

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Run the node, waiting."""
        place = _place(config)
        if place is None:
            return self.node.invoke(input, config, **kwargs)
        pump(place.enter(input))
        try:
            output = self.node.invoke(input, place.config, **kwargs)
        except BaseException as error:
            pump(place.fail(error))
            raise
        pump(place.leave(input, output))
        return output

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Run the node, awaiting."""
        place = _place(config)
        if place is None:
            return await self.node.ainvoke(input, config, **kwargs)
        await apump(place.enter(input))
        try:
            output = await self.node.ainvoke(input, place.config, **kwargs)
        except BaseException as error:
            await apump(place.fail(error))
            raise
        await apump(place.leave(input, output))
        return output


def _place(config: RunnableConfig | None) -> _Place | None:
    """Where a node is in a trace; None when nobody listens."""
    manager = (config or {}).get("callbacks")
    if not isinstance(manager, BaseCallbackManager) or not manager.handlers or config is None:
        return None
    return _Place(manager, config)


class _Place:
    """One node in the trace of its run."""

    def __init__(self, manager: BaseCallbackManager, config: RunnableConfig) -> None:
        self._manager = manager
        self._scope: RunScope = config["configurable"][SCOPE_KEY]
        shorten_prompts(manager, self._scope.settings.config.trace_prompt_chars)
        # What is ours describes the run of the graph; LangGraph has given it to the node as well.
        for labels in (manager.tags, manager.inheritable_tags):
            labels[:] = [tag for tag in labels if not is_own(tag)]
        manager.metadata = others(manager.metadata)
        manager.inheritable_metadata = others(manager.inheritable_metadata)
        self.config: RunnableConfig = {
            **config,
            "metadata": others(config.get("metadata") or {}),
            "tags": [tag for tag in config.get("tags") or () if not is_own(tag)],
        }

    def enter(self, state: Any) -> Calls:
        """Start the run of the iteration with its first node; the node's will be below it."""
        open_run = self._scope.trace.get("iteration")
        if open_run is None:
            graph_run_id = self._manager.parent_run_id
            self._scope.trace["graph"] = graph_run_id
            annotate(self._manager.handlers, graph_run_id, self._describe(state))
            number = iteration_number(state)
            opener = self._opener(number)
            inputs = {"iteration": number}
            open_run = yield partial(
                opener.on_chain_start, None, inputs, name=f"iteration {number}"
            )
            self._scope.trace["iteration"] = open_run
        self._manager.parent_run_id = open_run.run_id

    def leave(self, state: Any, command: Any) -> Calls:
        """End the run of the iteration when its record is made."""
        update = getattr(command, "update", None)
        if not isinstance(update, dict) or "trajectory" not in update:
            return
        run = self._scope.trace.pop("iteration", None)
        if run is None:
            return
        step = Iteration.model_validate(update["trajectory"][-1])
        annotate(run.handlers, run.run_id, iteration_metadata(step))
        yield partial(run.on_chain_end, iteration_outputs(step))
        if "stop_reason" in update:
            self._conclude({**state, **update}, [*(state.get("trajectory") or ()), step])

    def fail(self, error: BaseException) -> Calls:
        """A node that fails, is cancelled or interrupted takes its iteration along."""
        run = self._scope.trace.pop("iteration", None)
        if run is not None:
            yield partial(run.on_chain_error, error)

    def _describe(self, state: Any) -> dict[str, Any]:
        """What is known of the run of the graph when it starts."""
        scope, settings = self._scope, self._scope.settings
        known: dict[str, Any] = {
            "role": "run" if scope.parent is None else "child",
            "sandbox_mode": settings.config.sandbox_mode,
            "root_model": name_of(root_model(scope)),
            "sub_model": name_of(scope.sub_model),
            "query_chars": len(state.get("query") or ""),
        }
        if scope.parent is None:
            known["depth"] = 0
        if scope.handle is not None:
            known["context_chars"] = scope.handle["chars"]
            known["context_sha256"] = scope.handle["sha256"]
        return _ours(known)

    def _conclude(self, state: dict[str, Any], trajectory: list[Any]) -> None:
        """Describe the run of the graph by what came of it."""
        with suppress(RLMError, ValidationError):  # a state that others have changed
            response = make_response({**state, "trajectory": trajectory})
            known = {"stop_reason": response.stop_reason, **totals_of(response)}
            known["elapsed_seconds"] = response.elapsed_seconds
            annotate(self._manager.handlers, self._scope.trace["graph"], _ours(known))

    def _opener(self, number: int) -> Any:
        manager = self._manager
        labels = {"role": "iteration", "iteration": number, "depth": self._scope.depth}
        kind = AsyncCallbackManager if manager.is_async else CallbackManager
        return kind(
            handlers=list(manager.handlers),
            inheritable_handlers=list(manager.inheritable_handlers),
            parent_run_id=manager.parent_run_id,
            tags=[*manager.inheritable_tags, "rlm:iteration"],
            metadata={**manager.inheritable_metadata, **_ours(labels)},
        )


def _ours(known: dict[str, Any]) -> dict[str, Any]:
    return {f"{METADATA_PREFIX}{name}": value for name, value in known.items()}
