"""Random trees of runs, sub-calls and failures: what is reported is what a counting model has seen."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, SystemMessage

from langchain_replm import RLM, ModelPrice, RLMConfig, RLMResponse
from langchain_replm.testing import ScriptedChatModel
from langchain_replm.types import Iteration

PLAY = """\
import json
plan = json.loads({plan!r})
for kind, items in plan["batches"]:
    if kind == "llm":
        llm_query_batch(items)
    else:
        rlm_query_batch([json.dumps(item) for item in items], ["text"] * len(items))
FINAL("done")
"""

prompts = st.sampled_from(["a", "b", "bad", "a longer prompt " * 9, ""])
leaves = st.fixed_dictionaries(
    {
        "batches": st.lists(
            st.tuples(st.just("llm"), st.lists(prompts, min_size=1, max_size=5)), max_size=2
        ),
        "fails": st.booleans(),
    }
)


def above(plans: Any) -> Any:
    batches = st.tuples(st.just("llm"), st.lists(prompts, min_size=1, max_size=5)) | st.tuples(
        st.just("rlm"), st.lists(plans, min_size=1, max_size=3)
    )
    return st.fixed_dictionaries({"batches": st.lists(batches, max_size=3), "fails": st.booleans()})


trees = above(above(leaves))


class Counting:
    """A model that plays root at every depth and counts what it has told."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.failed: set[str] = set()
        self.root_calls = self.sub_calls = self.tokens = 0
        self.cost = 0.0
        self.model = ScriptedChatModel(respond=self.respond, model_name="m")

    def respond(self, messages: list[BaseMessage]) -> Any:
        is_root = isinstance(messages[0], SystemMessage)
        with self._lock:
            self.root_calls += is_root
            self.sub_calls += not is_root
            reply = self._as_root(messages) if is_root else self._as_sub(messages)
            if isinstance(reply, str):
                message = AIMessage(reply)
                tokens_in = sum(len(str(item.content)) for item in messages) // 4
                tokens_out = len(reply) // 4
                message.usage_metadata = {
                    "input_tokens": tokens_in,
                    "output_tokens": tokens_out,
                    "total_tokens": tokens_in + tokens_out,
                }
                self.tokens += tokens_in + tokens_out
                self.cost += (tokens_in * 1 + tokens_out * 4) / 1e6
                return message
            return reply

    def _as_root(self, messages: list[BaseMessage]) -> Any:
        plan = str(messages[1].content).split("Query:\n", 1)[1].split("\n", 1)[0]
        if json.loads(plan)["fails"] and plan not in self.failed:
            self.failed.add(plan)
            return RuntimeError("the root is busy")
        if len(messages) > 2:  # the closing request
            return "closed"
        return "```repl\n" + PLAY.replace("{plan!r}", repr(plan)) + "```"

    def _as_sub(self, messages: list[BaseMessage]) -> Any:
        text = str(messages[-1].content)
        return RuntimeError("bad prompt") if text == "bad" else f"re: {text}"


@dataclass
class Seen:
    roots: int = 0
    children: int = 0
    asked: int = 0


def walk(steps: tuple[Iteration, ...], seen: Seen) -> Seen:
    for step in steps:
        seen.roots += not (step.error or "").startswith("there was no room")
        for call in step.host_calls():
            for item in call.items:
                is_child = item.kind == "rlm_query" and bool(item.child)
                seen.children += is_child
                seen.asked += item.sub_calls == 1 and not is_child
                walk(item.child, seen)
    return seen


limits = st.fixed_dictionaries(
    {},
    optional={
        "max_sub_calls": st.integers(0, 12),
        "max_total_tokens": st.integers(12_000, 30_000),
        "max_cost_usd": st.floats(0.03, 0.08),
        "max_concurrency": st.integers(1, 4),
    },
)


@given(trees, limits, st.booleans(), st.sampled_from([1, 2, 3]), st.booleans())
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_totals_are_the_sum_over_all_model_calls(
    tree: Any, limit: dict[str, Any], cache: bool, depth: int, in_async: bool
) -> None:
    counting = Counting()
    config = RLMConfig(
        cache_sub_calls=cache,
        max_recursion_depth=depth,
        sandbox_mode="none",
        root_max_tokens=500,
        sub_max_tokens=100,
        metadata_prefix_chars=200,
        prices={"m": ModelPrice(input_usd_per_million=1, output_usd_per_million=4)},
        **limit,
    )
    rlm = RLM(counting.model, config=config)
    query = json.dumps(tree)
    response: RLMResponse = (
        asyncio.run(rlm.agenerate(query, "text")) if in_async else rlm.generate(query, "text")
    )
    seen = walk(response.trajectory, Seen())
    assert response.total_input_tokens + response.total_output_tokens == counting.tokens
    assert response.cost is not None
    assert abs(response.cost - counting.cost) < 1e-12
    assert counting.sub_calls == seen.asked
    assert response.sub_calls == seen.asked + seen.children
    assert counting.root_calls == seen.roots
    assert response.sub_calls <= config.max_sub_calls
    assert counting.tokens <= limit.get("max_total_tokens", counting.tokens)
    assert counting.cost <= limit.get("max_cost_usd", counting.cost)
    if response.stop_reason == "answered":
        assert response.answer == "done"
