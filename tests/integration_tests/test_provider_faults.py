"""Everything that calls models, against a provider that fails: nobody else pays, and every token is counted.

The provider keeps the books of what it has answered. The first time that it gets one of the chosen
requests it fails; the clients do not ask again by themselves, so that each fault reaches us.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from langchain_replm import RLM, ModelPrice, RLMConfig, RLMResponse, _compiled
from langchain_replm.budget import NOTHING, Budget
from langchain_replm.prompts import JUDGE, SUMMARISE
from tests.clients import chat_openai
from tests.openai_server import Fault, OpenAIServer, Reply, Request, count_tokens
from tests.scenarios import cell

pytestmark = pytest.mark.usefixtures("no_worker_left", "clients_closed")

FAULTS: dict[str, Fault] = {
    "429": Fault("status", status=429),
    "500": Fault("status", status=500),
    "reset": Fault("reset"),
    "slow": Fault("slow_first_byte", delay_seconds=0.05),
    "malformed": Fault("malformed"),
}
NO_ERROR = "slow"
PRICE = ModelPrice(input_usd_per_million=10.0, output_usd_per_million=100.0)
LIMITS: dict[str, Any] = {
    "max_total_tokens": 10_000_000,
    "max_cost_usd": 100.0,
    "root_max_tokens": 500,
    "sub_max_tokens": 50,
    "prices": {"root": PRICE, "sub": PRICE},
}
NUMBER = re.compile(r"\bn (\d+)")
SHOW = "FINAL([None if isinstance(x, SubCallError) else x for x in r])"


@dataclass(frozen=True)
class Case:
    """What the root model writes, and what must come of it with (`failed`) and without errors."""

    root: list[str]
    answer: Any
    failed: Any
    calls: int | None = 0
    """Sub-calls with nothing but late replies; None where it depends on who comes first."""
    calls_failed: int | None = 0
    config: dict[str, Any] = field(default_factory=dict)
    child: str = ""
    response_format: Any = None
    stop_reason: str = "answered"
    check: Callable[[RLMResponse], bool] = lambda _: True


def batch(count: int, *more: str) -> str:
    arguments = ", ".join([f"[f'n {{i}}' for i in range({count})]", *more])
    return f"r = llm_query_batch({arguments})"


def without(values: list[Any], *missing: int) -> list[Any]:
    return [None if at in missing else value for at, value in enumerate(values)]


def some_are_refused(response: RLMResponse) -> bool:
    """A batch of thirty got less than it asked for, and something."""
    items = [i for step in response.trajectory for call in step.host_calls() for i in call.items]
    made = sum(item.status in ("ok", "failed") for item in items)
    return len(items) == 30 and 0 < made < 30 and made == response.sub_calls


LONG_BATCH = "r = llm_query_batch([f'n {i} ' + 'word ' * 2_000 for i in range(30)])"
SEEN = [f"seen {n}" for n in range(12)]
YEAR = {"type": "object", "properties": {"year": {"type": "integer"}}, "required": ["year"]}
CASES = {
    "batch": Case([cell(batch(12), SHOW)], SEEN, without(SEEN, 0, 3, 6, 9), 12, 12),
    # What has failed is asked once more, and only that.
    "map": Case([cell("r = llm_map(range(12), 'n {item}')", SHOW)], SEEN, SEEN, 12, 16),
    # The replies to 1 and 4 do not fit; of the two repairs that of 4 meets the fault.
    "typed batch": Case(
        [cell(batch(6, "schema=int"), SHOW)],
        [0, 1, 2, 3, 4, 5],
        [None, 1, 2, None, None, 5],
        8,
        8,
    ),
    "typed map": Case(
        [cell("r = llm_map(range(6), 'n {item}', schema=int)", SHOW)],
        [0, 1, 2, 3, 4, 5],
        [0, 1, 2, 3, 4, 5],
        8,
        8 + 2 + 2,
    ),
    "typed answer": Case(
        [cell("FINAL({'year': 'soon'})"), cell("FINAL({'year': 3})")],
        {"year": 3},
        {"year": 3},
        response_format=YEAR,
        check=lambda response: response.structured_response == {"year": 3},
    ),
    "children": Case(
        [cell("r = rlm_query_batch(['go on'] * 3, ['a', 'b', 'c'])", SHOW)],
        ["a6", "b6", "c6"],
        ["a4", "b4", "c4"],
        3 + 18,
        3 + 18,
        config={"max_recursion_depth": 2},
        child=cell(
            "r = llm_query_batch([f'{context} n {i}' for i in range(6)])",
            "FINAL(context + str(sum(isinstance(x, str) for x in r)))",
        ),
    ),
    "candidates": Case(
        [cell(batch(3), "FINAL(len(r))")],
        3,
        3,
        9,
        9,
        config={"n_candidates": 3},
        check=lambda response: len(response.candidates) == 3,
    ),
    "judge": Case(
        [cell(batch(1), "FINAL('heron')"), cell("FINAL('stork')")],
        None,
        None,
        None,
        None,
        config={"n_candidates": 2},
        check=lambda response: response.answer in ("heron", "stork"),
    ),
    "compaction": Case(
        [cell(f"x{n} = {n}", f"print('{'word ' * 400}')") for n in range(4)] + [cell("FINAL(x3)")],
        3,
        3,
        config={"compact_above_tokens": 1_500},
        check=lambda response: any(step.summary for step in response.trajectory),
    ),
    "direct": Case(["seen"], "seen", "seen", config={"direct_below_chars": 1_000}),
    "max_sub_calls": Case(
        [cell(batch(12), "print(r)"), "FINAL(as far as it went)"],
        "as far as it went",
        "as far as it went",
        8,
        8,
        config={"max_sub_calls": 8},
        stop_reason="max_sub_calls",
    ),
    "max_total_tokens": Case(
        [cell(LONG_BATCH, "print(len(r))"), "FINAL(as far as it went)"],
        "as far as it went",
        "as far as it went",
        None,
        None,
        config={"max_total_tokens": 30_000, "metadata_prefix_chars": 200},
        stop_reason="max_tokens",
        check=lambda response: (
            some_are_refused(response)
            and response.total_input_tokens + response.total_output_tokens <= 30_000
        ),
    ),
    "max_cost_usd": Case(
        [cell(LONG_BATCH, "print(len(r))"), "FINAL(as far as it went)"],
        "as far as it went",
        "as far as it went",
        None,
        None,
        config={"max_cost_usd": 0.35, "metadata_prefix_chars": 200},
        stop_reason="max_cost",
        check=lambda response: some_are_refused(response) and (response.cost or 9) <= 0.35,
    ),
}


class Provider:
    """Answers by the case, fails as told, and keeps the books of what it has answered."""

    def __init__(self, case: Case, fault: Fault) -> None:
        self._case = case
        self._fault = fault
        self._failed: set[str] = set()
        self._turn = 0
        self.tokens_in = self.tokens_out = 0

    def __call__(self, request: Request) -> Reply | Fault:
        key = self._key(request)
        fails = key is not None and key not in self._failed
        if key is not None:
            self._failed.add(key)
        if fails and self._fault.kind != "slow_first_byte":
            return self._fault
        text = self._reply(request)
        self.tokens_in += request.prompt_tokens
        self.tokens_out += count_tokens(text)
        return Reply(text, delay_seconds=self._fault.delay_seconds if fails else 0.0)

    def _key(self, request: Request) -> str | None:
        """What a request is known by when it fails the first time; None for one that never does."""
        if SUMMARISE in request.last_text:
            return "notes"
        if request.model == "root" or request.system_text:
            return json.dumps(request.messages)
        number, mends = numbered(request.last_text)
        fails = number == 4 if mends else number % 3 == 0
        return request.last_text if fails else None

    def _reply(self, request: Request) -> str:
        text = request.last_text
        if SUMMARISE in text:
            return "notes about x0"
        if text.startswith(JUDGE):
            return "1"
        if request.system_text:
            if request.model == "sub":
                return self._case.child
            turn, self._turn = min(self._turn, len(self._case.root) - 1), self._turn + 1
            return self._case.root[turn]
        number, mends = numbered(text)
        if "JSON" in text:
            return "many" if number in (1, 4) and not mends else str(number)
        return f"seen {number}"


def numbered(prompt: str) -> tuple[int, bool]:
    found = NUMBER.search(prompt)
    assert found is not None, prompt
    return int(found[1]), "<reply " in prompt


@pytest.fixture
def budgets(monkeypatch: pytest.MonkeyPatch) -> list[Budget]:
    """The ledgers of the runs of a test."""
    made: list[Budget] = []

    def make(config: RLMConfig) -> Budget:
        made.append(Budget(config))
        return made[-1]

    monkeypatch.setattr(_compiled, "Budget", make)
    return made


async def run(case: Case, fault: Fault, colour: str) -> tuple[RLMResponse, Provider]:
    provider = Provider(case, fault)
    with OpenAIServer(provider) as server:
        rlm = RLM(
            chat_openai("root", server, timeout=10),
            sub_model=chat_openai("sub", server, timeout=10),
            config=RLMConfig(**(LIMITS | case.config)),
            response_format=case.response_format,
        )
        text = "some text"
        if colour == "sync":
            response = rlm.generate("q", text)
        else:
            response = await rlm.agenerate("q", text)
        assert server.script_errors == []
        assert server.fault_count > 0 or fault.kind == "slow_first_byte"
    return response, provider


def check_books(response: RLMResponse, provider: Provider, budget: Budget) -> None:
    """The provider, the ledger and the response tell the same, and nothing is still reserved."""
    tokens = provider.tokens_in + provider.tokens_out
    assert response.total_input_tokens == provider.tokens_in
    assert response.total_output_tokens == provider.tokens_out
    assert budget.spent.tokens == tokens
    cost = (provider.tokens_in * 10 + provider.tokens_out * 100) / 1e6
    assert response.cost == pytest.approx(cost)
    assert budget.spent.cost_usd == pytest.approx(cost)
    assert budget.sub_calls == response.sub_calls
    assert budget._held == NOTHING


# Each case meets each fault, and the colours take turns: twice as many runs would find no more.
TURNS = [
    pytest.param(name, fault, ("sync", "async")[(row + column) % 2], id=f"{name}-{fault}")
    for row, name in enumerate(CASES)
    for column, fault in enumerate(FAULTS)
]


@pytest.mark.parametrize(("name", "fault", "colour"), TURNS)
async def test_a_fault_costs_nobody_else_and_every_token_is_counted(
    name: str, fault: str, colour: str, budgets: list[Budget]
) -> None:
    case = CASES[name]
    response, provider = await run(case, FAULTS[fault], colour)
    assert response.stop_reason == case.stop_reason
    wanted = case.answer if fault == NO_ERROR else case.failed
    if wanted is not None:
        given = response.answer if isinstance(wanted, str) else json.loads(response.answer)
        assert given == wanted
    calls = case.calls if fault == NO_ERROR else case.calls_failed
    assert calls is None or response.sub_calls == calls
    assert case.check(response)
    check_books(response, provider, budgets[0])
