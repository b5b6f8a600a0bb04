"""`RLM`: the loop as a LangChain Runnable, and under the names that replm uses."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ClassVar, Self

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import RunnableConfig, RunnableSerializable
from langgraph.types import Command
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from langchain_replm._compiled import RLMGraph
from langchain_replm._models import chat_model_from_client
from langchain_replm._rlm_tool import make_tool
from langchain_replm.config import RLMConfig
from langchain_replm.errors import AnswerValidationError, ConfigurationError, LimitExceededError
from langchain_replm.events import RLMEvent, StreamChunk
from langchain_replm.graph import create_rlm_graph
from langchain_replm.progress import hearing
from langchain_replm.sandbox.base import Sandbox
from langchain_replm.scope import OPTIONS_KEY, RunOptions
from langchain_replm.state import RLMInput, make_response
from langchain_replm.types import RLMResponse

if TYPE_CHECKING:
    from langchain_core.runnables.graph import Graph
    from langchain_core.tools import BaseTool
    from openai import AsyncOpenAI, OpenAI


_COMPILING = threading.Lock()
"""One graph for all threads of a batch: it counts their workers."""


class RLMParameters(BaseModel):
    """The parameters of a run: the one list that `RLM` and `RLMChatModel` share."""

    model_config: ClassVar[ConfigDict] = ConfigDict(arbitrary_types_allowed=True)

    root_model: BaseChatModel | str
    """Writes the cells: a chat model, or a name for `init_chat_model`."""
    sub_model: BaseChatModel | str | Sequence[BaseChatModel | str] | None = None
    """Answers `llm_query` and writes the cells of children; the root model when it is None. A list
    has one for each depth: the first for the run, the second for its children, and so on."""
    models: Mapping[str, BaseChatModel | str] = Field(default_factory=dict)
    """More models, for `llm_query(prompt, model=name)`."""
    config: RLMConfig = Field(default_factory=RLMConfig)
    """Limits, sampling, sandbox mode, prompt variant."""
    tools: Sequence[Any] = ()
    """LangChain tools, or functions, that cells may call by name."""
    response_format: Any = None
    """What the answer must be: a pydantic model, a dataclass, a `TypedDict`, or a JSON Schema."""
    sandbox: Sandbox | None = None
    """Where cells run, instead of `config.sandbox_mode`."""
    checkpointer: Any = None
    """A LangGraph checkpointer, for runs that can be resumed."""
    context_store: Any = None
    """Where contexts are kept; by default beside the checkpoints, or in this process."""
    journal: Any = None
    """Where results of sub-calls are kept as they arrive; by default beside the checkpoints."""
    cache: Any = None
    """Any LangChain `BaseCache`: replies to sub-calls are kept in it, for all runs."""
    trajectory_file: Any = None
    """Where runs are written down as they go on: a path, or a `TrajectoryFile`."""


class RLM(RLMParameters, RunnableSerializable[RLMInput, RLMResponse]):
    r"""A Recursive Language Model: answers a query about a context of any length.

    The context is a variable in a REPL. The root model writes Python cells that search it and call
    the sub-model on parts of it, until it submits an answer. Source: Zhang, Kraska, Khattab,
    "Recursive Language Models", arXiv 2512.24601.

    Input is `{"query": str, "context": str | list[str] | list[Document]}`, output an `RLMResponse`.

    Raises:
        ConfigurationError: A parameter or an input is wrong; before any model is called.
        LimitExceededError: A limit was met and `config.exit_behavior` is `"error"`.
        AnswerValidationError: As above, after an answer that does not fit `response_format`.
        SandboxError: The place where cells run failed.

    Example:
        ```python
        from langchain_replm import RLM
        from langchain_replm.testing import ScriptedChatModel

        root = ScriptedChatModel(replies=["```repl\nFINAL(len(context.split()))\n```"])
        rlm = RLM(root)
        response = rlm.invoke({"query": "How many words?", "context": "to be or not to be"})
        assert response.answer == "6"
        ```
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    _graph: RLMGraph | None = PrivateAttr(default=None)

    def __init__(self, root_model: BaseChatModel | str, **fields: Any) -> None:
        super().__init__(root_model=root_model, **fields)

    @classmethod
    def from_openai(
        cls,
        client: OpenAI | AsyncOpenAI,
        *,
        root_model: str,
        sub_model: str | None = None,
        **fields: Any,
    ) -> RLM:
        """Build an RLM from a raw OpenAI client and model names.

        Base URL, key, timeouts, retries and headers of the client are kept; it is used as it is,
        and a twin is made for the other colour (sync or async).

        Args:
            client: `openai.OpenAI` or `openai.AsyncOpenAI`, for OpenAI or a compatible provider.
            root_model: Name of the model that writes the cells.
            sub_model: Name of the model that answers `llm_query`; the root model when None.
            **fields: As for `RLM`.

        Raises:
            ConfigurationError: `client` is something else.

        Example:
            ```python
            from langchain_replm import RLM
            from openai import OpenAI

            client = OpenAI(api_key="x", base_url="http://127.0.0.1:8080/v1")
            rlm = RLM.from_openai(client, root_model="big", sub_model="small")
            assert rlm.root_model.model_name == "big"
            ```
        """
        root = chat_model_from_client(client, root_model)
        # A copy, not a second wrapping: both names share one client of each colour.
        sub = sub_model and root.model_copy(update={"model_name": sub_model})
        return cls(root, sub_model=sub, **fields)

    @property
    def graph(self) -> RLMGraph:
        """The compiled loop: use it as a node of your own graph."""
        with _COMPILING:
            if self._graph is None:
                names = RLMParameters.model_fields
                given: dict[str, Any] = {name: getattr(self, name) for name in names}
                self._graph = create_rlm_graph(**given)
            return self._graph

    @property
    def InputType(self) -> Any:  # noqa: N802 - LangChain's name
        """What `invoke` takes."""
        return RLMInput

    @property
    def OutputType(self) -> type[RLMResponse]:  # noqa: N802 - LangChain's name
        """What `invoke` gives."""
        return RLMResponse

    def get_input_jsonschema(self, config: RunnableConfig | None = None) -> dict[str, Any]:
        """What `invoke` takes, as JSON Schema."""
        return self.graph.get_input_jsonschema(config)

    def get_graph(self, config: RunnableConfig | None = None) -> Graph:
        """The loop as a drawable graph."""
        return self.graph.get_graph(config)

    def invoke(
        self,
        input: RLMInput,
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> RLMResponse:
        """Answer one query."""
        state: Any = self.graph.invoke(_checked(input), config, **kwargs)
        return self._finish(state)

    async def ainvoke(
        self,
        input: RLMInput,
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> RLMResponse:
        """`invoke`, awaitable."""
        state: Any = await self.graph.ainvoke(_checked(input), config, **kwargs)
        return self._finish(state)

    def as_tool(  # type: ignore[override]  # LangChain's own makes a tool of any schema
        self,
        *,
        name: str | None = None,
        description: str | None = None,
        context: Any = None,
    ) -> BaseTool:
        r"""A tool for agents that answers questions about a long text; its artifact: the response.

        Args:
            name: Name of the tool, `"ask_long_text"` when None.
            description: What the agent is told about it.
            context: The text or texts that it reads; when None, the agent passes the text.

        Example:
            ```python
            from langchain_replm import RLM
            from langchain_replm.testing import ScriptedChatModel

            rlm = RLM(ScriptedChatModel(replies=["```repl\nFINAL(context.count('heron'))\n```"]))
            ask = rlm.as_tool(name="ask_book", context="heron, stork, heron")
            assert ask.invoke({"query": "How many herons?"}) == "2"
            ```
        """
        return make_tool(self, context, name=name, description=description)

    def generate(
        self,
        query: str,
        context: Any,
        *,
        on_event: Callable[[RLMEvent], None] | None = None,
        progress: bool = False,
        config: RunnableConfig | None = None,
    ) -> RLMResponse:
        """Answer one query; `on_event` hears what happens meanwhile.

        Args:
            query: What to find out.
            context: `str`, `list[str]` or a list of LangChain `Document`s.
            on_event: Called with each `RLMEvent`, one at a time. If it fails, that is logged and
                the run goes on.
            progress: Show a live view on a terminal or in a notebook, and lines elsewhere, on
                standard error.
            config: A LangChain config: callbacks, tags, metadata, `thread_id`.
        """
        with hearing(on_event, progress=progress) as heard:
            options = RunOptions(on_event=heard)
            return self.invoke({"query": query, "context": context}, _with(config, options))

    async def agenerate(
        self,
        query: str,
        context: Any,
        *,
        on_event: Callable[[RLMEvent], None] | None = None,
        progress: bool = False,
        config: RunnableConfig | None = None,
    ) -> RLMResponse:
        """`generate`, awaitable; sub-calls run as tasks of the event loop."""
        with hearing(on_event, progress=progress) as heard:
            options = RunOptions(on_event=heard)
            given: RLMInput = {"query": query, "context": context}
            return await self.ainvoke(given, _with(config, options))

    def stream_generate(
        self,
        query: str,
        context: Any,
        *,
        on_event: Callable[[RLMEvent], None] | None = None,
        progress: bool = False,
        config: RunnableConfig | None = None,
    ) -> Iterator[StreamChunk]:
        """Answer one query piece by piece; the last piece holds the response."""
        given: RLMInput = {"query": query, "context": context}
        last = _LastState()
        with hearing(on_event, progress=progress) as heard:
            run_config = _with(config, RunOptions(on_event=heard, stream_tokens=True))
            stream = self.graph.stream(given, run_config, stream_mode=_STREAMED)
            try:
                for mode, data in stream:
                    yield from last.chunks(mode, data)
            except BaseException as error:  # noqa: BLE001 - it is raised again
                # An interrupt that arises here stops the run as one that arises in it.
                stream.throw(error)
        yield self._last_chunk(last)

    async def astream_generate(
        self,
        query: str,
        context: Any,
        *,
        on_event: Callable[[RLMEvent], None] | None = None,
        progress: bool = False,
        config: RunnableConfig | None = None,
    ) -> AsyncIterator[StreamChunk]:
        """`stream_generate`, for `async for`."""
        given: RLMInput = {"query": query, "context": context}
        last = _LastState()
        with hearing(on_event, progress=progress) as heard:
            run_config = _with(config, RunOptions(on_event=heard, stream_tokens=True))
            async for mode, data in self.graph.astream(given, run_config, stream_mode=_STREAMED):
                for chunk in last.chunks(mode, data):
                    yield chunk
        yield self._last_chunk(last)

    def close(self) -> None:
        r"""End the sessions that wait for a next query; calls that run are not touched.

        Only `config.idle_seconds` keeps sessions open. The RLM can be used again afterwards. It is
        a context manager too, for `with` and `async with`.

        Example:
            ```python
            from langchain_replm import RLM, RLMConfig
            from langchain_replm.testing import ScriptedChatModel
            from langgraph.checkpoint.memory import InMemorySaver

            root = ScriptedChatModel(replies=["```repl\nn = 7\nFINAL(n)\n```"])
            saver, config = InMemorySaver(), RLMConfig(idle_seconds=300)
            with RLM(root, config=config, checkpointer=saver) as rlm:
                rlm.generate("q", "text", config={"configurable": {"thread_id": "t"}})
            ```
        """
        if self._graph is not None:
            self._graph.close()

    async def aclose(self) -> None:
        """`close`, awaitable."""
        with ThreadPoolExecutor(1, thread_name_prefix="rlm-session-close") as pool:
            await asyncio.wrap_future(pool.submit(self.close))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _finish(self, state: dict[str, Any]) -> RLMResponse:
        response = make_response(state, self.graph.settings.response_format)
        if response.stop_reason != "answered" and self.config.exit_behavior == "error":
            rejected = state.get("rejected")
            if rejected is not None:
                raise AnswerValidationError(rejected["problem"], partial=response)
            used = {
                "max_sub_calls": response.sub_calls,
                "max_tokens": response.total_input_tokens + response.total_output_tokens,
                "max_cost": response.cost or 0.0,
                "deadline": response.elapsed_seconds,
            }
            raise LimitExceededError(
                response.stop_reason,
                used=used.get(response.stop_reason, response.iterations),
                partial=response,
            )
        return response

    def _last_chunk(self, last: _LastState) -> StreamChunk:
        response = self._finish(last.state)
        number = len(response.trajectory)
        return StreamChunk("final_answer", response.answer, number, {"response": response})


_STREAMED = ["custom", "values"]


class _LastState:
    """Turns what the graph streams into chunks, and remembers the state it ended with."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}

    def chunks(self, mode: str, data: dict[str, Any]) -> Iterator[StreamChunk]:
        if mode == "values":
            self.state = data
        elif data.get("depth") == 0:
            number, detail = data["iteration"], data["detail"]
            if data["type"] == "token":
                yield StreamChunk("token", detail["text"], number)
            elif data["type"] == "iteration_start":
                yield StreamChunk("iteration_start", data["preview"], number, detail)
            elif data["type"] == "code_executed":
                yield StreamChunk("code_executed", detail["observation"], number, detail)


def _with(config: RunnableConfig | None, options: RunOptions) -> RunnableConfig:
    given = config or {}
    return {**given, "configurable": {**given.get("configurable", {}), OPTIONS_KEY: options}}


def _checked(given: Any) -> Any:
    if given is None or isinstance(given, dict | Command):
        return given  # None and commands resume a run; the graph checks the rest
    kind = type(given).__name__
    msg = f'The input is a {kind}. Pass {{"query": ..., "context": ...}}, as a dict.'
    raise ConfigurationError(msg)
