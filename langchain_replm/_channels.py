"""How writes to the state become what it holds; LangGraph folds them when a checkpoint is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from langchain_replm.errors import RLMError

if TYPE_CHECKING:
    from collections.abc import Sequence

GO_ON_FROM: Final = (
    "Go on from an older checkpoint (its checkpoint_id in the config), or ask again on a new "
    "thread_id."
)
"""What to do about a damaged checkpoint."""


def record_steps(steps: list[dict[str, Any]], writes: Sequence[Any]) -> list[dict[str, Any]]:
    """What writes make of a trajectory.

    Iterations are appended; one with a number that is there replaces that one (somebody has edited
    it); None starts anew, also as the first item of a list. Writes are checkpointed one by one and
    folded when they are read: a channel that is written whole at every superstep grows with the
    square of the run.

    Raises:
        RLMError: A write is no list of iterations; the checkpoint was damaged.
    """
    steps = list(steps)
    for write in writes:
        if write is None:
            steps = []
            continue
        if isinstance(write, list) and write[:1] == [None]:
            steps, write = [], write[1:]  # noqa: PLW2901 - a run that goes on with another one
        if not isinstance(write, list) or not all(isinstance(step, dict) for step in write):
            msg = f"A write to the trajectory is no list of iterations: {str(write)[:80]!r}. "
            msg += GO_ON_FROM
            raise RLMError(msg)
        for step in write:
            numbers = [known.get("number") for known in steps]
            if step.get("number") in numbers:
                steps[numbers.index(step.get("number"))] = step
            else:
                steps.append(step)
    return steps


def add_runs(runs: list[dict[str, Any]], writes: Sequence[Any]) -> list[dict[str, Any]]:
    """What writes make of the session: finished runs in their order; None forgets them."""
    runs = list(runs)
    for write in writes:
        if write is not None and not isinstance(write, list):
            msg = f"A write to the session is no list of runs: {str(write)[:80]!r}. {GO_ON_FROM}"
            raise RLMError(msg)
        runs = [] if write is None else [*runs, *write]
    return runs
