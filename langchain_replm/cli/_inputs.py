"""Paths in, a context out: a text, or documents that know where they come from."""

from __future__ import annotations

import os
import re
import sys
from glob import glob, has_magic
from pathlib import Path
from typing import TYPE_CHECKING

from langchain_core.documents import Document

from langchain_replm.cli._terminal import say
from langchain_replm.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
LEFT_OUT = {"__pycache__", "node_modules"}


def read_context(paths: Sequence[str]) -> str | list[Document]:
    """One file or standard input is a text; anything else is a list of documents.

    Hidden files and files that are no text are left out of directories and globs, and counted on
    standard error. A file that is named must be text.

    Raises:
        ConfigurationError: A path is a URL, does not exist, cannot be read, or is no text.
    """
    named: list[tuple[str, bool]] = []
    for path in paths:
        named.extend(_expand(path))
    documents, skipped = [], 0
    for source, is_named in dict(named).items():
        text = _read(source, is_named=is_named)
        if text is None:
            skipped += 1
        else:
            documents.append(Document(text, metadata={"source": source}))
    if skipped:
        say(f"{skipped:,} files that are no text were left out")
    if not documents:
        msg = f"There is no text to read in {', '.join(paths)}."
        raise ConfigurationError(msg)
    if len(paths) == 1 and len(named) == 1 and named[0][1]:
        return documents[0].page_content
    return documents


def _expand(path: str) -> Iterator[tuple[str, bool]]:
    """Each file of a path, and whether it was named itself."""
    if URL.match(path):
        msg = f"{path} is a URL, and nothing is fetched here. Download it first: curl -o FILE URL"
        raise ConfigurationError(msg)
    if path == "-" or (os.path.exists(path) and not os.path.isdir(path)):  # noqa: PTH110, PTH112 - a path may be a pipe of the shell
        yield path, True
    elif os.path.isdir(path):  # noqa: PTH112 - as above
        yield from ((name, False) for name in _walk(path))
    elif has_magic(path):
        found = sorted(glob(path, recursive=True))  # noqa: PTH207 - relative and absolute alike
        if not found:
            msg = f"No file matches {path}."
            raise ConfigurationError(msg)
        for name in found:
            if os.path.isfile(name):  # noqa: PTH113 - as above
                yield name, False
    else:
        msg = f"There is no file or directory {path}."
        raise ConfigurationError(msg)


def _walk(folder: str) -> Iterator[str]:
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(n for n in folders if not n.startswith(".") and n not in LEFT_OUT)
        for name in sorted(names):
            path = Path(here, name)
            if not name.startswith(".") and path.is_file():
                yield str(path)


def _read(source: str, *, is_named: bool) -> str | None:
    if source == "-":
        if sys.stdin.isatty():
            say("reading standard input; end it with Ctrl-D")
        return sys.stdin.buffer.read().decode("utf-8", "replace")
    try:
        data = Path(source).read_bytes()
    except OSError as error:
        msg = f"{source} cannot be read: {error.strerror or error}."
        raise ConfigurationError(msg) from error
    if b"\0" in data[:8192]:
        if not is_named:
            return None
        msg = f"{source} is no text. Make text of it first (PDF: pdftotext, Word: pandoc)."
        raise ConfigurationError(msg)
    return data.decode("utf-8", "replace").replace("\r\n", "\n")
