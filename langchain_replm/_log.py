"""What goes into the log, at which level: no text of the user above DEBUG.

The text of a context, a query, a prompt or a reply may stand anywhere: in the preview of an event,
in the error of a provider that quotes the prompt, in the exception of a listener. So above DEBUG
there are only numbers, our own words, and the types of errors.
"""

from __future__ import annotations

import logging
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_replm.events import RLMEvent

logger = logging.getLogger("langchain_replm")

FACTS = (
    "cell",
    "kind",
    "status",
    "stop_reason",
    "prompt_chars",
    "response_chars",
    "iterations",
    "sub_calls",
    "cache_hits",
    "input_tokens",
    "output_tokens",
    "cost_usd",
    "elapsed_seconds",
)
"""What of an event's detail is never a text of the user."""


def log_event(event: RLMEvent, level: int) -> None:
    """Log an event: its facts, and at DEBUG its preview too."""
    if not logger.isEnabledFor(level):
        return
    known = {name: event.detail[name] for name in FACTS if event.detail.get(name) is not None}
    facts = " ".join(f"{name}={value}" for name, value in known.items())
    text = event.preview if level <= logging.DEBUG else ""
    logger.log(
        level, "%s depth=%d iteration=%d %s %s",
        event.type, event.depth, event.iteration, facts, text,
    )  # fmt: skip


def log_failure(what: str, error: BaseException) -> None:
    """Warn of a failure that the run survives; its message and traceback go to DEBUG."""
    where = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        where = f" in {frame.f_code.co_name}, line {line}"
    logger.warning("%s: %s%s; the run goes on", what, type(error).__name__, where)
    logger.debug("%s", what, exc_info=error)
