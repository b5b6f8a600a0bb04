"""What people, models and cells do wrong: a clear error before any model is called, or a run that
repairs itself."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from langchain_replm import RLM, ConfigurationError, RLMConfig, RLMResponse
from langchain_replm.testing import ScriptedChatModel
from tests.scenarios import cell

pytestmark = pytest.mark.usefixtures("nothing_left_behind")


def run(*replies: Any, context: Any = "some text", query: str = "q", **config: Any) -> RLMResponse:
    model = ScriptedChatModel(replies=list(replies))
    return RLM(model, config=RLMConfig(**config)).generate(query, context)


@pytest.mark.parametrize("query", ["", "  \n", None, 5, b"q"])
def test_a_wrong_query_is_refused_before_any_model_is_called(query: Any) -> None:
    model = ScriptedChatModel(replies=["FINAL(x)"])
    with pytest.raises(ConfigurationError, match="query"):
        RLM(model).generate(query, "text")
    assert model.calls == []


@pytest.mark.parametrize(
    "context",
    [None, b"bytes", 42, 4.2, object(), ["a", 1], ["a", Document("b")], "", [], ("a",), {"a": 1}],
)
async def test_a_wrong_context_is_refused_before_any_model_is_called(context: Any) -> None:
    model = ScriptedChatModel(replies=["FINAL(x)"])
    with pytest.raises(ConfigurationError, match="context"):
        RLM(model).generate("q", context)
    with pytest.raises(ConfigurationError, match="context"):
        await RLM(model).agenerate("q", context)
    with pytest.raises(ConfigurationError, match="context"):
        list(RLM(model).stream_generate("q", context))
    assert model.calls == []


@pytest.mark.parametrize("given", ["just a text", ["a"], 5])
def test_an_input_that_is_no_dict_is_explained(given: Any) -> None:
    with pytest.raises(ConfigurationError, match='"query"'):
        RLM(ScriptedChatModel()).invoke(given)


def test_an_input_without_context_is_explained() -> None:
    with pytest.raises(ConfigurationError, match='no "context"'):
        RLM(ScriptedChatModel()).invoke({"query": "q"})


def test_unknown_parameters_and_wrong_models_are_refused() -> None:
    with pytest.raises(ValueError, match="sub_modle"):
        RLM(ScriptedChatModel(), sub_modle=ScriptedChatModel())
    with pytest.raises((ConfigurationError, ValueError), match="root_model"):
        RLM(42)  # type: ignore[arg-type]


def test_lone_surrogates_arrive_in_the_cell_and_leave_nothing_unsendable() -> None:
    seen: list[str] = []

    def sub(messages: list[Any]) -> str:
        seen.append(messages[-1].content)
        return "ok"

    root = ScriptedChatModel(
        replies=[
            cell("print(context, ord(context[1]) == 0xD800)", "llm_query(context)"),
            cell("FINAL(context)"),
        ]
    )
    rlm = RLM(root, sub_model=ScriptedChatModel(respond=sub))
    response = rlm.generate("what \udc80?", "a\ud800b" * 1_000)
    assert "True" in response.trajectory[0].cells[0].output
    for text in (*seen, response.answer, response.to_json(), str(root.calls)):
        text.encode()


def test_a_context_of_half_a_gigabyte_is_read() -> None:
    context = "0123456789abcdef" * (1 << 25)
    assert len(context) == 512 * 2**20
    response = run(
        cell("print(len(context))", "FINAL(context[-3:])"), context=context, sandbox_timeout=300.0
    )
    assert (response.answer, response.stop_reason) == ("def", "answered")
    assert "536870912" in response.trajectory[0].cells[0].output


class OddChatModel(BaseChatModel):
    """A model that returns what providers return on bad days."""

    first: Any

    @property
    def _llm_type(self) -> str:
        return "odd"

    def _generate(self, messages: list[Any], *args: Any, **kwargs: Any) -> ChatResult:
        first_call = not any(isinstance(message, AIMessage) for message in messages)
        if isinstance(self.first, ChatResult):
            first, self.first = self.first, None
            return first
        message = self.first if first_call and self.first else AIMessage(cell("FINAL('well')"))
        return ChatResult(generations=[ChatGeneration(message=message)])


@pytest.mark.parametrize(
    "first",
    [
        AIMessage(""),
        AIMessage([{"type": "text", "text": "Thinking."}]),
        AIMessage([{"type": "reasoning", "reasoning": "FINAL(no)"}]),
        AIMessage("", tool_calls=[{"name": "python", "args": {}, "id": "1"}]),
        AIMessage("", usage_metadata=None, response_metadata={"finish_reason": "length"}),
        ChatResult(generations=[]),
    ],
    ids=["no-text", "blocks", "only-reasoning", "only-tool-call", "cut-off", "no-choices"],
)
async def test_odd_replies_are_nudged_or_tried_again(first: Any) -> None:
    assert RLM(OddChatModel(first=first)).generate("q", "text").answer == "well"
    assert (await RLM(OddChatModel(first=first)).agenerate("q", "text")).answer == "well"


def test_a_model_without_usage_counts_nothing() -> None:
    response = RLM(OddChatModel(first=None)).generate("q", "text")
    assert (response.total_input_tokens, response.usage_by_model) == (0, {})


async def test_a_root_that_always_fails_raises_its_own_error() -> None:
    model = ScriptedChatModel(replies=[PermissionError("wrong key")])
    with pytest.raises(PermissionError, match="wrong key") as raised:
        RLM(model).generate("q", "text")
    assert "3 times in a row" in raised.value.__notes__[0]
    assert len(model.calls) == 3
    with pytest.raises(PermissionError, match="wrong key"):
        await RLM(model).agenerate("q", "text")


def test_a_root_that_fails_once_is_asked_again_with_the_same_messages() -> None:
    model = ScriptedChatModel(replies=[ConnectionError("503"), cell("FINAL(1)")])
    response = RLM(model).generate("q", "text")
    assert (response.answer, response.stop_reason) == ("1", "answered")
    assert model.calls[0] == model.calls[1]
    assert response.trajectory[0].error == "ConnectionError: 503"


CELLS = {
    "SystemExit": (["x = 1", "raise SystemExit(3)"], "SystemExit"),
    "exit": (["x = 1", "exit()"], "FINAL"),
    "KeyboardInterrupt": (["x = 1", "raise KeyboardInterrupt"], "KeyboardInterrupt"),
    "MemoryError": (["x = 1", "y = [0] * 10**15"], "MemoryError"),
    "RecursionError": (["x = 1", "def f(): f()", "f()"], "RecursionError"),
    "SyntaxError": (["x = = 1"], "SyntaxError"),
    "big integer": (["x = 1", "print(10**5000)"], "ValueError"),
}


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_that_fails_is_shown_its_error_and_the_run_goes_on(name: str) -> None:
    lines, said = CELLS[name]
    response = run(cell(*lines), cell("FINAL('x' in dir())"))
    assert response.stop_reason == "answered"
    assert response.answer == ("false" if name == "SyntaxError" else "true")
    shown = response.trajectory[0].observation or ""
    assert said in shown
    assert "/" not in shown.replace("</", ""), "no path of the host"


def test_a_broken_repr_hurts_nobody() -> None:
    broken = ["class B:", "    def __repr__(self): raise RuntimeError('no repr')", "b = B()", "b"]
    response = run(cell(*broken), cell("FINAL(b)"), cell("FINAL('fine')"))
    assert response.stop_reason == "answered"


def test_a_flood_of_output_is_bounded_and_says_so() -> None:
    flood = cell("line = 'x' * 999", "for _ in range(100_000): print(line)", "end = 1")
    response = run(flood, cell("FINAL('dry')"))
    observation = response.trajectory[0].observation or ""
    assert response.answer == "dry"
    assert len(observation) < 15_000
    assert "left out" in observation
    assert len(response.to_json()) < 100_000


def test_reserved_names_come_back() -> None:
    response = run(
        cell("context = None", "llm_query = None", "print = 3", "FINAL = 4"),
        cell("del context", "del llm_query"),
        cell("FINAL([context, llm_query('hi')])"),
    )
    assert response.answer == '["some text", "```repl\\nFINAL([context, llm_query(\'hi\')])\\n```"]'


def test_a_prompt_over_the_limit_is_refused_with_the_numbers() -> None:
    response = run(
        cell(
            "try: llm_query('p' * 1_001)",
            "except SubCallError as error: print(error)",
            "r = llm_query_batch(['', 'p' * 1_001, 'fine'])",
        ),
        cell("FINAL([type(item).__name__ for item in r])"),
        sub_call_max_input_chars=1_000,
    )
    assert "1,001" in response.trajectory[0].cells[0].output
    assert "1,000" in response.trajectory[0].cells[0].output
    assert response.answer.count("SubCallError") == 2
    assert response.sub_calls == 1


def test_a_failing_callback_never_ends_a_run(caplog: pytest.LogCaptureFixture) -> None:
    def fails(event: Any) -> None:
        raise KeyError(event.type)

    response = RLM(ScriptedChatModel(replies=[cell("FINAL(1)")])).generate(
        "q", "text", on_event=fails
    )
    assert response.answer == "1"
    assert "on_event failed" in caplog.text


def test_verbose_logs_through_logging_and_configures_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    import logging

    handlers = list(logging.getLogger().handlers)
    with caplog.at_level("INFO", logger="langchain_replm"):
        run(cell("print(context)", "FINAL(1)"), verbose=True)
        loud = caplog.text
        caplog.clear()
        run(cell("FINAL(1)"))
        quiet = caplog.text
    assert "iteration_start" in loud
    assert "some text" not in loud, "no text of the context above DEBUG"
    assert "some text" not in quiet
    assert "final_answer" in quiet
    assert quiet.count("\n") == 1, "one line a run, unless more is asked for"
    assert logging.getLogger().handlers == handlers


def test_sampling_parameters_are_sent_only_when_given() -> None:
    root = ScriptedChatModel(replies=[cell("FINAL(llm_query('a'))")])
    sub = ScriptedChatModel(replies=["b"])
    RLM(root, sub_model=sub).generate("q", "text")
    assert (root.call_kwargs, sub.call_kwargs) == ([{}], [{}])
    config = RLMConfig(
        temperature=0.6,
        sub_temperature=0.4,
        reasoning_effort="low",
        sub_reasoning_effort="high",
        root_max_tokens=100,
        sub_max_tokens=50,
    )
    RLM(root, sub_model=sub, config=config).generate("q", "text")
    assert root.call_kwargs[1] == {
        "temperature": 0.6,
        "max_tokens": 100,
        "reasoning_effort": "low",
    }
    assert sub.call_kwargs[1] == {
        "temperature": 0.4,
        "max_tokens": 50,
        "reasoning_effort": "high",
    }


@pytest.mark.parametrize("name", ["context", "llm_query", "llm-query", "FINAL", "class"])
def test_a_tool_that_cannot_be_a_name_in_a_cell_is_refused(name: str) -> None:
    from langchain_core.tools import StructuredTool

    odd = StructuredTool.from_function(lambda: 1, name=name, description="odd")
    with pytest.raises(ConfigurationError, match="tool name"):
        RLM(ScriptedChatModel(), tools=[odd]).generate("q", "text")
