"""The Python files of a directory, and sets of them with a given size."""

from __future__ import annotations

import os
import sysconfig
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from langchain_replm.errors import ConfigurationError
from langchain_replm.evals.tasks._base import CHARS_PER_TOKEN
from langchain_replm.evals.tasks._code_facts import FileFacts, facts_of

if TYPE_CHECKING:
    import random
    from collections.abc import Collection, Iterator

_SKIPPED = {"__pycache__", "node_modules", "site-packages", "dist-packages", "venv"}
_SKIPPED_IN_STDLIB = {"test", "tests", "idlelib", "lib2to3", "ensurepip", "turtledemo"}
_MOST_FILE_SHARE = 4
"""No file is larger than a fourth of the context, so that there are some."""
_TOLERANCE = 0.05
_TRIES = 20


class Repository:
    """The Python files below a directory: those of the standard library without one.

    Hidden directories and those of installed packages and caches are left out, and files that are
    not valid Python in UTF-8; of the standard library its tests and a few programs, too.

    Args:
        directory: Where to look; None for the standard library of this Python.

    Raises:
        ConfigurationError: There is no such directory, or no Python file in it.
    """

    def __init__(self, directory: str | Path | None) -> None:
        root = Path(directory or sysconfig.get_path("stdlib"))
        if not root.is_dir():
            msg = f"There is no directory {str(directory)!r}."
            raise ConfigurationError(msg)
        skipped = _SKIPPED if directory else _SKIPPED | _SKIPPED_IN_STDLIB
        self._texts: dict[str, str] = {}
        for path in sorted(_python_files(root, skipped)):
            self._read(root / path, path)
        if not self._texts:
            msg = f"There is no Python file in {str(directory)!r}."
            raise ConfigurationError(msg)
        self.facts = cache(self._facts)

    def _read(self, file: Path, path: str) -> None:
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return
        if text.strip():
            self._texts[path] = f"# file: {path}\n{text}"

    @property
    def tokens(self) -> int:
        """How many tokens all files have together."""
        return sum(map(len, self._texts.values())) // CHARS_PER_TOKEN

    def text(self, path: str) -> str:
        """The text of a file below a line with its path."""
        return self._texts[path]

    def _facts(self, path: str) -> FileFacts | None:
        return facts_of(path, self._texts[path])

    def _shuffled(self, rng: random.Random) -> Iterator[str]:
        groups: dict[str, list[str]] = {}
        for path in self._texts:
            groups.setdefault(path.rpartition("/")[0] or path, []).append(path)
        for group in rng.sample(list(groups), len(groups)):
            yield from rng.sample(groups[group], len(groups[group]))

    def choose(self, rng: random.Random, chars: int) -> list[FileFacts]:
        """Files that together have about `chars` characters; those of a directory stay together.

        Raises:
            ConfigurationError: The files do not add up to about that size.
        """
        nearest = 0
        for _ in range(_TRIES):
            chosen, size = self._fill(rng, chars)
            if size >= (1 - _TOLERANCE) * chars:
                return chosen
            nearest = max(nearest, size)
        msg = (
            f"There are no whole files with about {chars // CHARS_PER_TOKEN:,} tokens in all; the "
            f"nearest that was found has {nearest // CHARS_PER_TOKEN:,}."
        )
        raise ConfigurationError(msg)

    def _fill(self, rng: random.Random, chars: int) -> tuple[list[FileFacts], int]:
        chosen: list[FileFacts] = []
        left = chars
        for path in self._shuffled(rng):
            size = len(self._texts[path])
            if size > min(left, chars // _MOST_FILE_SHARE) or (facts := self.facts(path)) is None:
                continue
            chosen.append(facts)
            left -= size
        return chosen, chars - left


def _python_files(root: Path, skipped: Collection[str]) -> Iterator[str]:
    for where, directories, files in os.walk(root):
        directories[:] = [d for d in directories if d not in skipped and not d.startswith(".")]
        below = Path(where).relative_to(root)
        yield from ((below / file).as_posix() for file in files if file.endswith(".py"))


@cache
def standard_library() -> Repository:
    """The standard library of this Python, read once."""
    return Repository(None)
