"""`RLMChatModel` as an object, its calls, its streams and its tool calls, with real workers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler, get_usage_metadata_callback
from langchain_core.load import dumpd, load
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.runnables import ConfigurableField
from langchain_core.tools import tool
from langchain_core.tracers import BaseTracer
from langchain_openai import ChatOpenAI
from langgraph.store.memory import InMemoryStore
from pydantic import BaseModel
from typing_extensions import TypedDict

from langchain_replm import RLM, ConfigurationError, LimitExceededError, RLMChatModel, RLMConfig
from langchain_replm.runnable import RLMParameters
from langchain_replm.testing import ScriptedChatModel
from tests.chat_brain import respond
from tests.openai_server import OpenAIServer
from tests.scenarios import cell

LONG = "How often does it stand?\n\n" + "the heron stands. a stork flies. " * 5_000
COUNT = cell("FINAL(context.count('heron'))")
pytestmark = pytest.mark.usefixtures("no_worker_left")


def scripted(*replies: Any, **fields: Any) -> RLMChatModel:
    root = ScriptedChatModel(replies=replies, model_name="big")
    sub = ScriptedChatModel(respond=lambda _: "sub says so", model_name="small")
    return RLMChatModel(root_model=root, sub_model=sub, **fields)


def calls_of(model: RLMChatModel) -> list[list[BaseMessage]]:
    assert isinstance(model.root_model, ScriptedChatModel)
    return model.root_model.calls


# -- the object --------------------------------------------------------------------------------------


def test_it_has_every_parameter_of_an_rlm_and_runs_the_same_engine() -> None:
    assert set(RLMParameters.model_fields) <= set(RLMChatModel.model_fields)
    rlm = RLM(ScriptedChatModel(replies=[COUNT]), config=RLMConfig(max_iterations=3))
    model = RLMChatModel.from_rlm(rlm)
    assert model.rlm is rlm
    assert model.invoke(LONG).text == rlm.generate("How often?", LONG).answer == "5000"


def test_what_is_kept_of_runs_is_kept_by_the_engine(tmp_path: Path) -> None:
    model = RLMChatModel(
        root_model=ScriptedChatModel(replies=[cell("FINAL(llm_query('how many?'))")]),
        sub_model=ScriptedChatModel(replies=["two"]),
        cache=InMemoryCache(),
        journal=tmp_path / "journal.db",
        trajectory_file=tmp_path / "runs.jsonl",
    )
    for name in RLMParameters.model_fields:
        assert getattr(model.rlm, name) == getattr(model, name), name
    settings = model.rlm.graph.settings
    assert settings.cache is model.cache
    assert str(getattr(settings.journal, "path", "")) == str(tmp_path / "journal.db")
    assert model.invoke("How many?", context="heron " * 50_000).text == "two"
    assert '"two"' in (tmp_path / "runs.jsonl").read_text(encoding="utf-8")


def test_a_changed_copy_has_an_engine_of_its_own() -> None:
    model = scripted(COUNT)
    other = model.model_copy(update={"config": RLMConfig(max_iterations=2)})
    assert other.rlm is not model.rlm
    assert other.rlm.config.max_iterations == 2


def test_its_name_says_what_it_is_made_of_and_no_provider() -> None:
    assert scripted("x").model == "rlm(big+small)"
    assert RLMChatModel(root_model=ScriptedChatModel(model_name="big")).model == "rlm(big)"
    assert RLMChatModel(root_model="openai:gpt-5.2", sub_model="gpt-5-mini").model == (
        "rlm(gpt-5.2+gpt-5-mini)"
    )
    assert scripted("x", model="mine").model == "mine"
    params = scripted("x")._get_ls_params()
    assert (params["ls_provider"], params["ls_model_name"]) == ("rlm", "rlm(big+small)")


def test_unknown_parameters_are_refused_before_anything_runs() -> None:
    with pytest.raises(ConfigurationError, match=r"no parameter 'api_key'.*belong to the models"):
        scripted("x", api_key="secret")
    with pytest.raises(ConfigurationError, match="config"):
        scripted("x", config=3)


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
def test_dumpd_and_load_give_the_same_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "from the environment")
    model = RLMChatModel(
        root_model=ChatOpenAI(model="big"),
        sub_model=ChatOpenAI(model="small"),
        config=RLMConfig(max_iterations=7),
        context="a heron",
        temperature=0.5,
    )
    data = dumpd(model)
    assert "from the environment" not in json.dumps(data)
    loaded = load(
        data,
        allowed_objects=[RLMChatModel, ChatOpenAI],
        valid_namespaces=["langchain_replm"],
        secrets_from_env=True,
    )
    assert isinstance(loaded, RLMChatModel)
    assert (loaded.config, loaded.context, loaded.temperature) == (model.config, "a heron", 0.5)
    assert loaded._get_llm_string() == model._get_llm_string()


def test_parameters_can_be_configured() -> None:
    model = scripted(COUNT).configurable_fields(context=ConfigurableField(id="text"))
    answer = model.invoke("Count.", {"configurable": {"text": "heron " * 50_000}})
    assert answer.text == "50000"


def test_profile_and_token_counts() -> None:
    model = scripted("x")
    assert model.profile is not None
    assert model.profile["max_input_tokens"] > 100_000_000
    assert model.profile["tool_calling"]
    assert 0 < model.get_num_tokens("a heron stands") < 20
    assert model.get_num_tokens_from_messages([HumanMessage("a heron stands")]) > 0


def test_keys_in_caches_tell_models_and_calls_apart() -> None:
    class Bird(BaseModel):
        name: str

    class Fish(BaseModel):
        name: str

    root = ScriptedChatModel(replies=["x"], model_name="other")
    keys = [
        scripted("x")._get_llm_string(),
        scripted("x", config=RLMConfig(max_iterations=3))._get_llm_string(),
        scripted("x", context="a")._get_llm_string(),
        scripted("x")._get_llm_string(context="a"),
        scripted("x")._get_llm_string(stop=["a"]),
        RLMChatModel(root_model=root)._get_llm_string(),
        scripted("x").with_structured_output(Bird).first.kwargs,  # type: ignore[attr-defined]
        scripted("x").with_structured_output(Fish).first.kwargs,  # type: ignore[attr-defined]
    ]
    strings = [
        key if isinstance(key, str) else scripted("x")._get_llm_string(**key) for key in keys
    ]
    assert len(set(strings)) == len(strings)
    assert scripted("x")._get_llm_string() == strings[0]
    assert len(scripted("x")._get_llm_string(context=LONG)) < 2_000


# -- which way a call goes ---------------------------------------------------------------------------


def test_a_short_conversation_goes_straight_to_the_root_model() -> None:
    model = scripted("hello")
    message = model.invoke([SystemMessage("Be kind."), HumanMessage("hi")], stop=["x"])
    assert message.text == "hello"
    assert message.response_metadata["rlm"] == {"direct": True}
    assert message.response_metadata["model_name"] == "big"
    assert [item.text for item in calls_of(model)[0]] == ["Be kind.", "hi"]


def test_a_long_one_runs_the_loop_and_keeps_the_text_out_of_every_prompt() -> None:
    model = scripted(cell("print(len(context))"), COUNT)
    message = model.invoke([SystemMessage("Answer in digits."), HumanMessage(LONG)])
    assert message.text == "5000"
    assert message.response_metadata["rlm"] == {"stop_reason": "answered", "iterations": 2}
    system, first = calls_of(model)[0]
    assert system.text.endswith("Answer in digits.")
    assert "How often does it stand?" in first.text
    assert len(first.text) < 10_000


@pytest.mark.parametrize("way", ["field", "bind", "keyword"])
def test_an_explicit_context_in_three_ways(way: str) -> None:
    text = "heron " * 50_000
    model = scripted(COUNT, **({"context": text} if way == "field" else {}))
    if way == "bind":
        message = model.bind(context=text).invoke("How many?")
    elif way == "keyword":
        message = model.invoke("How many?", context=text)
    else:
        message = model.invoke("How many?")
    assert message.text == "50000"


def test_the_nearest_context_wins() -> None:
    model = scripted(COUNT, context="stork " * 50_000)
    bound = model.bind(context="heron " * 40_000)
    assert bound.invoke("?").text == "40000"
    assert bound.invoke("?", context="heron " * 30_000).text == "30000"


def test_the_threshold_is_in_the_config() -> None:
    short = scripted("plain", config=RLMConfig(direct_below_chars=10))
    assert short.invoke("123456789").response_metadata["rlm"] == {"direct": True}
    run = scripted(cell("FINAL('run')"), config=RLMConfig(direct_below_chars=9))
    assert run.invoke("123456789").text == "run"


def test_images_reach_the_root_model_in_both_ways() -> None:
    image = {"type": "image", "mime_type": "image/png", "base64": "AAAA"}
    model = scripted(cell("FINAL('seen')"))
    assert model.invoke([HumanMessage(["What is on it?", image, LONG])]).text == "seen"  # type: ignore[list-item]
    blocks = calls_of(model)[0][1].content
    assert isinstance(blocks, list)
    assert blocks[1] == image
    direct = scripted("seen")
    direct.invoke([HumanMessage(["What is on it?", image])])  # type: ignore[list-item]
    assert calls_of(direct)[0][0].content == ["What is on it?", image]


def test_images_are_sent_as_images_by_a_real_client() -> None:
    image = {"type": "image", "mime_type": "image/png", "base64": "AAAA"}
    with OpenAIServer(respond) as server, httpx.Client() as client:
        root = ChatOpenAI(model="m", api_key="x", base_url=server.base_url, http_client=client)  # type: ignore[arg-type]
        RLMChatModel(root_model=root).invoke([HumanMessage(["See.", image, LONG])])  # type: ignore[list-item]
        parts = server.requests[0].messages[1]["content"]
    assert parts[1]["image_url"]["url"] == "data:image/png;base64,AAAA"


def test_stop_sequences_end_the_answer_and_do_not_reach_the_root_of_a_run() -> None:
    model = scripted(cell("FINAL('one two three')"))
    assert model.invoke(LONG, stop=["two"]).text == "one "
    assert isinstance(model.root_model, ScriptedChatModel)
    assert "stop" not in model.root_model.call_kwargs[0]


def test_a_limit_can_be_an_error() -> None:
    config = RLMConfig(max_iterations=1, exit_behavior="error")
    with pytest.raises(LimitExceededError):
        scripted(cell("print(1)"), config=config).invoke(LONG)


def test_call_keywords_reach_the_root_model_in_both_ways() -> None:
    for model in (scripted("x"), scripted(COUNT)):
        model.invoke("x" if model.root_model.replies == ["x"] else LONG, temperature=0.3)  # type: ignore[union-attr]
        assert isinstance(model.root_model, ScriptedChatModel)
        assert model.root_model.call_kwargs[0]["temperature"] == 0.3


# -- streams -----------------------------------------------------------------------------------------


def added(chunks: Iterator[AIMessageChunk]) -> AIMessageChunk:
    whole: AIMessageChunk | None = None
    for chunk in chunks:
        whole = chunk if whole is None else whole + chunk
    assert whole is not None
    return whole


def same(message: AIMessage) -> dict[str, Any]:
    """What must be equal in a message and in its chunks."""
    data = message.model_dump(exclude={"id", "type", "chunk_position", "tool_call_chunks"})
    data["response_metadata"] = {**data["response_metadata"]}
    rlm = data["response_metadata"]["rlm"] = {**data["response_metadata"]["rlm"]}
    rlm.pop("run_id", None)
    data["tool_calls"] = [{**call, "id": "?"} for call in data["tool_calls"]]
    return data


SCRIPTS: dict[str, list[Any]] = {
    "variable": [cell("x = 1\nprint(x)"), cell("FINAL(x)")],
    "text": [cell("print(1)"), "FINAL(The heron (grey) stands.\nIt stands\nstill.)"],
    "quoted text": [cell("print(1)"), 'FINAL("The heron stands.")'],
    "f-string": [cell("n = 3"), 'FINAL(f"{n} herons"\n)'],
    "text that begins as a literal could": [cell("print(1)"), "FINAL(four herons\nstand)"],
    "name": [cell("x = 'a value'"), "FINAL(x)"],
    "text with cells after it": [
        cell("print(1)"),
        "FINAL(The heron stands.\nStill.)\n\n" + cell("print(2)"),
    ],
    "text held once": ["FINAL(The heron stands.)", "FINAL(The heron stands.)"],
    "an error and a nudge": [cell("1/0"), "hm", cell("FINAL('done')")],
    "sub-calls": [cell("FINAL(llm_query('who?'))")],
    "closing prose": [cell("print(1)"), cell("print(2)"), "It stands."],
}


@pytest.mark.parametrize("name", SCRIPTS)
async def test_chunks_add_up_to_the_message_and_all_four_ways_agree(name: str) -> None:
    def model() -> RLMChatModel:
        return scripted(
            *SCRIPTS[name], config=RLMConfig(max_iterations=3 if "error" in name else 2)
        )

    message = model().invoke(LONG)
    assert same(await model().ainvoke(LONG)) == same(message)
    assert same(added(model().stream(LONG))) == same(message)
    whole: AIMessageChunk | None = None
    async for chunk in model().astream(LONG):
        whole = chunk if whole is None else whole + chunk
    assert whole is not None
    assert same(whole) == same(message)


def test_the_direct_answer_comes_token_by_token_and_adds_up() -> None:
    model = scripted("one\ntwo\nthree")
    chunks = list(model.stream("hi"))
    assert [chunk.text for chunk in chunks if chunk.text] == ["one\n", "two\n", "three"]
    assert same(added(iter(chunks))) == same(model.invoke("hi"))


def test_an_answer_that_the_root_writes_comes_as_it_is_written() -> None:
    model = scripted(cell("print(1)"), "FINAL(The heron\nstands\nstill.)")
    texts = [chunk.text for chunk in model.stream(LONG) if chunk.text]
    assert texts == ["The heron", "\nstands", "\nstill."]


def test_a_variable_comes_at_once() -> None:
    model = scripted(cell("x = 'a\\nb\\nc'"), cell("FINAL(x)"))
    assert [chunk.text for chunk in model.stream(LONG) if chunk.text] == ["a\nb\nc"]


def test_the_work_is_reasoning_that_can_be_left_out() -> None:
    message = scripted(*SCRIPTS["variable"]).invoke(LONG)
    kinds = [block["type"] for block in message.content_blocks]
    assert kinds == ["reasoning", "text"]
    assert "print(x)" in message.content_blocks[0]["reasoning"]  # type: ignore[typeddict-item]
    assert "Output:\n1" in message.content_blocks[0]["reasoning"]  # type: ignore[typeddict-item]
    assert message.content == "1"
    hidden = scripted(*SCRIPTS["variable"], show_work=False)
    assert len(list(hidden.stream(LONG))) == 2
    assert [block["type"] for block in hidden.model_copy().invoke("hi").content_blocks] == ["text"]


def test_output_version_v1_has_blocks_as_content() -> None:
    model = scripted(*SCRIPTS["variable"], output_version="v1")
    assert [block["type"] for block in model.invoke(LONG).content] == ["reasoning", "text"]  # type: ignore[index]
    whole = added(scripted(*SCRIPTS["variable"], output_version="v1").stream(LONG))
    assert [block["type"] for block in whole.content] == ["reasoning", "text"]  # type: ignore[index]


def test_usage_comes_once_and_holds_the_sub_calls() -> None:
    script = SCRIPTS["sub-calls"]
    message = scripted(*script).invoke(LONG)
    counted = [c.usage_metadata for c in scripted(*script).stream(LONG) if c.usage_metadata]
    assert counted == [message.usage_metadata]
    with get_usage_metadata_callback() as callback:
        scripted(*script).invoke(LONG)
    assert set(callback.usage_metadata) == {"big", "small"}
    total = sum(usage["total_tokens"] for usage in callback.usage_metadata.values())
    assert message.usage_metadata is not None
    assert total == message.usage_metadata["total_tokens"]


async def test_event_streams_of_version_2_show_one_model() -> None:
    model = scripted(*SCRIPTS["text"])
    events = [event async for event in model.astream_events(LONG, version="v2")]
    assert {event["name"] for event in events} == {"RLMChatModel"}
    chunks = [e["data"]["chunk"] for e in events if e["event"] == "on_chat_model_stream"]
    assert same(added(iter(chunks)))["content"] == "The heron (grey) stands.\nIt stands\nstill."


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
async def test_event_streams_of_version_3_show_reasoning_and_text() -> None:
    stream = scripted(*SCRIPTS["text"]).stream_events(LONG, version="v3")
    events = list(stream)
    started = [e["content"]["type"] for e in events if e["event"] == "content-block-start"]  # type: ignore[typeddict-item]
    assert started == ["reasoning", "text"]
    assert stream.output.text == "The heron (grey) stands.\nIt stands\nstill."
    usage = stream.output.usage_metadata
    assert usage is not None
    assert usage["total_tokens"] > 0
    other = await scripted(*SCRIPTS["text"]).astream_events(LONG, version="v3")
    assert [event["event"] async for event in other] == [event["event"] for event in events]


class Tree(BaseTracer):
    """Names of runs below names of runs."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[tuple[str, str | None]] = []
        self.usage: dict[str, int] = {}

    def _persist_run(self, run: Any) -> None:
        self.walk(run, None)

    def walk(self, run: Any, parent: str | None) -> None:
        self.runs.append((run.name, parent))
        for generations in (run.outputs or {}).get("generations", []):
            usage = generations[0]["message"]["kwargs"].get("usage_metadata")
            self.usage[run.name] = self.usage.get(run.name, 0) + bool(usage)
        for child in run.child_runs:
            self.walk(child, run.name)


@pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke", "astream"])
async def test_one_tree_of_runs_in_which_tokens_count_once(way: str) -> None:
    tree, model = Tree(), scripted(*SCRIPTS["sub-calls"])
    config: Any = {"callbacks": [tree]}
    if way == "invoke":
        model.invoke(LONG, config)
    elif way == "stream":
        list(model.stream(LONG, config))
    elif way == "ainvoke":
        await model.ainvoke(LONG, config)
    else:
        [chunk async for chunk in model.astream(LONG, config)]
    assert tree.runs[0] == ("RLMChatModel", None)
    assert ("RLM", "RLMChatModel") in tree.runs
    assert ("root_generate", "root_generate") in tree.runs
    assert any(name == "llm_query" and parent for name, parent in tree.runs)
    assert sum(parent is None for _, parent in tree.runs) == 1
    assert tree.usage == {"RLMChatModel": 0, "root_generate": 1, "llm_query": 1}


class Ears(BaseCallbackHandler):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
        self.heard.append(kwargs.get("name") or "RLMChatModel")


@pytest.mark.parametrize(
    ("inner", "heard"), [("inherit", 3), ("all", 3), ("tracers", 1), ("none", 1)]
)
def test_who_hears_the_runs_inside(inner: Any, heard: int) -> None:
    ears = Ears()
    scripted(*SCRIPTS["sub-calls"], inner_callbacks=inner).invoke(LONG, {"callbacks": [ears]})
    assert len(ears.heard) == heard


async def test_a_closed_stream_ends_the_run() -> None:
    stream = scripted(cell("print(1)"), cell("print(2)")).stream(LONG)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    other = scripted(cell("print(1)"), cell("print(2)")).astream(LONG)
    await anext(other)
    await other.aclose()  # type: ignore[attr-defined]


# -- tools that the caller runs ------------------------------------------------------------------------


@tool
def weather(place: str, days: int = 1) -> str:
    """The weather."""
    return f"sun over {place} for {days} days"


def test_a_cell_ends_the_turn_with_a_call_and_the_run_goes_on_with_its_result() -> None:
    model = scripted(
        cell("size = len(context)\nTOOL_CALL('weather', place='Bonn', days=2)"),
        cell("FINAL(f'{size}: {tool_results[0]}')"),
    )
    bound = model.bind_tools([weather])
    asked = bound.invoke(LONG)
    assert [(call["name"], call["args"]) for call in asked.tool_calls] == [
        ("weather", {"place": "Bonn", "days": 2})
    ]
    assert asked.response_metadata["finish_reason"] == "tool_calls"
    answer = bound.invoke([HumanMessage(LONG), asked, weather.invoke(asked.tool_calls[0])])
    assert answer.text == f"{len(LONG)}: sun over Bonn for 2 days"
    assert answer.response_metadata["rlm"]["iterations"] == 1
    assert "weather returned 24 characters" in calls_of(model)[1][-1].text


async def test_a_run_goes_on_in_any_way_and_streamed_chunks_hold_the_call() -> None:
    model = scripted(
        cell("size = len(context)\nTOOL_CALL('weather', place='Bonn')"),
        cell("other = 1\nTOOL_CALL('weather', place=f'Ulm{other}')"),
        cell("FINAL([size, other, tool_results])"),
    )
    bound = model.bind_tools([weather])
    messages: list[Any] = [HumanMessage(LONG)]
    whole: AIMessageChunk | None = None
    async for chunk in bound.astream(messages):
        whole = chunk if whole is None else whole + chunk  # type: ignore[operator]
    assert whole is not None
    messages += [whole, weather.invoke(whole.tool_calls[0])]
    second = await bound.ainvoke(messages)
    assert second.tool_calls[0]["args"] == {"place": "Ulm1"}
    messages += [second, weather.invoke(second.tool_calls[0])]
    answer = added(bound.stream(messages))  # type: ignore[arg-type]
    assert json.loads(answer.text) == [len(LONG), 1, ["sun over Ulm1 for 1 days"]]


def test_sub_calls_are_not_made_again_when_a_run_goes_on() -> None:
    model = scripted(
        cell("said = llm_query('who?')\nTOOL_CALL('weather', place='Bonn')"),
        cell("FINAL(said + tool_results[0])"),
    )
    bound = model.bind_tools([weather])
    asked = bound.invoke(LONG)
    answer = bound.invoke([HumanMessage(LONG), asked, weather.invoke(asked.tool_calls[0])])
    assert answer.text == "sub says so" + "sun over Bonn for 1 days"
    assert isinstance(model.sub_model, ScriptedChatModel)
    assert len(model.sub_model.calls) == 1


def test_several_calls_at_once() -> None:
    calls = "[('weather', {'place': 'Bonn'}), ('weather', {'place': 'Ulm'})]"
    model = scripted(cell(f"TOOL_CALLS({calls})"), cell("FINAL(tool_results)"))
    bound = model.bind_tools([weather])
    asked = bound.invoke(LONG)
    results = [weather.invoke(call) for call in asked.tool_calls]
    answer = bound.invoke([HumanMessage(LONG), asked, *results])
    assert json.loads(answer.text) == ["sun over Bonn for 1 days", "sun over Ulm for 1 days"]


def test_a_store_of_the_user_carries_runs_to_another_process() -> None:
    store = InMemoryStore()
    first = scripted(cell("size = 7\nTOOL_CALL('weather', place='Bonn')"), run_store=store)
    asked = first.bind_tools([weather]).invoke(LONG)
    second = scripted(cell("FINAL(size)"), run_store=store)
    messages = [HumanMessage(LONG), asked, weather.invoke(asked.tool_calls[0])]
    assert second.bind_tools([weather]).invoke(messages).text == "7"


def test_a_run_that_is_lost_is_begun_anew_with_the_result_in_the_query() -> None:
    asked = scripted(cell("TOOL_CALL('weather', place='Bonn')")).bind_tools([weather]).invoke(LONG)
    other = scripted(cell("FINAL('anew')"))
    messages = [HumanMessage(LONG), asked, weather.invoke(asked.tool_calls[0])]
    assert other.bind_tools([weather]).invoke(messages).text == "anew"
    assert "sun over Bonn" in calls_of(other)[0][1].text


def test_a_run_does_not_go_on_in_another_conversation() -> None:
    model = scripted(cell("TOOL_CALL('weather', place='Bonn')"), cell("FINAL('anew')"))
    bound = model.bind_tools([weather])
    asked = bound.invoke(LONG)
    messages = [HumanMessage(LONG + "And more."), asked, weather.invoke(asked.tool_calls[0])]
    assert bound.invoke(messages).text == "anew"
    assert "sun over Bonn" in calls_of(model)[1][1].text
    assert len(calls_of(model)[1]) == 2


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("TOOL_CALL('weather')", "'place' is a required property"),
        ("TOOL_CALL('nothing', x=1)", "there is no tool 'nothing'; names: weather"),
        ("TOOL_CALLS([])", "the list of calls is empty"),
    ],
)
def test_a_wrong_call_comes_back_to_the_root_model(wrong: str, why: str) -> None:
    model = scripted(cell(wrong), cell("TOOL_CALL('weather', place='Bonn')"))
    assert model.bind_tools([weather]).invoke(LONG).tool_calls[0]["args"] == {"place": "Bonn"}
    assert why in calls_of(model)[1][-1].text


@pytest.mark.parametrize("choice", ["any", "required", "weather", True])
def test_a_forced_call_is_forced(choice: Any) -> None:
    look = cell("print(1)")
    model = scripted(look, cell("FINAL('no')"), cell("TOOL_CALL('weather', place='Bonn')"))
    bound = model.bind_tools([weather], tool_choice=choice)
    assert bound.invoke(LONG).tool_calls
    assert "the turn must end with TOOL_CALL" in calls_of(model)[2][-1].text


def test_no_call_is_no_call_and_an_unknown_choice_is_refused() -> None:
    model = scripted(cell("TOOL_CALL('weather', place='Bonn')"), cell("FINAL('no')"))
    assert model.bind_tools([weather], tool_choice="none").invoke(LONG).text == "no"
    with pytest.raises(ConfigurationError, match="is no bound tool"):
        model.bind_tools([weather], tool_choice="storm").invoke(LONG)


def test_without_bound_tools_an_answer_of_that_shape_is_an_answer() -> None:
    message = scripted(cell("FINAL({'TOOL_CALLS': [['weather', {}]]})")).invoke(LONG)
    assert message.tool_calls == []
    assert json.loads(message.text) == {"TOOL_CALLS": [["weather", {}]]}


def test_tools_for_cells_are_another_thing_than_bound_tools() -> None:
    model = scripted(
        cell("TOOL_CALL('weather', place=lookup(1))"),
        cell("FINAL(tool_results[0])"),
        tools=[lookup],
    )
    asked = model.bind_tools([weather]).invoke(LONG)
    assert asked.tool_calls[0]["args"] == {"place": "place 1"}


@tool
def lookup(number: int) -> str:
    """The place of a number."""
    return f"place {number}"


def test_a_root_without_tool_calls_of_its_own_calls_tools_in_a_run() -> None:
    model = scripted(cell("TOOL_CALL('weather', place='Bonn')"))
    assert model.bind_tools([weather]).invoke("Weather?").tool_calls[0]["name"] == "weather"


# -- typed answers -------------------------------------------------------------------------------------


class Bird(BaseModel):
    """A bird."""

    name: str
    legs: int = 2


class BirdDict(TypedDict):
    """A bird."""

    name: str


@pytest.mark.parametrize("method", [None, "function_calling", "json_schema", "json_mode"])
def test_a_typed_answer_of_a_run_is_checked_and_mended(method: Any) -> None:
    look = cell("print(1)")
    model = scripted(look, cell("FINAL({'name': 7})"), cell("FINAL({'name': 'heron'})"))
    typed = model.with_structured_output(Bird, method=method)
    assert typed.invoke(LONG) == Bird(name="heron")
    assert "name" in calls_of(model)[2][-1].text


def test_typed_answers_of_every_kind_of_schema() -> None:
    assert scripted(cell("FINAL({'name': 'heron'})")).with_structured_output(BirdDict).invoke(
        LONG
    ) == {"name": "heron"}
    schema = Bird.model_json_schema()
    strict = scripted(cell("FINAL({'name': 'heron', 'legs': 2})")).with_structured_output(
        schema, strict=True
    )
    assert strict.invoke(LONG) == {"name": "heron", "legs": 2}


def test_the_raw_message_of_a_typed_answer() -> None:
    typed = scripted(cell("FINAL({'name': 'heron'})")).with_structured_output(
        Bird, include_raw=True
    )
    given = typed.invoke(LONG)
    assert given["parsed"] == Bird(name="heron")
    assert given["parsing_error"] is None
    assert isinstance(given["raw"], AIMessage)
    failed = scripted(cell("FINAL('x')"), "no", config=RLMConfig(max_iterations=1))
    given = failed.with_structured_output(Bird, include_raw=True).invoke(LONG)
    assert given["parsed"] is None
    assert given["parsing_error"] is not None


def test_a_response_format_of_the_model_types_every_answer() -> None:
    model = scripted(cell("FINAL({'name': 'heron'})"), response_format=Bird)
    assert json.loads(model.invoke(LONG).text) == {"name": "heron"}


def test_the_protocols_response_format_is_understood() -> None:
    schema = {
        "type": "json_schema",
        "json_schema": {"name": "b", "schema": Bird.model_json_schema()},
    }
    model = scripted(cell("FINAL('x')"), cell("FINAL({'name': 'heron'})"))
    assert json.loads(model.invoke(LONG, response_format=schema).text) == {"name": "heron"}


def test_unknown_options_of_typed_answers_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="no parameter 'temper'"):
        scripted("x").with_structured_output(Bird, temper=1)


# -- caches, batches, many at once -----------------------------------------------------------------------


def test_a_cache_of_replies_answers_the_second_time() -> None:
    model = scripted(COUNT, cache=InMemoryCache())
    assert model.invoke(LONG).text == model.invoke(LONG).text == "5000"
    assert len(calls_of(model)) == 1
    assert model.invoke("?", context="heron " * 40_000).text == "40000"
    assert model.invoke("?", context="heron " * 30_000).text == "30000"


def test_fifty_conversations_at_once_share_nothing_but_the_models() -> None:
    model = RLMChatModel(root_model=ScriptedChatModel(respond=remember), context=["x" * 100_001])
    conversations = [f"number {number}" for number in range(50)]
    answers = model.batch(conversations, {"max_concurrency": 50})
    assert [answer.text for answer in answers] == [f"number {n} 2" for n in range(50)]


async def test_fifty_conversations_at_once_awaited() -> None:
    model = RLMChatModel(root_model=ScriptedChatModel(respond=remember), context=["x" * 100_001])
    answers = await asyncio.gather(*(model.ainvoke(f"number {number}") for number in range(50)))
    assert [answer.text for answer in answers] == [f"number {n} 2" for n in range(50)]


def remember(messages: list[BaseMessage]) -> str:
    """Two cells that only give the right answer if nothing is mixed up."""
    asked = messages[1].text.split("\n")[1]
    if len(messages) == 2:
        return cell(f"mine = {asked!r}\ncount = 1")
    return cell("FINAL(f'{mine} {count + 1}')")


def test_tool_messages_of_others_do_not_look_like_ours() -> None:
    call = {"name": "weather", "args": {}, "id": "1", "type": "tool_call"}
    messages = [
        HumanMessage(LONG),
        AIMessage("", tool_calls=[call], response_metadata={"rlm": {"run_id": "unknown"}}),
        ToolMessage("sun", tool_call_id="1", name="weather"),
    ]
    assert scripted(COUNT).invoke(messages).text == "5000"
