"""A root model that writes cells as tool calls runs the same loop and leaves the same record."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from langchain_core.messages import AIMessage, ToolMessage
from langchain_openai import ChatOpenAI

from langchain_replm import RLM, ConfigurationError, RLMChatModel, RLMConfig
from langchain_replm.testing import ScriptedChatModel
from tests.openai_server import OpenAIServer, Reply
from tests.scenarios import cell, comparable

TOOL = RLMConfig(action_format="tool")
TEXT = "a heron stands. " * 1_000


class CallingModel(ScriptedChatModel):
    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self.bind(tools=tools)


def calls(*codes: str, text: str = "") -> AIMessage:
    return AIMessage(
        text,
        tool_calls=[
            {"name": "python", "args": {"code": code}, "id": f"c{at}", "type": "tool_call"}
            for at, code in enumerate(codes)
        ],
    )


def run(model: ScriptedChatModel, config: RLMConfig, way: str = "generate") -> Any:
    rlm = RLM(model, config=config)
    if way == "stream":
        return list(rlm.stream_generate("How many?", TEXT))[-1].detail["response"]
    return rlm.generate("How many?", TEXT)


SCRIPTS: dict[str, tuple[list[Any], list[str]]] = {
    "look and answer": (
        [calls("n = context.count('heron')\nprint(n)", text="I look."), calls("FINAL(n)")],
        ["I look.\n\n" + cell("n = context.count('heron')\nprint(n)"), cell("FINAL(n)")],
    ),
    "two cells, an error, a text answer": (
        [calls("x = 1", "1/0"), calls("print(x)"), "FINAL(one heron)"],
        [cell("x = 1") + "\n\n" + cell("1/0"), cell("print(x)"), "FINAL(one heron)"],
    ),
    "fences in code": (
        [calls("text = '''\n```\nx\n```\n'''\nprint(text)"), calls("FINAL(len(text))")],
        [
            "````repl\ntext = '''\n```\nx\n```\n'''\nprint(text)\n````",
            cell("FINAL(len(text))"),
        ],
    ),
}


@pytest.mark.parametrize("way", ["generate", "stream"])
@pytest.mark.parametrize("name", SCRIPTS)
def test_calls_and_fences_leave_the_same_record(name: str, way: str) -> None:
    called, fenced = SCRIPTS[name]
    first = comparable(run(CallingModel(replies=called, model_name="m"), TOOL, way))
    second = comparable(run(ScriptedChatModel(replies=fenced, model_name="m"), RLMConfig(), way))

    def bare(value: Any) -> Any:
        if isinstance(value, dict):
            left_out = {"usage", "usage_by_model", "total_input_tokens", "total_output_tokens"}
            return {key: bare(item) for key, item in value.items() if key not in left_out}
        return [bare(item) for item in value] if isinstance(value, list) else value

    assert bare(first) == bare(second)
    assert first["stop_reason"] == "answered"


def test_the_model_sees_calls_and_their_results() -> None:
    model = CallingModel(replies=[calls("x = 1", "print(x)", text="I look."), calls("FINAL(x)")])
    assert run(model, TOOL).answer == "1"
    assert "call of the tool `python`" in model.calls[0][0].text
    assert model.call_kwargs[0]["tools"][0]["function"]["name"] == "python"
    system, asked, said, first, second = model.calls[1]
    assert isinstance(said, AIMessage)
    assert said.text == "I look."
    assert [call["args"]["code"] for call in said.tool_calls] == ["x = 1", "print(x)"]
    assert isinstance(first, ToolMessage)
    assert isinstance(second, ToolMessage)
    assert [first.tool_call_id, second.tool_call_id] == [call["id"] for call in said.tool_calls]
    assert "Cell 2 of 2 printed" in second.text
    assert system.type == "system"
    assert asked.type == "human"


def test_a_broken_call_and_a_call_of_something_else_are_told() -> None:
    broken = AIMessage(
        "", invalid_tool_calls=[{"name": "python", "args": "{", "id": "1", "error": "x"}]
    )
    model = CallingModel(replies=[broken, calls("FINAL(context.count('heron'))")])
    assert run(model, TOOL).answer == "1000"
    assert "a call of a tool named python" in model.calls[1][-1].text


def test_a_model_without_tool_calls_is_refused_before_anything_runs() -> None:
    with pytest.raises(ConfigurationError, match="has no bind_tools"):
        run(ScriptedChatModel(replies=["x"]), TOOL)


def test_over_the_wire_with_a_real_client() -> None:
    script = [
        Reply(None, tool_calls=[{"name": "python", "args": {"code": "print(len(context))"}}]),
        Reply(None, tool_calls=[{"name": "python", "args": {"code": "FINAL(len(context))"}}]),
    ]
    with OpenAIServer(script) as server, httpx.Client() as client:
        root = ChatOpenAI(model="m", api_key="x", base_url=server.base_url, http_client=client)  # type: ignore[arg-type]
        model = RLMChatModel(root_model=root, config=TOOL, context=TEXT * 10)
        assert model.invoke("How long?").text == str(len(TEXT) * 10)
        roles = [message["role"] for message in server.requests[1].messages]
        assert roles == ["system", "user", "assistant", "tool"]
        assert server.requests[0].body["tools"][0]["function"]["name"] == "python"
