"""What the provider sees grows at its end only, so that its prompt cache hits on every turn.

Shown over the real requests, as the server has read them: messages, tools and parameters.
"""

from __future__ import annotations

import itertools
import json
import uuid
from typing import Any

import pytest
from langchain_openai import ChatOpenAI

from langchain_replm import RLM, RLMChatModel, RLMConfig
from tests.openai_server import OpenAIServer, Reply, Request
from tests.scenarios import _ENTRIES, ENTRIES

pytestmark = pytest.mark.usefixtures("no_worker_left")

CELLS = [
    "parts = context.split('. ')\nprint(len(parts))",
    "found = llm_query_batch(parts[:3])\nprint(found)",
    "1 / 0",
    "print('x' * 30_000)",
    None,  # a reply with nothing to run
    "FINAL(len(parts))",
]
TEXT = ". ".join(f"part {n}" for n in range(50))


def respond(request: Request) -> Reply:
    if request.model != "root":
        return Reply("seen")
    turn = sum(message["role"] == "assistant" for message in request.messages)
    code = CELLS[turn]
    if code is None:
        return Reply("Let me think.")
    if request.body.get("tools"):
        return Reply("I look.", tool_calls=[{"name": "python", "args": {"code": code}}])
    return Reply(f"I look.\n```repl\n{code}\n```")


def check(requests: list[Request]) -> None:
    root = [request.body for request in requests if request.model == "root"]
    assert len(root) == len(CELLS)
    for earlier, later in itertools.pairwise(root):
        sent, more = (json.dumps(body.pop("messages")) for body in (dict(earlier), dict(later)))
        assert more.startswith(sent.removesuffix("]"))
        assert len(more) > len(sent)
    rest = {json.dumps({**body, "messages": None}) for body in root}
    assert len(rest) == 1, "tools and parameters are the same in every request"


@pytest.fixture
def server() -> Any:
    with OpenAIServer(respond) as server:
        yield server


@pytest.fixture
async def models(server: OpenAIServer) -> Any:
    # An address of its own for each test: langchain-openai keeps its clients by address.
    url = f"{server.origin}/{uuid.uuid4()}/v1"
    made = [ChatOpenAI(model=name, base_url=url, api_key="x") for name in ("root", "sub")]
    yield made
    for model in made:
        model.root_client.close()
        await model.root_async_client.close()


@pytest.mark.parametrize("action_format", ["fence", "tool"])
@pytest.mark.parametrize("entry", ENTRIES)
async def test_requests_of_a_run_extend_each_other(
    entry: str, action_format: Any, models: list[ChatOpenAI], server: OpenAIServer
) -> None:
    config = RLMConfig(action_format=action_format, temperature=0.2, reasoning_effort="low")
    rlm = RLM(models[0], sub_model=models[1], config=config)
    response = await _ENTRIES[entry](rlm, {"query": "How many parts?", "context": TEXT})
    assert response.answer == "50"
    check(server.requests)


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream"])
async def test_requests_of_the_chat_model_extend_each_other(
    way: str, models: list[ChatOpenAI], server: OpenAIServer
) -> None:
    config = RLMConfig(direct_below_chars=0)
    model = RLMChatModel(root_model=models[0], sub_model=models[1], context=TEXT, config=config)
    match way:
        case "invoke":
            text = model.invoke("How many parts?").text
        case "ainvoke":
            text = (await model.ainvoke("How many parts?")).text
        case "stream":
            text = "".join(chunk.text for chunk in model.stream("How many parts?"))
        case _:
            text = "".join([chunk.text async for chunk in model.astream("How many parts?")])
    assert text == "50"
    check(server.requests)
