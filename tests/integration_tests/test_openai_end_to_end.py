"""The whole run through ChatOpenAI and real HTTP on loopback, with everything that goes wrong."""

from __future__ import annotations

import itertools
from typing import Any

import openai
import pytest

from langchain_replm import RLM, RLMConfig, RLMResponse
from tests.clients import chat_openai, to_be_closed
from tests.openai_server import Fault, FaultPlan, OpenAIServer, Reply, Request
from tests.scenarios import cell, comparable

pytestmark = pytest.mark.usefixtures("no_worker_left", "clients_closed")

ROOT = [
    "I look first.\n" + cell("parts = context.split('. ')", "print(len(parts))"),
    cell("notes = llm_query_batch([f'Read: {part}' for part in parts[:20]])", "print(notes[:2])"),
    cell("FINAL([note for note in notes if isinstance(note, str)][-1])"),
]
TEXT = ". ".join(f"part {n}" for n in range(50))


def respond(request: Request) -> Reply:
    if request.model == "root":
        said = [m["content"] for m in request.messages if m["role"] == "assistant"]
        turn = len(said) - said.count("(no text)")  # an empty stream is an empty reply
        return Reply(ROOT[turn], cached_tokens=turn, reasoning_tokens=1)
    return Reply("Seen " + request.last_text.removeprefix("Read: "))


def make(server: OpenAIServer, **config: Any) -> RLM:
    root, sub = (chat_openai(name, server, max_retries=4, timeout=10) for name in ("root", "sub"))
    return RLM(root, sub_model=sub, config=RLMConfig(**config))


COLOURS = ["invoke", "ainvoke", "stream_generate", "astream_generate"]


async def run(rlm: RLM, colour: str) -> RLMResponse:
    if colour == "invoke":
        return rlm.generate("q", TEXT)
    if colour == "ainvoke":
        return await rlm.agenerate("q", TEXT)
    if colour == "stream_generate":
        return list(rlm.stream_generate("q", TEXT))[-1].detail["response"]
    chunks = [chunk async for chunk in rlm.astream_generate("q", TEXT)]
    return chunks[-1].detail["response"]


@pytest.mark.parametrize("colour", COLOURS)
async def test_every_way_counts_the_same_tokens(colour: str) -> None:
    with OpenAIServer(respond) as server:
        plain = await run(make(server), "invoke")
        response = await run(make(server), colour)
        sent = len(server.requests)
    assert response.answer == "Seen part 19"
    assert comparable(response) == comparable(plain)
    assert set(response.usage_by_model) == {"root", "sub"}
    usage = response.usage_by_model["root"]
    assert usage["input_token_details"]["cache_read"] == 0 + 1 + 2
    assert usage["output_token_details"]["reasoning"] == 3
    assert response.sub_calls == 20
    assert sent == 2 * 23
    assert response.total_input_tokens == sum(
        usage["input_tokens"] for usage in response.usage_by_model.values()
    )


@pytest.mark.parametrize("colour", COLOURS)
async def test_what_the_provider_gets_wrong_is_retried_by_the_model(colour: str) -> None:
    faults = FaultPlan(seed=1, status_429=0.1, status_500=0.05, reset=0.05)
    with OpenAIServer(respond, faults=faults) as server:
        response = await run(make(server), colour)
        assert server.fault_count > 0
    assert response.answer == "Seen part 19"
    assert all(
        item.status == "ok"
        for step in response.trajectory
        for call in step.host_calls()
        for item in call.items
    )


@pytest.mark.parametrize("colour", COLOURS)
async def test_a_sub_call_that_fails_for_good_costs_no_other(colour: str) -> None:
    def some_fail(request: Request) -> Reply | Fault:
        if request.model == "sub" and request.last_text.endswith((" 3", " 7")):
            return Fault("status", status=400, message="bad prompt")
        return respond(request)

    with OpenAIServer(some_fail) as server:
        response = await run(make(server), colour)
    items = response.trajectory[1].cells[0].host_calls[0].items
    failed = [n for n, item in enumerate(items) if item.status == "failed"]
    assert failed == [3, 7]
    assert "bad prompt" in (items[3].error or "")
    assert response.answer == "Seen part 19"
    assert response.sub_calls == 20


@pytest.mark.parametrize(
    "fault",
    [
        Fault("malformed"),
        Fault("empty_choices"),
        Fault("status", status=400, message="no"),
        Fault("cut_stream"),
    ],
    ids=["malformed", "empty-choices", "bad-request", "cut-stream"],
)
@pytest.mark.parametrize("colour", COLOURS)
async def test_one_bad_root_reply_is_asked_for_again(fault: Fault, colour: str) -> None:
    with OpenAIServer(respond) as server:
        server.inject(fault)
        response = await run(make(server), colour)
    assert (response.answer, response.stop_reason) == ("Seen part 19", "answered")


async def test_a_wrong_key_is_the_providers_own_error() -> None:
    with OpenAIServer(lambda _: Fault("status", status=401, message="wrong key")) as server:
        for colour in COLOURS:
            with pytest.raises(openai.AuthenticationError, match="wrong key"):
                await run(make(server), colour)


@pytest.mark.parametrize("client_class", [openai.OpenAI, openai.AsyncOpenAI])
async def test_a_raw_client_runs_in_both_colours(client_class: Any) -> None:
    with OpenAIServer(respond) as server:
        client = client_class(api_key="secret", base_url=server.base_url)
        rlm = RLM.from_openai(client, root_model="root", sub_model="sub")
        assert rlm.generate("q", TEXT).answer == "Seen part 19"
        assert (await rlm.agenerate("q", TEXT)).answer == "Seen part 19"
        to_be_closed(rlm.root_model)
        assert {request.model for request in server.requests} == {"root", "sub"}
        assert all(
            request.headers["authorization"] == "Bearer secret" for request in server.requests
        )


async def test_concurrency_is_bounded_in_both_colours() -> None:
    with OpenAIServer(respond, latency_seconds=0.05) as server:
        for colour in ("invoke", "ainvoke"):
            server.reset()
            await run(make(server, max_concurrency=5), colour)
            assert 2 <= server.peak_concurrency <= 5


def test_the_prompt_grows_by_a_byte_equal_prefix() -> None:
    with OpenAIServer(respond) as server:
        make(server).generate("q", TEXT)
        prompts = [request.messages for request in server.requests if request.model == "root"]
    for shorter, longer in itertools.pairwise(prompts):
        assert longer[: len(shorter)] == shorter
