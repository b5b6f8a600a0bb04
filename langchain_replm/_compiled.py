"""The compiled loop: takes `{"query", "context"}`, owns what a run opens, and gives it back.

The context never reaches LangGraph: a handle takes its place before the input is looked at.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import uuid4

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph.state import CompiledStateGraph
from pydantic import TypeAdapter

from langchain_replm._cache import SubCallCache
from langchain_replm._context_chunks import checkpoint_contexts
from langchain_replm._effects import SESSION_ROOM_CHARS, Datum
from langchain_replm._entry import check_query, explained, fresh_state, going_on, recounted
from langchain_replm._lanes import Lanes
from langchain_replm._nested import configurable_of, told_apart
from langchain_replm._partial import pulled, tell_partial
from langchain_replm._recorded import RunJournal
from langchain_replm._requests import setup_maker
from langchain_replm._traces.telemetry import with_telemetry
from langchain_replm.budget import Budget
from langchain_replm.context_store import MemoryContextStore, check_context, make_handle
from langchain_replm.errors import ConfigurationError
from langchain_replm.journal import CheckpointJournal
from langchain_replm.sandbox._lifecycle import SessionKeeper
from langchain_replm.scope import OPTIONS_KEY, SCOPE_KEY, RunOptions, RunScope, Settings
from langchain_replm.state import RLMInput, RLMOutput, RLMState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from langchain_core.runnables import RunnableConfig

    from langchain_replm.context_store import ContextStore
    from langchain_replm.sandbox._live import IdleSession
    from langchain_replm.sandbox._places import Places


class RLMGraph(CompiledStateGraph[RLMState, None, RLMState, RLMOutput]):
    """The compiled loop. Takes `{"query", "context"}` wherever a graph is taken.

    It keeps the context out of the state (a handle takes its place before LangGraph sees the
    input), owns what a run opens, and keeps a floor under the recursion limit: inside a chain, a
    batch or a parent graph the inherited limit is 25, which ends a run in its seventh iteration.
    """

    settings: ClassVar[Settings]
    supersteps: ClassVar[int]
    places: ClassVar[Places]
    """For the workers of all calls, and the sessions that wait for the next one."""

    def stream(self, input: Any, config: RunnableConfig | None = None, **options: Any) -> Any:
        """As `CompiledStateGraph.stream`; every way to run it by waiting comes through here."""
        with self._run(input, config) as (scope, state, run_config), explained(input):
            inner: Any = super().stream(state, run_config, **options)
            if scope.parent is None and self._runs_in_threads(**options):
                inner = pulled(inner, scope.lanes)
            # Not `yield from`: whoever closes this stream must stop the run first.
            try:
                for item in inner:  # noqa: UP028 - as above
                    yield item
            except BaseException:
                if scope.parent is None:
                    scope.lanes.close()
                inner.close()
                raise

    async def astream(
        self, input: Any, config: RunnableConfig | None = None, **options: Any
    ) -> Any:
        """As `CompiledStateGraph.astream`. Every way to run it by awaiting comes through here."""
        async with self._arun(input, config) as (state, run_config):
            inner: Any = super().astream(state, run_config, **options)
            with explained(input):
                try:
                    async for item in inner:
                        yield item
                finally:
                    await inner.aclose()

    def update_state(
        self,
        config: RunnableConfig,
        values: Any,
        as_node: str | None = None,
        task_id: str | None = None,
    ) -> RunnableConfig:
        """As `CompiledStateGraph.update_state`; the run can go on from the edited state.

        An iteration in `values["trajectory"]` replaces the one of its number.
        """
        values = recounted(values)
        if as_node is None and isinstance(values, dict):
            values = going_on(values, self.get_state(config))
        return super().update_state(config, values, as_node, task_id)

    async def aupdate_state(
        self,
        config: RunnableConfig,
        values: Any,
        as_node: str | None = None,
        task_id: str | None = None,
    ) -> RunnableConfig:
        """`update_state`, awaitable."""
        values = recounted(values)
        if as_node is None and isinstance(values, dict):
            values = going_on(values, await self.aget_state(config))
        return await super().aupdate_state(config, values, as_node, task_id)

    def close(self) -> None:
        """End the sessions that wait for the next question; see `RLMConfig.idle_seconds`."""
        self.places.close()

    def get_input_jsonschema(self, config: RunnableConfig | None = None) -> dict[str, Any]:  # noqa: ARG002 - LangGraph's signature
        """What a caller passes: query and context, not the handle that the state holds."""
        return TypeAdapter(RLMInput).json_schema()

    def _runs_in_threads(
        self, stream_mode: Any = None, *, subgraphs: bool = False, **_: Any
    ) -> bool:
        """Whether LangGraph runs the nodes of such a stream in threads of its own."""
        modes = stream_mode or self.stream_mode
        listed = {modes} if isinstance(modes, str) else set(modes)
        return subgraphs or self.stream_eager or bool(listed & {"custom", "messages"})

    @contextmanager
    def _run(self, given: Any, config: RunnableConfig | None) -> Iterator[Any]:
        scope = self._open_scope(config)
        try:
            state = self._enter(given, scope)
            yield scope, state, self._run_config(config, scope)
            if (left := self._left_session(scope)) is not None:
                self.places.keep(*left)
        except BaseException as error:
            tell_partial(scope, error)
            raise
        finally:
            scope.keeper.close()
            self._leave(scope)

    @asynccontextmanager
    async def _arun(self, given: Any, config: RunnableConfig | None) -> AsyncIterator[Any]:
        scope = self._open_scope(config)
        try:
            # Hashing a large context takes a while; it must not hold up the event loop.
            entering = scope.keeper.submit(self._enter, given, scope)
            state = await asyncio.wrap_future(entering)
            yield state, self._run_config(config, scope)
            if (left := self._left_session(scope)) is not None:
                keeping = asyncio.wrap_future(scope.keeper.submit(self.places.keep, *left))
                await asyncio.shield(keeping)  # nobody else ends it, if this call is cancelled now
        except BaseException as error:
            tell_partial(scope, error)
            raise
        finally:
            await asyncio.wrap_future(scope.keeper.begin_close())
            self._leave(scope)

    def _open_scope(self, config: RunnableConfig | None) -> RunScope:
        options = (config or {}).get("configurable", {}).get(OPTIONS_KEY) or RunOptions()
        parent = options.parent
        configurable = configurable_of(config)
        saver, thread_id = self._saver(configurable)
        limits = self.settings.config
        budget = parent.budget if parent else Budget(limits)
        lanes = parent.lanes if parent else Lanes(limits.max_concurrency)
        # Candidates wait for places, too: the run that waits for them has none.
        places = self.places if parent is None or options.is_candidate else None
        keeper = SessionKeeper(self.settings.sandbox, places, budget.out_of_time)
        if parent is None:
            lanes.on_stop(budget.stop)
        scope = RunScope(
            settings=self.settings,
            options=options,
            configurable=configurable,
            budget=budget,
            cache=parent.cache if parent else SubCallCache(),
            lanes=lanes,
            keeper=keeper,
            depth=parent.depth + 1 if parent else 0,
            level=parent.level + (not options.is_candidate) if parent else 0,
            parent=parent,
            journal=parent.journal if parent else self._journal_of(saver, thread_id),
            contexts=self._contexts_of(saver, thread_id),
            forget=lanes.on_stop(keeper.kill),
        )
        if parent is not None and options.request is not None:
            parent.children[options.request] = scope
        return scope

    def _saver(
        self, configurable: Mapping[str, Any]
    ) -> tuple[BaseCheckpointSaver[Any] | None, str]:
        """The checkpointer of a call, its own or that of a parent graph, and the thread."""
        saver = configurable.get("__pregel_checkpointer") or self.checkpointer
        if self.checkpointer is False or not isinstance(saver, BaseCheckpointSaver):
            return None, ""
        return saver, str(configurable.get("thread_id"))

    def _journal_of(
        self, saver: BaseCheckpointSaver[Any] | None, thread_id: str
    ) -> RunJournal | None:
        """The journal of a run that can be resumed; another one needs none."""
        if saver is None:
            return None
        return RunJournal(self.settings.journal or CheckpointJournal(saver, thread_id))

    def _contexts_of(self, saver: BaseCheckpointSaver[Any] | None, thread_id: str) -> ContextStore:
        """Where contexts are kept; those of runs that cannot be resumed stay in this process."""
        given = self.settings.context_store
        if isinstance(given, MemoryContextStore) or saver is None:
            return given if isinstance(given, MemoryContextStore) else MemoryContextStore()
        return given or checkpoint_contexts(saver, thread_id)

    def _thread_of(self, scope: RunScope) -> str | None:
        """Under what the session of a call is kept when it is over; None where it ends with it.

        A node of another graph has its state under the id of its task, which never comes again.
        """
        thread_id = scope.configurable.get("thread_id")
        is_node = scope.configurable.get("checkpoint_ns")
        plain = not is_node and not scope.options.in_conversation
        keeps = self.places.idle_seconds > 0 and scope.parent is None and plain
        return str(thread_id) if keeps and thread_id is not None and scope.journal else None

    def _take_session(self, scope: RunScope) -> None:
        thread_id = self._thread_of(scope)
        idle = None if thread_id is None else self.places.take_up(thread_id)
        if idle is not None:
            scope.keeper.take_up(idle)

    def _left_session(self, scope: RunScope) -> tuple[str, IdleSession] | None:
        """What the call leaves to the next one on its thread, and to which."""
        thread_id = self._thread_of(scope)
        idle = None if thread_id is None else scope.keeper.leave()
        return None if thread_id is None or idle is None else (thread_id, idle)

    def _enter(self, given: Any, scope: RunScope) -> Any:
        """Check the input, put the context away, start the worker, and return the graph's input."""
        if self.settings.config.approve and scope.journal is None and scope.parent is None:
            msg = "approve needs a checkpointer: without one a run cannot wait for a person."
            raise ConfigurationError(msg)
        if not isinstance(given, dict):
            if scope.journal is None:
                msg = "There is nothing to go on with: the run has no checkpointer."
                raise ConfigurationError(msg)
            self._take_session(scope)
            return given  # the state has everything
        query = check_query(given.get("query"))
        if "context" not in given:
            msg = 'The input has no "context". Pass {"query": ..., "context": ...}.'
            raise ConfigurationError(msg)
        context = check_context(given["context"])
        handle = make_handle(context, preview_chars=self.settings.config.context_preview_chars)
        if "uri" not in handle:
            scope.contexts.put(handle, context)
        scope.handle, scope.given = handle, context
        self._take_session(scope)
        if not scope.is_direct(handle) and self.settings.make_candidate is None:
            history = None if scope.journal is None or scope.depth else ()
            room = handle["chars"] if history is None else max(handle["chars"], SESSION_ROOM_CHARS)
            scope.keeper.opening(setup_maker(scope, Datum(handle, history, room)))
        claims = self.settings.sandbox.guarantees()
        missing = [name for name, means in claims.items() if means is None]
        scope.run_id = run_id = (scope.parent and scope.parent.run_id) or str(uuid4())
        if scope.journal is not None and scope.parent is None:
            scope.journal.begin(run_id)
        fresh = fresh_state(query, handle)
        saver, _ = self._saver(scope.configurable)
        if saver is not None and scope.parent is None:
            apart = told_apart(scope.configurable, saver, fresh["input_key"])
            scope.configurable = apart or scope.configurable
        if scope.options.past:
            fresh["trajectory"] = [None, *scope.options.past]
        return fresh | {"run_id": run_id, "sandbox_missing": missing}

    def _leave(self, scope: RunScope) -> None:
        scope.forget()
        if scope.parent is None:
            scope.lanes.close()
        if scope.handle is not None and self._saver(scope.configurable)[0] is None:
            scope.contexts.release(scope.handle)

    def _run_config(self, config: RunnableConfig | None, scope: RunScope) -> RunnableConfig:
        given = with_telemetry(config)
        own = given.get("configurable", {})
        if scope.parent is None and scope.configurable.get("checkpoint_ns"):
            own = dict(scope.configurable)  # it may have been told apart
        configurable = {**own, SCOPE_KEY: scope}
        limit = max(given.get("recursion_limit") or 0, self.supersteps)
        return {**given, "configurable": configurable, "recursion_limit": limit}
