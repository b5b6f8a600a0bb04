"""Typed sub-calls and `llm_map`, from cells in a real worker."""

from __future__ import annotations

import json
import threading
from collections import Counter
from typing import Any

import pytest

from langchain_replm import RLM, ModelPrice, RLMConfig, RLMResponse
from langchain_replm.testing import ScriptedChatModel
from tests.scenarios import cell

pytestmark = pytest.mark.usefixtures("nothing_left_behind")


def run(
    *lines: str, sub: Any = (), respond: Any = None, **config: Any
) -> tuple[RLMResponse, ScriptedChatModel]:
    model = ScriptedChatModel(replies=list(sub), respond=respond, model_name="sub")
    rlm = RLM(
        ScriptedChatModel(replies=[cell(*lines), cell("FINAL('no end')")]),
        sub_model=model,
        config=RLMConfig(**config),
    )
    return rlm.generate("q", "some text " * 200), model


def test_a_typed_reply_is_data_of_the_type_that_the_cell_has_named() -> None:
    response, model = run(
        "from dataclasses import dataclass",
        "@dataclass",
        "class Bird:",
        "    name: str",
        "    year: int = 0",
        "birds = llm_query('Which?', schema=list[Bird])",
        "FINAL([b.name + str(b.year) for b in birds])",
        sub=['Here:\n```json\n[{"name": "heron", "year": 3}, {"name": "stork"}]\n```'],
    )
    assert response.answer == '["heron3", "stork0"]'
    asked = str(model.calls[0][0].content)
    assert asked.startswith("Which?\n\nReply with JSON")
    assert '"required": [' in asked


def test_a_reply_that_does_not_fit_gets_one_more_call_with_the_reason() -> None:
    response, model = run(
        "FINAL(llm_query('Which year?', schema={'year': int})['year'])",
        sub=['{"year": "soon"}', '{"year": 1999}'],
    )
    assert (response.answer, response.sub_calls) == ("1999", 2)
    asked = str(model.calls[1][0].content)
    assert "$.year: 'soon' is not of type 'integer'" in asked
    assert "<reply " in asked
    (item,) = response.trajectory[0].cells[0].host_calls[0].items
    assert (item.typed, json.loads(item.response), item.sub_calls) == (True, {"year": 1999}, 2)
    tokens = [call.usage["sub"]["input_tokens"] for call in (item,)]
    assert tokens == [sum(-(-len(str(c[0].content)) // 4) for c in model.calls)]


def test_a_second_misfit_is_an_error_in_its_slot() -> None:
    response, model = run(
        "r = llm_query_batch(['a', 'b'], schema=int)",
        "FINAL([str(x) for x in r])",
        respond=lambda messages: "7" if "a\n" in messages[0].content[:3] else "many",
    )
    first, second = json.loads(response.answer)
    assert first == "7"
    assert "does not fit the schema" in second
    assert len(model.calls) == 3


def test_the_second_call_is_charged_and_not_made_over_the_limit() -> None:
    response, model = run(
        "r = llm_query_batch(['a'], schema=int)", "FINAL(str(r[0]))", sub=["many"], max_sub_calls=1
    )
    assert "does not fit the schema" in response.answer
    assert (response.sub_calls, len(model.calls)) == (1, 1)


def test_a_failed_second_call_keeps_the_reason_and_counts_both() -> None:
    response, _ = run(
        "r = llm_query_batch(['a'], schema=int)",
        "FINAL(str(r[0]))",
        sub=["many", RuntimeError("overloaded")],
    )
    assert "does not fit the schema" in response.answer
    assert "overloaded" in response.answer
    assert response.sub_calls == 2


def test_replies_that_never_fit_leave_no_price_unknown_in_silence() -> None:
    price = ModelPrice(input_usd_per_million=1.0, output_usd_per_million=1.0)
    root = ScriptedChatModel(
        replies=[cell("r = llm_query_batch(['a'], schema=int)", "FINAL(len(r))")], model_name="root"
    )
    sub = ScriptedChatModel(replies=["many", "more"], model_name="sub")
    priced = RLM(root, sub_model=sub, config=RLMConfig(prices={"root": price}))
    response = priced.generate("q", "some text")
    assert response.cost is None
    assert response.unpriced_models == ("sub",)


def test_a_schema_that_cannot_be_checked_is_refused_before_the_call() -> None:
    response, model = run(
        "try:", "    llm_query('a', schema=bytes)", "except TypeError as e:", "    why = str(e)",
        "FINAL(why)",
    )  # fmt: skip
    assert "cannot be said in JSON" in response.answer
    assert model.calls == []


def test_the_cache_tells_schemas_apart_and_holds_mended_replies() -> None:
    response, model = run(
        "a = llm_query('n?', schema=int)",
        "b = llm_query('n?', schema=int)",
        "c = llm_query('n?')",
        "d = llm_query('n?', schema=float)",
        "FINAL([a, b, c, d])",
        respond=lambda messages: "7" if "<reply " in messages[0].content else (
            "about 7" if "integer" in messages[0].content else "8"),
        cache_sub_calls=True,
    )  # fmt: skip
    assert response.answer == '[7, 7, "8", 8.0]' or json.loads(response.answer) == [7, 7, "8", 8]
    assert len(model.calls) == 4
    assert response.cache_hits == 1


def test_replay_gives_the_same_data_without_a_call() -> None:
    model = ScriptedChatModel(replies=['["x", "y"]'])
    rlm = RLM(
        ScriptedChatModel(
            replies=[
                cell("kept = llm_query('n?', schema=list[str])"),
                cell("import os, signal", "os.kill(os.getpid(), 9)"),
                cell("FINAL(kept)"),
            ]
        ),
        sub_model=model,
        config=RLMConfig(sandbox_mode="subprocess"),
    )
    assert rlm.generate("q", "text").answer == '["x", "y"]'
    assert len(model.calls) == 1


# -- llm_map ---------------------------------------------------------------------------------------


def test_a_map_keeps_order_and_asks_again_what_failed() -> None:
    seen: Counter[str] = Counter()
    lock = threading.Lock()

    def respond(messages: list[Any]) -> Any:
        text = messages[0].content
        with lock:
            seen[text] += 1
            count = seen[text]
        number = int(text.split()[-1])
        if number % 10 == 3 and count == 1:
            return RuntimeError("overloaded")
        return RuntimeError("gone") if number == 5 else f"r{number}"

    response, _ = run(
        "r = llm_map(range(40), 'About {\"n\": {}} {item}')",
        "bad = [i for i, x in enumerate(r) if isinstance(x, SubCallError)]",
        "FINAL([bad, [x for i, x in enumerate(r) if i != 5] == [f'r{i}' for i in range(40) if i != 5]])",
        respond=respond,
    )
    assert json.loads(response.answer) == [[5], True]
    assert seen['About {"n": {}} 5'] == 2
    assert seen['About {"n": {}} 13'] == 2
    assert seen['About {"n": {}} 7'] == 1
    assert response.sub_calls == 45


def test_a_map_does_not_ask_again_what_was_refused() -> None:
    response, model = run(
        "r = llm_map(['a'] * 10, '{item}', retries=3)",
        "FINAL(sum(isinstance(x, SubCallError) for x in r))",
        sub=["yes"],
        max_sub_calls=4,
    )
    assert response.answer == "6"
    assert len(model.calls) == 4
    assert len(response.trajectory[0].cells[0].host_calls) == 1


def test_a_typed_map_over_records() -> None:
    response, _ = run(
        "rows = [{'id': n} for n in range(3)]",
        "r = llm_map(rows, 'Double it: {item}', schema={'twice': int})",
        "FINAL(sum(x['twice'] for x in r))",
        respond=lambda m: json.dumps(
            {"twice": 2 * json.loads(m[0].content[10:].split("\n")[0])["id"]}
        ),
    )
    assert response.answer == "6"


def test_a_map_over_more_than_one_message_can_hold() -> None:
    # 60 prompts of 400,000 characters are 24 MB; one message holds 16.
    response, model = run(
        "r = llm_map(['x' * 400_000] * 60, 'n={item}')",
        "FINAL([len(r), len(set(r))])",
        sub=["ok"],
    )
    assert json.loads(response.answer) == [60, 1]
    assert len(model.calls) == 60
    calls = response.trajectory[0].cells[0].host_calls
    assert {call.function for call in calls} == {"llm_map"}
    assert len(calls) == 2


def children(*answers: str, **config: Any) -> tuple[RLMResponse, list[list[Any]]]:
    """A run whose child writes these answers in cells, one after the other."""
    mode = config.pop("sandbox_mode", "restricted")
    child = ScriptedChatModel(replies=[cell(f"FINAL({answer})") for answer in answers])
    root = ScriptedChatModel(
        replies=[
            cell(
                "r = rlm_query('Which year?', 'in 1999', schema={'year': int})",
                "FINAL(r['year'] + 1)",
            ),
            cell("FINAL('it failed')"),
        ]
    )
    settings = RLMConfig(max_recursion_depth=2, sandbox_mode=mode, **config)
    response = RLM(root, sub_model=child, config=settings).generate("q", "some text " * 200)
    return response, child.calls


@pytest.mark.parametrize("mode", ["restricted", "subprocess", "none", "monty"])
def test_a_child_answers_with_data_and_sends_back_itself_what_does_not_fit(mode: str) -> None:
    response, calls = children("'soon'", "{'year': 1999}", sandbox_mode=mode)
    assert response.answer == "2000"
    assert '"year": {' in calls[0][0].text
    assert "submit again" in calls[0][0].text
    assert "$: 'soon' is not of type 'object'" in calls[1][-1].text
    assert len(calls) == 2
    (item,) = response.trajectory[0].cells[0].host_calls[0].items
    assert (item.kind, item.typed, json.loads(item.response)) == ("rlm_query", True, {"year": 1999})
    assert len(item.child) == 2


def test_a_child_that_finds_nothing_that_fits_is_an_error_in_its_slot() -> None:
    response, _ = children("'soon'", max_iterations=2)
    assert response.answer == "it failed"
    error = response.trajectory[0].cells[0].error or ""
    assert "the reply does not fit the schema" in error
    assert "$" in error


def test_where_there_are_no_children_a_typed_query_is_a_typed_prompt() -> None:
    response, model = run(
        "r = rlm_query_batch(['Which year?', 'And now?'], ['in 1999', None], schema={'year': int})",
        "FINAL([one['year'] for one in r])",
        sub=['{"year": 1999}'],
    )
    assert response.answer == "[1999, 1999]"
    assert "Reply with JSON" in model.calls[0][0].text


@pytest.mark.parametrize("schema", ["5", "{'$ref': '#/x', 'type': 'object'}"])
def test_a_schema_that_cannot_be_used_starts_no_child(schema: str) -> None:
    root = ScriptedChatModel(
        replies=[cell(f"rlm_query('?', 'x', schema={schema})"), "FINAL(end x)"]
    )
    child = ScriptedChatModel(replies=["FINAL(a child)"])
    response = RLM(root, sub_model=child, config=RLMConfig(max_recursion_depth=2)).generate(
        "q", "some text"
    )
    assert response.trajectory[0].cells[0].error
    assert not child.calls
