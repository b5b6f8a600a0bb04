"""The loop as a LangGraph graph: checkpoints, recursion limit, subgraph, schemas, drawing."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph

from langchain_replm import RLM, RLMConfig, build_rlm_graph, create_rlm_graph
from langchain_replm.context_store import MemoryContextStore
from langchain_replm.errors import ContextNotFoundError
from langchain_replm.testing import ScriptedChatModel
from tests.scenarios import Parent, cell

pytestmark = pytest.mark.usefixtures("nothing_left_behind")

MARK = "a phrase that stands in the context only"
LONG = "filler text. " * 5_000 + MARK + "filler text. " * 5_000


def scripted(*replies: Any) -> ScriptedChatModel:
    return ScriptedChatModel(replies=list(replies))


def test_the_context_is_in_no_checkpoint(tmp_path: Any) -> None:
    connection = sqlite3.connect(tmp_path / "runs.db", check_same_thread=False)
    saver = SqliteSaver(connection)
    root = scripted(cell("n = context.find('phrase')"), cell("FINAL(n)"))
    graph = create_rlm_graph(root, checkpointer=saver)
    config: Any = {"configurable": {"thread_id": "1"}}
    result = graph.invoke({"query": "q", "context": LONG}, config)
    assert result["answer"] == str(LONG.find("phrase"))
    stored = b"".join(
        bytes(value)
        for table in ("checkpoints", "writes")
        for row in connection.execute(f"select * from {table}")  # noqa: S608 - our own table names
        for value in row
        if isinstance(value, bytes)
    )
    connection.close()
    assert len(list(saver.config_specs)) >= 0
    assert b"context_handle" in stored
    assert MARK.encode() not in stored
    assert len(stored) < len(LONG)


def test_no_state_key_holds_the_context() -> None:
    graph = create_rlm_graph(scripted(cell("x = 1"), cell("FINAL(1)")))
    for state in graph.stream({"query": "q", "context": LONG}, stream_mode="values"):
        assert MARK not in str(state)
    for update in graph.stream({"query": "q", "context": LONG}, stream_mode="debug"):
        assert MARK not in str(update)


def test_thirty_iterations_survive_an_inherited_recursion_limit_of_25() -> None:
    def rlm() -> RLM:
        replies = [cell(f"n = {n}") for n in range(30)] + [cell("FINAL(n)")]
        return RLM(scripted(*replies), config=RLMConfig(max_iterations=40))

    given = {"query": "q", "context": "text"}
    chain = RunnableLambda(lambda item: item) | rlm().graph
    assert chain.invoke(given)["answer"] == "29"
    assert rlm().graph.batch([given])[0]["answer"] == "29"
    builder = StateGraph(Parent)
    builder.add_node("rlm", rlm().graph)
    builder.add_edge(START, "rlm")
    builder.add_edge("rlm", END)
    assert builder.compile().invoke(given, {"recursion_limit": 25})["answer"] == "29"


def test_a_builder_can_be_changed_before_it_is_compiled() -> None:
    builder = build_rlm_graph(scripted(cell("FINAL(1)")))
    assert isinstance(builder, StateGraph)
    graph = builder.compile(checkpointer=InMemorySaver(), interrupt_before=["sandbox_exec"])
    config: Any = {"configurable": {"thread_id": "1"}}
    graph.invoke({"query": "q", "context": "text"}, config)
    assert graph.get_state(config).next == ("sandbox_exec",)
    assert graph.invoke(None, config)["answer"] == "1"


def test_a_resume_in_another_graph_needs_the_context() -> None:
    saver, store = InMemorySaver(), MemoryContextStore()
    config: Any = {"configurable": {"thread_id": "1"}}
    first = build_rlm_graph(scripted(cell("a = len(context)"), cell("b = 1")), context_store=store)
    one = first.compile(checkpointer=saver, interrupt_after=["truncate"])
    one.invoke({"query": "q", "context": "text"}, config)

    second = build_rlm_graph(scripted(cell("FINAL(a)")), context_store=store)
    assert second.compile(checkpointer=saver).invoke(None, config)["answer"] == "4"

    one.invoke({"query": "q", "context": "text"}, config)
    forgetful = build_rlm_graph(scripted(cell("FINAL(a)")), context_store=MemoryContextStore())
    with pytest.raises(ContextNotFoundError, match="Pass the context again"):
        forgetful.compile(checkpointer=saver).invoke(None, config)


def test_by_default_the_context_is_found_beside_the_checkpoints() -> None:
    saver = InMemorySaver()
    config: Any = {"configurable": {"thread_id": "1"}}
    first = build_rlm_graph(scripted(cell("a = len(context)"), cell("b = 1")))
    one = first.compile(checkpointer=saver, interrupt_after=["truncate"])
    one.invoke({"query": "q", "context": LONG}, config)
    second = create_rlm_graph(scripted(cell("FINAL(a)")), checkpointer=saver)
    assert second.invoke(None, config)["answer"] == str(len(LONG))
    saver.delete_thread("1")
    assert not saver.storage["1"]


def test_a_resumed_run_is_charged_with_what_it_had_spent() -> None:
    root = scripted(cell("r = llm_query_batch(list('abc'))"), cell("s = llm_query_batch(list('abc'))"),
                    cell("FINAL(sum(isinstance(x, str) for x in r + s))"))  # fmt: skip
    builder = build_rlm_graph(root, sub_model=scripted("ok"), config=RLMConfig(max_sub_calls=4))
    graph = builder.compile(checkpointer=InMemorySaver(), interrupt_after=["truncate"])
    config: Any = {"configurable": {"thread_id": "1"}}
    graph.invoke({"query": "q", "context": "text"}, config)
    graph.invoke(None, config)
    result = graph.invoke(None, config)
    assert (result["answer"], result["stop_reason"]) == ("4", "max_sub_calls")


def test_a_second_query_on_a_thread_starts_anew() -> None:
    root = scripted(cell("FINAL('first')"), cell("FINAL('second')"))
    graph = create_rlm_graph(root, checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    assert graph.invoke({"query": "q", "context": "a"}, config)["answer"] == "first"
    result = graph.invoke({"query": "q", "context": "b"}, config)
    assert result["answer"] == "second"
    assert len(result["trajectory"]) == 1


def test_without_a_checkpointer_no_context_stays_in_memory() -> None:
    store = MemoryContextStore()
    rlm = RLM(scripted(cell("FINAL(1)")), context_store=store)
    rlm.generate("q", LONG)
    assert len(store) == 0
    with pytest.raises(RuntimeError):
        RLM(scripted(RuntimeError("no")), context_store=store).generate("q", LONG)
    assert len(store) == 0


def test_schemas_say_what_goes_in_and_comes_out() -> None:
    rlm = RLM(scripted())
    given = rlm.get_input_jsonschema()
    assert set(given["properties"]) == {"query", "context"}
    assert set(rlm.graph.get_input_jsonschema()["properties"]) == {"query", "context"}
    assert {"answer", "stop_reason", "trajectory"} <= set(rlm.get_output_jsonschema()["properties"])


def test_the_graph_is_drawn_with_its_four_nodes() -> None:
    drawn = RLM(scripted()).get_graph()
    assert set(drawn.nodes) == {
        "__start__",
        "root_generate",
        "parse",
        "sandbox_exec",
        "truncate",
        "__end__",
    }
    edges = {(edge.source, edge.target) for edge in drawn.edges}
    assert edges == {
        ("__start__", "root_generate"),
        ("root_generate", "parse"),
        ("parse", "sandbox_exec"),
        ("parse", "truncate"),
        ("sandbox_exec", "truncate"),
        ("truncate", "root_generate"),
        ("truncate", "__end__"),
    }
    assert "root_generate" in drawn.draw_mermaid()


def test_composition() -> None:
    prompt = ChatPromptTemplate.from_template("What about {topic}?")
    make = RunnableLambda(
        lambda given: {"query": prompt.invoke(given).to_string(), "context": "heron"}
    )
    rlm = RLM(scripted(cell("FINAL(context.upper())")))
    chain = make | rlm | (lambda response: response.answer.lower())
    assert chain.invoke({"topic": "birds"}) == "heron"
    assert rlm.with_config(tags=["x"]).invoke({"query": "q", "context": "c"}).answer == "C"


def test_with_retry_and_fallbacks() -> None:
    failing = RLM(scripted(PermissionError("no"), PermissionError("no"), PermissionError("no"),
                           cell("FINAL('late')")))  # fmt: skip
    given = {"query": "q", "context": "c"}
    assert failing.with_retry(wait_exponential_jitter=False).invoke(given).answer == "late"
    broken = RLM(scripted(PermissionError("no")))
    good = RLM(scripted(cell("FINAL('good')")))
    assert broken.with_fallbacks([good]).invoke(given).answer == "good"


def test_configurable_fields() -> None:
    from langchain_core.runnables import ConfigurableField

    rlm = RLM(scripted(cell("x = 1"))).configurable_fields(
        config=ConfigurableField(id="rlm_config")
    )
    given = {"query": "q", "context": "c"}
    response = rlm.invoke(given, {"configurable": {"rlm_config": RLMConfig(max_iterations=2)}})
    assert response.iterations == 2


async def test_batches_keep_order_and_share_nothing() -> None:
    def respond(messages: list[Any]) -> str:
        return cell("print(context)", "FINAL(context * 2)")

    rlm = RLM(ScriptedChatModel(respond=respond))
    given = [{"query": "q", "context": f"<{n}>"} for n in range(12)]
    for responses in (rlm.batch(given), await rlm.abatch(given)):
        assert [response.answer for response in responses] == [f"<{n}><{n}>" for n in range(12)]
        for n, response in enumerate(responses):
            assert response.trajectory[0].cells[0].output == f"<{n}>\n"


def test_the_trace_is_one_tree() -> None:
    from langchain_core.tracers.run_collector import RunCollectorCallbackHandler

    collector = RunCollectorCallbackHandler()
    root = scripted(cell("r = llm_query_batch(['a', 'b'])"), cell("FINAL(1)"))
    rlm = RLM(root, sub_model=scripted("ok"))
    rlm.invoke({"query": "q", "context": LONG}, {"callbacks": [collector]})
    (top,) = collector.traced_runs
    assert top.name == "RLM"
    assert [step.name for step in top.child_runs] == ["iteration 1", "iteration 2"]
    first = top.child_runs[0].child_runs
    assert [node.name for node in first] == ["root_generate", "parse", "sandbox_exec", "truncate"]
    assert [run.name for run in first[0].child_runs] == ["root_generate"]
    (in_cell,) = first[2].child_runs
    assert in_cell.name == "cell 1"
    assert [run.name for run in in_cell.child_runs] == ["llm_query"] * 2
    assert in_cell.child_runs[0].extra["metadata"]["rlm_role"] == "sub"
    assert MARK not in str(top.inputs)
