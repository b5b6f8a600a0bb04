"""An hour of work in seconds: 10,000 sub-calls over three depths, 2 % of them failing, counted exactly.

Time is compressed: the models answer at once. Everything else is real: the loop, the budget, the
worker processes, the children with a REPL of their own.
"""

from __future__ import annotations

import hashlib
import threading
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, SystemMessage

from langchain_replm import RLM, ModelPrice, RLMConfig, RLMResponse
from langchain_replm.testing import ScriptedChatModel
from langchain_replm.types import Iteration, SubCall
from tests.scenarios import cell

pytestmark = pytest.mark.usefixtures("no_worker_left")

CHILDREN, GRANDCHILDREN = 4, 3
AT_ROOT, AT_CHILD, AT_GRANDCHILD = 4_000, 900, 200
CALLS = AT_ROOT + CHILDREN * (AT_CHILD + GRANDCHILDREN * AT_GRANDCHILD)
ALL_CALLS = CALLS + CHILDREN + CHILDREN * GRANDCHILDREN
IN_PRICE, OUT_PRICE = 0.25, 2.0


def ask(count: int, children: int, name: str) -> str:
    lines = [
        f"r = llm_query_batch([f'{name} {{context}} {{i}}' for i in range({count})])",
        "bad = sum(isinstance(x, SubCallError) for x in r)",
    ]
    if children:
        lines += [
            f"c = rlm_query_batch(['go on'] * {children}, [f'{{context}}.{{i}}' for i in range({children})])",
            "bad += sum(int(x) for x in c)",
        ]
    return cell(*lines, "FINAL(bad)")


class Provider:
    """Answers at once, fails for 2 % of the prompts, and keeps the books."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.root_calls = self.calls = self.failures = self.tokens_in = self.tokens_out = 0
        self.model = ScriptedChatModel(respond=self.respond, model_name="m")

    def respond(self, messages: list[BaseMessage]) -> Any:
        is_root = isinstance(messages[0], SystemMessage)
        text = str(messages[-1].content)
        fails = not is_root and hashlib.sha256(text.encode()).digest()[0] < 5  # 5 of 256
        with self._lock:
            self.root_calls += is_root
            self.calls += not is_root
            self.failures += fails
            if fails:
                return RuntimeError("overloaded")
            reply = self._cell(str(messages[0].content)) if is_root else f"re: {text}"
            tokens_in = sum(len(str(message.content)) for message in messages) // 4
            tokens_out = len(reply) // 4
            self.tokens_in += tokens_in
            self.tokens_out += tokens_out
        usage: Any = {
            "input_tokens": tokens_in,
            "output_tokens": tokens_out,
            "total_tokens": tokens_in + tokens_out,
        }
        return AIMessage(reply, usage_metadata=usage)

    def _cell(self, system: str) -> str:
        if "at depth 2" in system:
            return ask(AT_GRANDCHILD, 0, "c")
        if "at depth 1" in system:
            return ask(AT_CHILD, GRANDCHILDREN, "b")
        return ask(AT_ROOT, CHILDREN, "a")


def items(steps: tuple[Iteration, ...]) -> list[SubCall]:
    found = []
    for step in steps:
        for call in step.host_calls():
            for item in call.items:
                found.append(item)
                found.extend(items(item.child))
    return found


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_ten_thousand_calls_are_counted_to_the_token(colour: str) -> None:
    provider = Provider()
    config = RLMConfig(
        max_recursion_depth=3,
        max_sub_calls=ALL_CALLS,
        max_total_tokens=100_000_000,
        max_cost_usd=100.0,
        root_max_tokens=1_000,
        sub_max_tokens=1_000,
        prices={"m": ModelPrice(input_usd_per_million=IN_PRICE, output_usd_per_million=OUT_PRICE)},
    )
    rlm = RLM(provider.model, config=config)
    response: RLMResponse = (
        rlm.generate("q", "x") if colour == "sync" else await rlm.agenerate("q", "x")
    )
    assert response.stop_reason == "answered"
    assert response.answer == str(provider.failures)
    assert 0.01 < provider.failures / CALLS < 0.03
    assert provider.calls == CALLS == 10_000
    assert provider.root_calls == 1 + CHILDREN + CHILDREN * GRANDCHILDREN
    assert response.sub_calls == ALL_CALLS
    assert response.total_input_tokens == provider.tokens_in
    assert response.total_output_tokens == provider.tokens_out
    paid = (provider.tokens_in * IN_PRICE + provider.tokens_out * OUT_PRICE) / 1e6
    assert response.cost == pytest.approx(paid, rel=1e-9)
    records = items(response.trajectory)
    assert len(records) == ALL_CALLS
    assert sum(record.status == "failed" for record in records) == provider.failures
    assert all(
        record.response.startswith("re: ")
        for record in records
        if record.status == "ok" and not record.child
    )
