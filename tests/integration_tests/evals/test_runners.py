"""The ways to answer that an RLM is compared with: real chains, real agents, the same limits."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.exceptions import ContextOverflowError
from langchain_core.messages import AIMessage
from langchain_openai import ChatOpenAI

from langchain_replm import ConfigurationError, ExtractiveChatModel, ModelPrice, RLMConfig
from langchain_replm.evals.runners import RUNNERS, runner
from langchain_replm.evals.runners.map_reduce import split
from langchain_replm.evals.runners.search import find
from langchain_replm.evals.types import Outcome
from tests.eval_doors import Doors, Player
from tests.openai_server import Fault, OpenAIServer, Reply, Request

[EXAMPLE] = Doors().examples(context_tokens=1_000, count=1, seed=0)
GIVEN: Any = {"query": EXAMPLE.query, "context": EXAMPLE.context}
PRICE = ModelPrice(input_usd_per_million=1.0, output_usd_per_million=10.0)
CONFIG = RLMConfig(prices={"root": PRICE, "sub": PRICE})


def make(name: str, config: RLMConfig = CONFIG, **options: Any) -> Any:
    root, sub = Player(model_name="root"), Player(model_name="sub")
    if name == "map-reduce":
        options.setdefault("chunk_tokens", 300)
    return runner(name, root_model=root, sub_model=sub, config=config, **options)


# -- every one of them -----------------------------------------------------------------------------

SHAPES = {  # iterations, sub-calls, models that were paid
    "base": (1, 0, {"root"}),
    "truncation": (1, 0, {"root"}),
    "map-reduce": (1, 4, {"root", "sub"}),
    "search": (0, 0, set()),
    "files": (2, 0, {"root"}),
    "rlm-no-sub-calls": (2, 0, {"root"}),
    "rlm": (2, 1, {"root", "sub"}),
    "rlm-2": (2, 1, {"root", "sub"}),
}


@pytest.mark.parametrize("name", RUNNERS)
async def test_every_runner_answers_in_both_colours(name: str) -> None:
    outcome, other = make(name).invoke(GIVEN), await make(name).ainvoke(GIVEN)
    assert EXAMPLE.expected in outcome.answer
    assert outcome.stop_reason == "answered"
    assert (outcome.iterations, outcome.sub_calls, set(outcome.usage_by_model)) == SHAPES[name]
    tokens_in = sum(usage["input_tokens"] for usage in outcome.usage_by_model.values())
    tokens_out = sum(usage["output_tokens"] for usage in outcome.usage_by_model.values())
    assert outcome.cost == pytest.approx((tokens_in + 10 * tokens_out) / 1e6)
    for field in ("answer", "stop_reason", "iterations", "sub_calls", "cost", "usage_by_model"):
        assert getattr(other, field) == getattr(outcome, field)


def test_what_is_not_there_is_said_with_what_is() -> None:
    with pytest.raises(
        ConfigurationError, match=r"no runner 'mapreduce'. Did you mean 'map-reduce'"
    ):
        runner("mapreduce", root_model=Player())
    with pytest.raises(ConfigurationError, match=r"no option 'chunks'. It has: window_tokens"):
        runner("base", root_model=Player(), chunks=3)
    with pytest.raises(ConfigurationError, match="window_tokens is at least 1"):
        runner("base", root_model=Player(), window_tokens=0)
    with pytest.raises(ConfigurationError, match="chunk_tokens is at least 1"):
        runner("map-reduce", root_model=Player(), chunk_tokens=0)
    with pytest.raises(ConfigurationError, match="needs a root model that can call tools"):
        runner("files", root_model=ExtractiveChatModel())
    with pytest.raises(ConfigurationError, match="no option 'depth'"):
        runner("rlm", root_model=Player(), depth=3)


def test_unknown_prices_and_uncounted_tokens_are_unknown_costs() -> None:
    assert make("map-reduce", RLMConfig(prices={"root": PRICE})).invoke(GIVEN).cost is None
    assert make("base", RLMConfig()).invoke(GIVEN).cost is None
    with OpenAIServer(lambda _: Reply("17", usage=None)) as server:
        model = ChatOpenAI(base_url=server.base_url, api_key="x", model="root")
        silent = runner("base", root_model=model, config=CONFIG).invoke(GIVEN)
        model.root_client.close()
    assert (silent.cost, silent.usage_by_model) == (None, {})


# -- the window ------------------------------------------------------------------------------------


def test_a_context_over_the_window_is_an_outcome() -> None:
    root = Player(profile={"max_input_tokens": 500})
    outcome = runner("base", root_model=root).invoke(GIVEN)
    assert outcome == Outcome("", "window", iterations=0, cost=0.0)
    assert root.calls == []  # nobody pays for a refusal that is foreseen
    told = runner("base", root_model=root, window_tokens=5_000).invoke(GIVEN)
    assert told.stop_reason == "answered"


@pytest.mark.parametrize(
    "error",
    [
        ContextOverflowError("too long"),
        ValueError("request (5000 tokens) exceeds the available context size (4096 tokens)"),
    ],
)
def test_a_refusal_of_the_provider_is_the_same_outcome(error: Exception) -> None:
    class Refuses(Player):
        def _next(self, messages: Any, kwargs: Any) -> AIMessage:
            raise error

    assert runner("base", root_model=Refuses()).invoke(GIVEN).stop_reason == "window"


def test_the_error_of_the_openai_protocol_is_known() -> None:
    fault = Fault("status", status=400, message="context_length_exceeded: 9000 > 8192 tokens")
    with OpenAIServer(lambda _: fault) as server:
        model = ChatOpenAI(base_url=server.base_url, api_key="x", model="m", max_retries=0)
        assert runner("base", root_model=model).invoke(GIVEN).stop_reason == "window"
        model.root_client.close()


def test_other_errors_stay_errors() -> None:
    class Fails(Player):
        def _next(self, messages: Any, kwargs: Any) -> AIMessage:
            raise RuntimeError("no such model")

    for name in ("base", "truncation", "map-reduce", "files"):
        with pytest.raises(RuntimeError, match="no such model"):
            runner(name, root_model=Fails()).invoke(GIVEN)


def test_truncation_keeps_head_and_tail_within_the_window() -> None:
    root = Player(profile={"max_input_tokens": 600})
    outcome = runner("truncation", root_model=root).invoke(GIVEN)
    assert outcome.stop_reason == "answered"
    [[_, shown]] = root.calls
    assert len(shown.text) < 600 * 4
    assert EXAMPLE.context[:200] in shown.text
    assert EXAMPLE.context[-200:] in shown.text
    assert "characters were left out" in shown.text


def test_truncation_tries_less_when_it_is_refused() -> None:
    class Narrow(Player):
        def _next(self, messages: Any, kwargs: Any) -> AIMessage:
            reply = super()._next(messages, kwargs)
            if len(messages[-1].text) > 2_500:
                raise ContextOverflowError("too long")
            return reply

    root = Narrow()
    outcome = runner("truncation", root_model=root).invoke(GIVEN)
    assert outcome.stop_reason == "answered"
    sizes = [len(messages[-1].text) for messages in root.calls]
    assert sizes == sorted(sizes, reverse=True)
    assert len(sizes) == 3


# -- limits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "limits", "reason"),
    [
        ("base", {"max_total_tokens": 100}, "max_tokens"),
        ("base", {"max_cost_usd": 0.0001}, "max_cost"),
        ("map-reduce", {"max_sub_calls": 2}, "max_sub_calls"),
        (
            "map-reduce",
            {"max_total_tokens": 1_100, "sub_max_tokens": 100, "root_max_tokens": 100},
            "max_tokens",
        ),
        ("files", {"max_iterations": 1}, "max_iterations"),
        ("files", {"max_total_tokens": 850, "root_max_tokens": 600}, "max_tokens"),
    ],
)
async def test_a_limit_ends_a_run_with_its_reason(name: str, limits: Any, reason: str) -> None:
    config = CONFIG.model_copy(update=limits)
    for outcome in (make(name, config).invoke(GIVEN), await make(name, config).ainvoke(GIVEN)):
        assert outcome.stop_reason == reason
        spent = sum(usage["total_tokens"] for usage in outcome.usage_by_model.values())
        assert spent <= limits.get("max_total_tokens", spent)
        assert outcome.sub_calls <= limits.get("max_sub_calls", outcome.sub_calls)


def test_sampling_is_sent_as_an_rlm_sends_it() -> None:
    config = RLMConfig(temperature=0.25, root_max_tokens=77, sub_temperature=0.5, sub_max_tokens=55)
    for name in ("base", "map-reduce", "files"):
        made = make(name, config)
        made.invoke(GIVEN)
        sent = [*made.root_model.call_kwargs]
        assert all((one["temperature"], one["max_tokens"]) == (0.25, 77) for one in sent)
        assert sent
    assert all(one["max_tokens"] == 55 for one in make_used("map-reduce", config).call_kwargs)


def make_used(name: str, config: RLMConfig) -> Player:
    made = make(name, config)
    made.invoke(GIVEN)
    return made.sub_model


# -- one by one ------------------------------------------------------------------------------------


def test_chunks_are_whole_and_end_with_lines() -> None:
    chunks = split(EXAMPLE.context, 1_000)
    assert "".join(chunks) == EXAMPLE.context
    assert all(len(chunk) <= 1_000 for chunk in chunks)
    assert all(chunk.endswith("\n") for chunk in chunks[:-1])
    assert split("x" * 25, 10) == ["x" * 10, "x" * 10, "x" * 5]


def test_a_chunk_that_fails_is_left_out_and_many_notes_are_condensed() -> None:
    class Wordy(Player):
        def _next(self, messages: Any, kwargs: Any) -> AIMessage:
            reply = super()._next(messages, kwargs)
            if "door 0000 is" in messages[-1].text and "part of a longer" in messages[0].text:
                raise RuntimeError("overloaded")
            long = "one part" in messages[0].text
            return reply.model_copy(
                update={"content": reply.text + " so it says." * (70 if long else 1)}
            )

    given = {**GIVEN, "query": GIVEN["query"].replace(EXAMPLE.query.split("door ")[1][:4], "0050")}
    sub = Wordy(model_name="sub")
    made = runner("map-reduce", root_model=Player(), sub_model=sub, chunk_tokens=300)
    outcome = made.invoke(given)
    assert outcome.stop_reason == "answered"
    told = [messages[0].text for messages in sub.calls]
    assert any("shorter note" in text for text in told)
    assert outcome.sub_calls == len(told)


@pytest.mark.parametrize(
    ("query", "text", "answer"),
    [
        (
            "What is the magic number for the blue heron?",
            "Red: 1.\nThe magic number for the blue heron is 77.",
            "77",
        ),
        (
            "Who wrote the letter to Ishmael?",
            "A dog ran.\nThe letter to Ishmael was written by Queequeg.",
            "Queequeg",
        ),
        (
            "When did the ship sail?",
            "The ship did sail on 1851-10-18 at noon.\nThe cook slept.",
            "1851-10-18",
        ),
        ("How many lines mention a heron?", "a heron\na stork\na heron\n", "2"),
        ("What does the cook do?", "The dog barks.\nThe cook does sleep.", "The cook does sleep."),
        ("What is zinc?", "Nothing of it.", ""),
    ],
)
def test_the_search_finds_what_a_search_can_find(query: str, text: str, answer: str) -> None:
    assert find(query, text) == answer


def test_the_agent_sees_files_by_name_and_in_pieces() -> None:
    documents = [
        Document(f"page {n}\n" + "x" * 9_000, metadata={"source": f"p{n}.txt"}) for n in range(3)
    ]
    calls = [
        ("list_files", {}),
        ("read", {"file": "document 2: p1.txt", "start": 3}),
        ("read", {"file": "../../etc/passwd"}),
        ("search", {"words": "page 2|page 0"}),
        ("search", {"words": "(a+)+$"}),
        ("search", {"words": "x", "file": "nowhere"}),
    ]
    messages = [
        AIMessage("", tool_calls=[{"name": name, "args": args, "id": f"c{at}"}])
        for at, (name, args) in enumerate(calls)
    ]

    class Looks(Player):
        def _next(self, given: Any, kwargs: Any) -> AIMessage:
            self.seen = given
            return [*messages, AIMessage("done")][sum(isinstance(m, AIMessage) for m in given)]

        seen: Any = None

    root = Looks()
    given: Any = {"query": "?", "context": documents}
    outcome = runner("files", root_model=root).invoke(given)
    assert (outcome.answer, outcome.iterations) == ("done", 7)
    told = [message.text for message in root.seen if message.type == "tool"]
    assert told[0].splitlines()[0] == "document 1: p0.txt (9,007 characters)"
    assert told[1].startswith("e 1\nxxx")
    assert told[1].endswith("[characters 3 to 4,003 of 9,007]")
    assert "no file '../../etc/passwd'" in told[2]
    assert told[3].splitlines()[:2] == ["2 lines found", "document 1: p0.txt:0: page 0"]
    assert told[4] == "0 lines found"
    assert "no file 'nowhere'" in told[5]


def test_a_request_of_the_agent_has_tools_until_it_must_close() -> None:
    def respond(request: Request) -> Reply:
        if request.body.get("tools"):
            return Reply(None, tool_calls=[{"name": "list_files", "args": {}}])
        return Reply("the end")

    with OpenAIServer(respond) as server:
        model = ChatOpenAI(base_url=server.base_url, api_key="x", model="m")
        config = RLMConfig(max_iterations=2)
        outcome = runner("files", root_model=model, config=config).invoke(GIVEN)
        model.root_client.close()
        bodies = [request.body for request in server.requests]
    assert (outcome.answer, outcome.stop_reason) == ("the end", "max_iterations")
    assert [bool(body.get("tools")) for body in bodies] == [True, True, False]
    assert sum(usage["total_tokens"] for usage in outcome.usage_by_model.values()) > 0
