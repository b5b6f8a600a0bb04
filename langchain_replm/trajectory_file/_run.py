"""What is read from a file: a run as a response, and what the file says besides."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_replm import report
from langchain_replm.errors import RLMError

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_replm.types import RLMResponse


class TrajectoryFileError(RLMError, ValueError):
    """A file is no trajectory file, or one of its lines is damaged. The message has the line."""


@dataclass(frozen=True, kw_only=True)
class RecordedRun:
    """A run as a file has it.

    Attributes:
        response: The run as a response. Of a run that is not finished: everything until the file
            breaks off, with the stop reason `"cancelled"`.
        finished: The run came to its end.
        run: Its name in the file.
        time: When it began (ISO 8601), as far as the file says.
        thread: The thread of its checkpointer, if it had one.
        config: The values of its `RLMConfig`.
        format: `"langchain-replm"`, or `"rlms"` for logs of the official package.
        notes: What is odd about the file: half a line, a line that could not be redacted.
    """

    response: RLMResponse
    finished: bool
    run: str
    time: str | None = None
    thread: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    format: str = "langchain-replm"
    notes: tuple[str, ...] = ()

    @property
    def ended(self) -> str:
        """The stop reason; `"unfinished"` if the file breaks off."""
        return self.response.stop_reason if self.finished else "unfinished"

    def to_html(self, path: str | Path) -> Path:
        """As `RLMResponse.to_html`; an unfinished run is called so."""
        one = self.response
        data = json.loads(one.model_dump_json(exclude={"history"}))
        record = json.dumps({**data, "stop_reason": self.ended, "notes": self.notes})
        page = report.render(record, query=one.query, answer=one.answer, stop_reason=self.ended)
        return report.write(page, path)
