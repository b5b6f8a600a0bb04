"""`RLMChatModel` where a chat model stands in LangChain's and LangGraph's documentation."""

from __future__ import annotations

import operator
from typing import Annotated, Any

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ToolStrategy
from langchain_core.chat_history import InMemoryChatMessageHistory
from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.output_parsers import (
    CommaSeparatedListOutputParser,
    JsonOutputParser,
    StrOutputParser,
)
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.rate_limiters import InMemoryRateLimiter
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda, RunnableParallel, RunnablePassthrough
from langchain_core.runnables.history import RunnableWithMessageHistory
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import Command, Send
from pydantic import BaseModel
from typing_extensions import TypedDict

from langchain_replm import RLM, ConfigurationError, RLMChatModel, RLMConfig
from langchain_replm.middleware import LongResultsMiddleware, kept_results
from langchain_replm.testing import ScriptedChatModel
from tests.scenarios import cell

LONG = "the heron stands. a stork flies. " * 5_000
pytestmark = pytest.mark.usefixtures("no_worker_left")


def model(*replies: Any, **fields: Any) -> RLMChatModel:
    return RLMChatModel(root_model=ScriptedChatModel(replies=replies, model_name="big"), **fields)


# -- chains in the shape of LangChain's documentation ----------------------------------------------------


def test_prompt_model_parser() -> None:
    prompt = ChatPromptTemplate.from_messages(
        [("system", "Answer in digits."), ("human", "How many herons?\n{text}")]
    )
    chain = prompt | model(cell("FINAL(context.count('the heron'))")) | StrOutputParser()
    assert chain.invoke({"text": LONG}) == "5000"
    assert "".join(chain.stream({"text": LONG})) == "5000"


class Shelf(BaseRetriever):
    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        return [Document(f"Document {n}: {LONG}", metadata={"source": n}) for n in range(3)]


def test_retrieval_chain() -> None:
    def join(documents: list[Document]) -> str:
        return "\n\n".join(document.page_content for document in documents)

    prompt = ChatPromptTemplate.from_template(
        "Answer from this context only:\n\n{context}\n\nQuestion: {question}"
    )
    chain = (
        {"context": Shelf() | join, "question": RunnablePassthrough()}
        | prompt
        | model(cell("FINAL(context.count('Document '))"))
        | StrOutputParser()
    )
    assert chain.invoke("How many documents?") == "3"


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainDeprecationWarning")
def test_chat_with_history() -> None:
    sessions: dict[str, InMemoryChatMessageHistory] = {}

    def history(session_id: str) -> InMemoryChatMessageHistory:
        return sessions.setdefault(session_id, InMemoryChatMessageHistory())

    prompt = ChatPromptTemplate.from_messages(
        [("system", "Be brief."), MessagesPlaceholder("history"), ("human", "{input}")]
    )
    root = model(cell("FINAL(context[:8])"), cell("FINAL(context.count('the heron'))"))
    chat = RunnableWithMessageHistory(
        prompt | root, history, input_messages_key="input", history_messages_key="history"
    )
    config: Any = {"configurable": {"session_id": "a"}}
    assert chat.invoke({"input": f"Remember this: {LONG}"}, config).text == "Remember"
    assert chat.invoke({"input": "How many herons?"}, config).text == "5000"
    assert [type(m).__name__ for m in sessions["a"].messages] == ["HumanMessage", "AIMessage"] * 2


def test_extraction() -> None:
    class Bird(BaseModel):
        name: str
        legs: int

    prompt = ChatPromptTemplate.from_messages([("system", "Extract."), ("human", "{text}")])
    chain = prompt | model(cell("FINAL({'name': 'heron', 'legs': 2})")).with_structured_output(Bird)
    assert chain.invoke({"text": LONG}) == Bird(name="heron", legs=2)


def test_parsers_of_other_shapes() -> None:
    assert (model(cell("FINAL('heron, stork')")) | CommaSeparatedListOutputParser()).invoke(
        LONG
    ) == ["heron", "stork"]
    parsed = list((model(cell("FINAL({'bird': 'heron'})")) | JsonOutputParser()).stream(LONG))
    assert parsed[-1] == {"bird": "heron"}


def test_map_reduce_over_parts() -> None:
    part = model(cell("FINAL(context.count('the heron'))")) | StrOutputParser()
    total = RunnableLambda(lambda counts: sum(int(count) for count in counts))
    assert (part.map() | total).invoke([LONG, LONG, LONG]) == 15_000


async def test_parallel_branches() -> None:
    branches = RunnableParallel(
        herons=model(cell("FINAL(context.count('the heron'))")) | StrOutputParser(),
        storks=model(cell("FINAL(context.count('stork'))")) | StrOutputParser(),
    )
    assert branches.invoke(LONG) == await branches.ainvoke(LONG)
    assert branches.invoke(LONG) == {"herons": "5000", "storks": "5000"}


def test_fallbacks_and_retries() -> None:
    broken = model(RuntimeError("no"), config=RLMConfig(max_consecutive_errors=1))
    good = model(cell("FINAL('good')"))
    assert broken.with_fallbacks([good]).invoke(LONG).text == "good"
    flaky = model(
        RuntimeError("no"), cell("FINAL('yes')"), config=RLMConfig(max_consecutive_errors=1)
    )
    assert flaky.with_retry(stop_after_attempt=2).invoke(LONG).text == "yes"


def test_a_rate_limiter_counts_answers() -> None:
    class Counter(InMemoryRateLimiter):
        def acquire(self, *, blocking: bool = True) -> bool:
            taken.append(blocking)
            return True

    taken: list[bool] = []
    limiter = Counter()
    model(cell("print(1)"), cell("FINAL(1)"), rate_limiter=limiter).invoke(LONG)
    assert taken == [True]


# -- agents --------------------------------------------------------------------------------------------


@tool
def weather(place: str) -> str:
    """The weather."""
    return f"sun over {place}"


def agent_script() -> list[str]:
    return [
        cell("place = 'Bonn'\nTOOL_CALL('weather', place=place)"),
        cell("FINAL(f'{place}: {tool_results[0]}')"),
    ]


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream"])
async def test_an_agent_loops_as_with_any_model(way: str) -> None:
    agent = create_agent(model(*agent_script()), tools=[weather], system_prompt="Be kind.")
    given: Any = {"messages": [HumanMessage(f"Weather?\n{LONG}")]}
    if way == "invoke":
        messages = agent.invoke(given)["messages"]
    elif way == "ainvoke":
        messages = (await agent.ainvoke(given))["messages"]
    else:
        messages = list(agent.stream(given, stream_mode="values"))[-1]["messages"]
    assert [type(message) for message in messages] == [
        HumanMessage,
        AIMessage,
        ToolMessage,
        AIMessage,
    ]
    assert messages[-1].text == "Bonn: sun over Bonn"


def test_an_agent_with_a_checkpointer_keeps_its_run_between_turns() -> None:
    root = model(*agent_script(), cell("FINAL('again')"))
    agent = create_agent(root, tools=[weather], checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    first = agent.invoke({"messages": [HumanMessage(f"Weather?\n{LONG}")]}, config)
    assert first["messages"][-1].text == "Bonn: sun over Bonn"
    second = agent.invoke({"messages": [HumanMessage("And now?")]}, config)
    assert second["messages"][-1].text == "again"
    assert len(second["messages"]) == 6


def test_a_person_approves_cells_of_a_model_in_an_agent() -> None:
    root = model(*agent_script(), config=RLMConfig(approve=("cells",)))
    agent = create_agent(root, tools=[weather], checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    state = agent.invoke({"messages": [HumanMessage(LONG)]}, config)
    for _ in agent_script():
        assert state["__interrupt__"][0].value["ask"] == "cells"
        state = agent.invoke(Command(resume={"type": "approve"}), config)
    assert state["messages"][-1].text == "Bonn: sun over Bonn"
    assert isinstance(root.root_model, ScriptedChatModel)
    assert len(root.root_model.calls) == 2  # a resumed run repeats nothing


def test_an_agent_with_a_typed_answer() -> None:
    class Report(BaseModel):
        place: str

    agent = create_agent(
        model(cell("TOOL_CALL('Report', place='Bonn')")),
        tools=[weather],
        response_format=ToolStrategy(Report),
    )
    assert agent.invoke({"messages": [HumanMessage(LONG)]})["structured_response"] == Report(
        place="Bonn"
    )
    plain = create_agent(model(cell("TOOL_CALL('Report', place='Bonn')")), response_format=Report)
    assert plain.invoke({"messages": [HumanMessage(LONG)]})["structured_response"].place == "Bonn"


def test_a_graph_with_a_tool_node() -> None:
    bound = model(*agent_script()).bind_tools([weather])

    def chat(state: MessagesState) -> dict[str, Any]:
        return {"messages": [bound.invoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("chat", chat)
    builder.add_node("tools", ToolNode([weather]))
    builder.add_edge(START, "chat")
    builder.add_conditional_edges("chat", tools_condition)
    builder.add_edge("tools", "chat")
    result = builder.compile().invoke({"messages": [HumanMessage(LONG)]})
    assert result["messages"][-1].text == "Bonn: sun over Bonn"


# -- nodes, subgraphs, fan-out, stream modes -------------------------------------------------------------


def chatbot(root: RLMChatModel) -> Any:
    async def chat(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await root.ainvoke(state["messages"])]}

    def chat_sync(state: MessagesState) -> dict[str, Any]:
        return {"messages": [root.invoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("chat", RunnableLambda(chat_sync, chat))
    builder.add_edge(START, "chat")
    return builder.compile()


TEXT = [cell("print(1)"), "FINAL(The heron\nstands\nstill.)"]


async def test_a_parent_streams_the_answer_once_and_no_inner_token() -> None:
    given: Any = {"messages": [HumanMessage(LONG)]}
    chunks = list(chatbot(model(*TEXT)).stream(given, stream_mode="messages"))
    assert "".join(chunk.text for chunk, _ in chunks) == "The heron\nstands\nstill."
    assert len({chunk.id for chunk, _ in chunks}) == 1
    assert any("print(1)" in str(chunk.additional_kwargs) for chunk, _ in chunks)
    texts = []
    async for chunk, _ in chatbot(model(*TEXT)).astream(given, stream_mode="messages"):
        texts.append(chunk.text)
    assert "".join(texts) == "The heron\nstands\nstill."
    direct = list(chatbot(model("one\ntwo")).stream({"messages": ["hi"]}, stream_mode="messages"))
    assert [chunk.text for chunk, _ in direct if chunk.text] == ["one\n", "two"]


def test_inner_tokens_come_when_they_are_asked_for() -> None:
    given: Any = {"messages": [HumanMessage(LONG)]}

    def inner(kept: Any) -> list[str]:
        graph = chatbot(model(*TEXT, inner_callbacks=kept))
        stream = graph.stream(given, stream_mode="messages", subgraphs=True)
        return [chunk.text for namespace, (chunk, _) in stream if namespace]

    assert inner("inherit") == []
    assert any("print(1)" in text for text in inner("all"))


@pytest.mark.parametrize(
    "mode", ["values", "updates", "custom", "messages", "debug", "tasks", "checkpoints"]
)
@pytest.mark.parametrize("subgraphs", [False, True])
def test_every_stream_mode(mode: Any, subgraphs: bool) -> None:
    graph = chatbot(model(*TEXT))
    given: Any = {"messages": [HumanMessage(LONG)]}
    items = list(graph.stream(given, stream_mode=mode, subgraphs=subgraphs))
    if mode != "checkpoints" and (mode != "custom" or subgraphs):
        assert items
    if mode == "custom" and not subgraphs:
        assert items == []  # events of the run inside belong to its own namespace


async def test_event_stream_of_a_graph_shows_one_model() -> None:
    given: Any = {"messages": [HumanMessage(LONG)]}
    started = [
        event["name"]
        async for event in chatbot(model(*TEXT)).astream_events(given, version="v2")
        if event["event"] == "on_chat_model_start"
    ]
    assert started == ["RLMChatModel"]


def test_as_a_subgraph_with_a_shared_and_with_its_own_schema() -> None:
    shared = StateGraph(MessagesState)
    shared.add_node("bot", chatbot(model(cell("FINAL('shared')"))))
    shared.add_edge(START, "bot")
    given: Any = {"messages": [HumanMessage(LONG)]}
    assert shared.compile().invoke(given)["messages"][-1].text == "shared"

    class Own(TypedDict, total=False):
        text: str
        answer: str

    inner = chatbot(model(cell("FINAL('own')")))

    def ask(state: Own) -> Own:
        result = inner.invoke({"messages": [HumanMessage(state["text"])]})
        return {"answer": result["messages"][-1].text}

    own = StateGraph(Own)
    own.add_node("ask", ask)
    own.add_edge(START, "ask")
    assert (
        own.compile(checkpointer=InMemorySaver()).invoke(
            {"text": LONG}, {"configurable": {"thread_id": "1"}}
        )["answer"]
        == "own"
    )


class Fan(TypedDict, total=False):
    texts: list[str]
    text: str
    answers: Annotated[list[str], operator.add]


async def test_send_fans_out_into_runs_that_share_nothing() -> None:
    root = model(cell("FINAL(context.split()[0])"))

    async def one(state: Fan) -> Fan:
        return {"answers": [(await root.ainvoke(state["text"])).text]}

    builder = StateGraph(Fan)
    builder.add_node("one", one)
    builder.add_conditional_edges(START, lambda s: [Send("one", {"text": t}) for t in s["texts"]])
    builder.add_edge("one", END)
    graph = builder.compile(checkpointer=InMemorySaver())
    texts = [f"text{number} {LONG}" for number in range(8)]
    result = await graph.ainvoke({"texts": texts}, {"configurable": {"thread_id": "1"}})
    assert sorted(result["answers"]) == [f"text{number}" for number in range(8)]


def test_two_calls_in_one_node_under_a_checkpointer() -> None:
    root = model(cell("FINAL(context.split()[0])"))

    def both(state: Fan) -> Fan:
        return {"answers": [root.invoke(text).text for text in state["texts"]]}

    builder = StateGraph(Fan)
    builder.add_node("both", both)
    builder.add_edge(START, "both")
    graph = builder.compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    result = graph.invoke({"texts": [f"a {LONG}", f"b {LONG}"]}, config)
    assert result["answers"] == ["a", "b"]


# -- as a tool, and results of tools -------------------------------------------------------------------


def test_an_rlm_as_a_tool() -> None:
    rlm = RLM(ScriptedChatModel(replies=[cell("FINAL(context.count('the heron'))")]))
    asking = rlm.as_tool()
    assert set(asking.args) == {"query", "context"}
    assert asking.invoke({"query": "How many?", "context": LONG}) == "5000"
    bound = rlm.as_tool(name="ask_book", description="About the book.", context=LONG)
    assert (bound.name, bound.description, set(bound.args)) == (
        "ask_book",
        "About the book.",
        {"query"},
    )
    call = {"name": "ask_book", "args": {"query": "How many?"}, "id": "1", "type": "tool_call"}
    message = bound.invoke(call)
    assert message.content == "5000"
    assert message.artifact.stop_reason == "answered"


async def test_an_agent_asks_an_rlm() -> None:
    rlm = RLM(ScriptedChatModel(replies=[cell("FINAL(context.count('the heron'))")]))
    book = rlm.as_tool(name="ask_book", context=LONG)
    agent = create_agent(agent_model("ask_book", {"query": "How many?"}), tools=[book])
    result = await agent.ainvoke({"messages": [HumanMessage("How many?")]})
    assert result["messages"][2].content == "5000"


def test_a_run_that_ended_early_says_so_to_the_agent() -> None:
    rlm = RLM(ScriptedChatModel(replies=[cell("print(1)")]), config=RLMConfig(max_iterations=1))
    told = rlm.as_tool(context=LONG).invoke({"query": "How many?"})
    assert "ended early: max_iterations" in told


class AgentModel(ScriptedChatModel):
    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self


def agent_model(name: str, args: dict[str, Any]) -> BaseChatModel:
    call = {"name": name, "args": args, "id": name, "type": "tool_call"}
    return AgentModel(replies=[AIMessage("", tool_calls=[call]), "done"])


@tool
def fetch() -> str:
    """A long text."""
    return LONG


@pytest.mark.parametrize("is_async", [False, True])
async def test_long_results_stay_out_of_the_conversation(is_async: bool) -> None:
    rlm = RLM(
        ScriptedChatModel(
            replies=[
                cell("FINAL(f\"{context[0].count('the heron')} {context_metadata[0]['tool']}\")")
            ]
        )
    )

    def call(name: str, args: dict[str, Any]) -> AIMessage:
        return AIMessage(
            "", tool_calls=[{"name": name, "args": args, "id": name, "type": "tool_call"}]
        )

    root = AgentModel(
        replies=[call("fetch", {}), call("ask_results", {"question": "How many?"}), "done"]
    )
    agent = create_agent(root, tools=[fetch], middleware=[LongResultsMiddleware(rlm)])
    given: Any = {"messages": [HumanMessage("Any herons?")]}
    result = await agent.ainvoke(given) if is_async else agent.invoke(given)
    note, told = result["messages"][2], result["messages"][4]
    assert len(note.content) < 2_000
    assert f"{len(LONG):,} characters" in note.content
    assert told.content == "5000 fetch"
    assert [item.page_content for item in kept_results(result["messages"])] == [LONG]
    assert max(len(message.text) for sent in root.calls for message in sent) < 2_000


def test_short_results_stay_and_wrong_sizes_are_refused() -> None:
    rlm = RLM(ScriptedChatModel(replies=["x"]))
    middleware = LongResultsMiddleware(rlm)
    short = ToolMessage("short", tool_call_id="1", name="x")
    assert middleware.wrap_tool_call(None, lambda _: short) is short  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="must be less than"):
        LongResultsMiddleware(rlm, above_chars=10, shown_chars=10)


def test_a_command_of_a_tool_keeps_its_long_messages_too() -> None:
    middleware = LongResultsMiddleware(RLM(ScriptedChatModel(replies=["x"])))
    short = ToolMessage("short", tool_call_id="1", name="x")
    long = ToolMessage("long " * 5_000, tool_call_id="2", name="x")
    update = {"messages": [short, long, HumanMessage("h")], "more": 1}
    kept = middleware.wrap_tool_call(None, lambda _: Command(update=update))  # type: ignore[arg-type]
    assert kept.update["more"] == 1  # type: ignore[union-attr, index]
    first, second, third = kept.update["messages"]  # type: ignore[union-attr, index]
    assert (first, third.text) == (short, "h")
    assert len(second.text) < 2_000
    assert [item.page_content for item in kept_results([first, second])] == [long.text]
    other = Command(goto="end")  # type: ignore[var-annotated]
    assert middleware.wrap_tool_call(None, lambda _: other) is other  # type: ignore[arg-type]
