from __future__ import annotations

import threading

from langchain_replm.budget import Budget
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
    budget.restore(4)
    assert budget.admit(3) == 1
