"""A text that stays in its file: read in pieces, verified by its hash, never held whole by us."""

from __future__ import annotations

import codecs
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from langchain_replm.errors import ConfigurationError, ContextNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PIECE_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Survey:
    """What one pass over a file tells."""

    sha256: str
    chars: int
    utf8_bytes: int
    head: str
    tail: str


class FileText:
    """The text of a UTF-8 file.

    Args:
        path: The file. It must not change while runs need it.
        sha256: What its hash must be; None takes it as it is.
    """

    def __init__(self, path: Path, sha256: str | None = None) -> None:
        self.path = path
        self.sha256: str | None = sha256
        self.utf8_bytes: int = 0

    def survey(self, shown_chars: int = 0) -> Survey:
        """Read the file once: hash, length, start and end.

        Raises:
            ConfigurationError: It is no file, or no UTF-8 text.
        """
        digest = hashlib.sha256(b"file")
        decoder = codecs.getincrementaldecoder("utf-8")()
        chars = size = 0
        head = tail = ""
        try:
            for piece in self._read():
                digest.update(piece)
                text = decoder.decode(piece)
                head += text[: shown_chars - len(head)]
                tail = (tail + text[-shown_chars:])[-shown_chars:] if shown_chars else ""
                chars += len(text)
                size += len(piece)
            decoder.decode(b"", final=True)
        except OSError as error:
            msg = f"The context file {str(self.path)!r} cannot be read: {error}"
            raise ConfigurationError(msg) from error
        except UnicodeDecodeError as error:
            msg = (
                f"The context file {str(self.path)!r} is no UTF-8 text (near byte {size:,}). "
                "Decode it yourself and pass the text."
            )
            raise ConfigurationError(msg) from error
        self.sha256, self.utf8_bytes = digest.hexdigest(), size
        return Survey(self.sha256, chars, size, head, tail)

    def pieces(self) -> Iterator[bytes]:
        """The file in pieces, for the worker.

        Raises:
            ContextNotFoundError: The file is gone, or is not the one that was surveyed.
        """
        digest = hashlib.sha256(b"file")
        size = 0
        try:
            for piece in self._read():
                size += len(piece)
                if size > self.utf8_bytes:
                    break
                digest.update(piece)
                yield piece
        except OSError as error:
            msg = f"The context file {str(self.path)!r} cannot be read any more: {error}"
            raise ContextNotFoundError(msg) from error
        if size != self.utf8_bytes or digest.hexdigest() != self.sha256:
            msg = (
                f"The context file {str(self.path)!r} has changed since the run began. Restore it, "
                "or ask again."
            )
            raise ContextNotFoundError(msg)

    def read(self) -> str:
        """The whole text, for cells that run in this process."""
        return b"".join(self.pieces()).decode("utf-8")

    def _read(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            while piece := file.read(PIECE_BYTES):
                yield piece
