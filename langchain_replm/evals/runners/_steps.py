"""A function as a link of a chain, in both colours, without a thread for the async one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.runnables import RunnableLambda

if TYPE_CHECKING:
    from collections.abc import Callable


def step(function: Callable[[Any], Any], *, name: str | None = None) -> RunnableLambda[Any, Any]:
    """The function as a Runnable; it must be quick, since it runs in the event loop."""

    async def called(value: Any) -> Any:
        return function(value)

    return RunnableLambda(function, afunc=called, name=name or "step")
