from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_replm.budget import NOTHING, Budget, Spend
from langchain_replm.config import RLMConfig


def test_admission_gives_what_is_left_and_remembers_a_refusal() -> None:
    budget = Budget(RLMConfig(max_sub_calls=5))
    assert budget.admit(3) == 3
    assert budget.limit_met() is None
    assert budget.admit(2) == 2
    assert budget.limit_met() is None, "using the limit up exactly has stopped nothing"
    assert budget.admit(1) == 0
    assert budget.limit_met() == "max_sub_calls"
    assert (budget.sub_calls, budget.sub_calls_left) == (5, 0)


def test_threads_together_never_get_more_than_the_limit() -> None:
    budget = Budget(RLMConfig(max_sub_calls=1_000))
    admitted: list[int] = []

    def take() -> None:
        admitted.extend(budget.admit(3) for _ in range(100))

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(admitted) == 1_000


def test_a_resumed_run_starts_with_what_was_spent() -> None:
    budget = Budget(RLMConfig(max_sub_calls=5))
    budget.restore(4, 3, Spend(50, 0.5))
    assert budget.admit(3) == 1
    assert budget.spent == Spend(50, 0.5)


# -- tokens and money ------------------------------------------------------------------------------


def test_what_is_reserved_is_settled_with_what_was_taken() -> None:
    budget = Budget(RLMConfig(max_total_tokens=100))
    assert budget.reserve(Spend(60)) == "admitted"
    budget.settle(Spend(60), Spend(10))
    assert (budget.spent, budget.tokens_left) == (Spend(10), 90)
    assert budget.reserve(Spend(90)) == "admitted"
    assert budget.limit_met() is None, "exactly all of it has stopped nothing"


def test_a_call_that_does_not_fit_beside_what_is_spent_is_refused() -> None:
    budget = Budget(RLMConfig(max_total_tokens=100))
    budget.reserve(Spend(60))
    budget.settle(Spend(60), Spend(60))
    assert budget.reserve(Spend(41), when_room=lambda: None) == "max_tokens"
    assert budget.limit_met() == "max_tokens"
    assert budget.spent == Spend(60), "a refusal spends nothing"


def test_a_call_that_does_not_fit_beside_running_ones_waits_for_them() -> None:
    budget = Budget(RLMConfig(max_total_tokens=100))
    told: list[str] = []
    budget.reserve(Spend(60))
    assert budget.reserve(Spend(60), when_room=lambda: told.append("room")) == "wait"
    assert (told, budget.limit_met()) == ([], None)
    budget.settle(Spend(60), Spend(5))
    assert told == ["room"], "told once, when something was settled"
    assert budget.reserve(Spend(60)) == "admitted"


def test_who_cannot_wait_is_refused() -> None:
    budget = Budget(RLMConfig(max_total_tokens=100))
    budget.reserve(Spend(60))
    assert budget.reserve(Spend(60)) == "max_tokens"


def test_only_the_closing_request_may_use_what_is_kept_for_it() -> None:
    budget = Budget(RLMConfig(max_total_tokens=100))
    budget.keep_for_closing(Spend(40))
    assert budget.tokens_left == 60
    assert budget.reserve(Spend(61)) == "max_tokens"
    assert budget.reserve(Spend(100), closing=True) == "admitted"


def test_money_is_not_refused_for_the_rounding_of_a_sum() -> None:
    budget = Budget(RLMConfig(max_cost_usd=0.3, cost_per_input_token=1, cost_per_output_token=1))
    for _ in range(3):
        assert budget.reserve(Spend(1, 0.1)) == "admitted"
        budget.settle(Spend(1, 0.1), Spend(1, 0.1))
    assert budget.reserve(Spend(1, 0.0001)) == "max_cost"
    assert budget.cost_left_usd == pytest.approx(0.0)


def test_the_first_limit_that_stopped_something_is_the_reason() -> None:
    budget = Budget(RLMConfig(max_total_tokens=10, max_sub_calls=0))
    budget.reserve(Spend(11))
    budget.admit(1)
    assert budget.limit_met() == "max_tokens"


def test_a_refused_tool_call_is_no_reason_to_stop() -> None:
    budget = Budget(RLMConfig(max_tool_calls=2))
    assert [budget.admit_tools(1) for _ in range(3)] == [1, 1, 0]
    assert (budget.limit_met(), budget.tool_calls_left) == (None, 0)
    assert Budget(RLMConfig()).admit_tools(1_000_000) == 1_000_000


def test_a_call_that_was_not_made_is_given_back() -> None:
    budget = Budget(RLMConfig(max_sub_calls=2))
    budget.admit(2)
    budget.give_back(1)
    assert (budget.sub_calls, budget.admit(2)) == (1, 1)


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(0, 40), st.booleans()), max_size=60),
    st.integers(1, 200),
)
def test_reservations_never_exceed_the_limit(calls: list[tuple[int, int, bool]], most: int) -> None:
    budget = Budget(RLMConfig(max_total_tokens=most))
    running: list[tuple[Spend, Spend]] = []
    spent = 0
    for estimate, taken, ends in calls:
        if budget.reserve(Spend(estimate), when_room=lambda: None) == "admitted":
            running.append((Spend(estimate), Spend(min(taken, estimate))))
        if ends and running:
            ended = running.pop(0)
            spent += ended[1].tokens
            budget.settle(*ended)
        assert spent + sum(item[0].tokens for item in running) <= most
        assert budget.spent.tokens == spent


# -- time ------------------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_work_ends_in_time_for_the_closing_request() -> None:
    clock = Clock()
    budget = Budget(RLMConfig(max_seconds=60), clock=clock)
    clock.now += 5
    assert (budget.seconds_left(), budget.seconds_left(closing=True)) == (55, 55)
    budget.root_replied(5.0)
    assert (budget.seconds_left(), budget.seconds_left(closing=True)) == (45, 55)
    budget.root_replied(1.0)
    assert budget.seconds_left() == 45, "the slowest reply counts"
    clock.now += 45
    assert budget.reserve(NOTHING) == "deadline"
    assert budget.reserve(NOTHING, closing=True) == "admitted"
    clock.now += 10
    assert budget.reserve(NOTHING, closing=True) == "deadline"


def test_the_closing_request_gets_at_least_a_second_and_at_most_half_of_the_time() -> None:
    for most, kept in ((100.0, 10.0), (6.0, 1.0), (1.0, 0.5)):
        budget = Budget(RLMConfig(max_seconds=most), clock=Clock())
        budget.root_replied(0.0)
        assert budget.seconds_left() == most - kept
    budget.root_replied(100.0)
    assert budget.seconds_left() == 0.5


def test_running_out_of_time_is_a_limit_met_only_once_somebody_looks() -> None:
    clock = Clock()
    budget = Budget(RLMConfig(max_seconds=1), clock=clock)
    assert not budget.out_of_time()
    clock.now += 2
    assert budget.limit_met() is None
    assert budget.out_of_time()
    assert budget.limit_met() == "deadline"


def test_the_time_of_earlier_calls_counts_after_a_resume() -> None:
    budget = Budget(RLMConfig(max_seconds=60), clock=Clock())
    budget.restore(0, seconds=50.0)
    assert budget.seconds_left() == 10


def test_without_a_limit_there_is_no_end() -> None:
    budget = Budget(RLMConfig())
    budget.root_replied(10.0)
    assert budget.seconds_left() is None
    assert not budget.out_of_time()


def test_a_stopped_budget_admits_nothing_and_wakes_who_waits() -> None:
    budget = Budget(RLMConfig(max_total_tokens=10))
    told: list[str] = []
    budget.reserve(Spend(10))
    assert budget.reserve(Spend(10), when_room=lambda: told.append("room")) == "wait"
    budget.stop()
    assert told == ["room"]
    assert budget.reserve(NOTHING) == "cancelled"


def test_what_is_granted_is_added_to_the_limit_that_was_met() -> None:
    config = RLMConfig(max_sub_calls=1, max_total_tokens=10, max_cost_usd=0.5, max_seconds=60)
    budget = Budget(config, clock=Clock())
    for limit, amount in (
        ("max_sub_calls", 2),
        ("max_tokens", 20),
        ("max_cost", 0.25),
        ("deadline", 30),
    ):
        budget.grant(limit, amount)
    limits = (budget.max_sub_calls, budget.max_total_tokens, budget.max_cost_usd)
    assert (*limits, budget.max_seconds) == (3, 30, 0.75, 90)
    unbounded = Budget(RLMConfig(), clock=Clock())
    for limit in ("max_tokens", "max_cost", "deadline"):
        unbounded.grant(limit, 1)
    assert (unbounded.max_total_tokens, unbounded.max_cost_usd, unbounded.max_seconds) == (
        None, None, None,
    )  # fmt: skip
