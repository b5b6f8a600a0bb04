"""What a run writes to its journal, under which keys, and how it finds it again."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, TypeVar

from langchain_core.messages.ai import UsageMetadata
from pydantic import BaseModel, Field, ValidationError

from langchain_replm.errors import RLMError
from langchain_replm.journal import journal_key
from langchain_replm.types import Iteration, Record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_replm.journal import Journal

Saved = TypeVar("Saved", bound=BaseModel)


class SavedCall(Record):
    """What came of a sub-call or a tool call that ended well."""

    text: str
    model: str | None = None
    usage: dict[str, UsageMetadata] = Field(default_factory=dict)
    cost_usd: float | None = None
    sub_calls: int = 0
    elapsed_seconds: float = 0.0
    child: tuple[Iteration, ...] = ()


class SavedReply(Record):
    """A root reply of a child run. Those of the run itself are in its checkpoints."""

    text: str
    usage: UsageMetadata | None = None
    cost_usd: float | None = None
    metadata: dict[str, str] = Field(default_factory=dict)
    elapsed_seconds: float = 0.0


class RunJournal:
    """The journal as one run sees it: what was recorded before, and where to record more."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._known: Mapping[str, str] = {}
        self._failure: Exception | None = None
        self.run_id: str = ""

    def begin(self, run_id: str) -> None:
        """A new run: nothing is known of it."""
        self.run_id = run_id

    def resume(self, run_id: str) -> None:
        """Read what an earlier call of a run has recorded.

        Raises:
            RLMError: The journal cannot be read.
        """
        self.run_id = run_id
        try:
            self._known = self._journal.read(run_id)
        except RLMError:
            raise
        except Exception as error:
            msg = f"The journal could not be read: {type(error).__name__}: {error}"
            raise RLMError(msg) from error

    def find(self, key: str, kind: type[Saved]) -> Saved | None:
        """The recorded result under a key, if there is one; asked before each call.

        Raises:
            RLMError: The entry was damaged or written by another version; or a result could not be
                written, and so the next one would be lost, too.
        """
        if self._failure is not None:
            raise _not_written(self._failure)
        entry = self._known.get(key)
        if entry is None:
            return None
        try:
            return kind.model_validate_json(entry)
        except (ValidationError, ValueError, TypeError) as error:
            msg = (
                f"An entry of the journal of run {self.run_id!r} is damaged or was written by "
                f"another version; forget the run's entries to make its calls again: {error}"
            )
            raise RLMError(msg) from error

    def knows(self, key: str) -> bool:
        """Whether an earlier call of the run has recorded something under a key."""
        return key in self._known

    def record(self, key: str, saved: BaseModel) -> None:
        """Write a result.

        Raises:
            RLMError: It could not be written. The run must stop: what it spends from here on would
                be lost.
        """
        try:
            self._journal.write(self.run_id, key, saved.model_dump_json())
        except Exception as error:
            self._failure = error
            if isinstance(error, RLMError):
                raise
            raise _not_written(error) from error


def _not_written(error: Exception) -> RLMError:
    return RLMError(f"The journal could not be written: {type(error).__name__}: {error}")


class CellKeys:
    """Keys for the calls of one cell."""

    def __init__(self, path: str, place: str, code: str) -> None:
        self._place = (path, place, code)
        self._asked: Counter[str] = Counter()

    def key(self, *asked: object) -> str:
        """The key of a call: the n-th equal call of the cell has a key of its own."""
        same = journal_key(*self._place, *asked)
        self._asked[same] += 1
        return journal_key(same, self._asked[same])

    def next_key(self, *asked: object) -> str:
        """The key that such a call would have if it were made now."""
        same = journal_key(*self._place, *asked)
        return journal_key(same, self._asked[same] + 1)
