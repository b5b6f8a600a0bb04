"""Rows of JSON, JSONL and Parquet files that the user has on disk, read when they are needed."""

from __future__ import annotations

import bisect
import json
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeAlias

from langchain_replm.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

Row: TypeAlias = dict[str, Any]


class _Source(Protocol):
    """One file of rows."""

    def __len__(self) -> int: ...

    def __getitem__(self, at: int, /) -> Any: ...

    def place(self, at: int) -> str: ...


class Rows:
    """The rows of a file, or of all files of a directory, checked when they are read.

    Args:
        path: A `.jsonl`, `.json` or `.parquet` file, or a directory of such.
        fields: Names that every row must have.
        task: Name of the task, for errors.
        origin: Where the data is to be had, for errors.

    Raises:
        ConfigurationError: There is no such file, it cannot be read, or a row is not an object with
            these fields.
    """

    def __init__(
        self, path: str | Path | None, *, fields: Collection[str], task: str, origin: str
    ) -> None:
        self._fields = fields
        self._task = task
        self._origin = origin
        self._sources = [self._open(file) for file in self._files(path)]
        self._ends = list(_running(map(len, self._sources)))
        if not len(self):
            self._refuse(f"{str(path)!r} has no rows")
        _ = self[0]  # a file of the wrong kind is told now

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, at: int) -> Row:
        source, within = self._find(at)
        try:
            row = source[within]
        except ValueError as error:
            self._refuse(f"{source.place(within)} is not JSON: {error}")
        if not isinstance(row, dict):
            self._refuse(f"{source.place(within)} is not an object")
        if missing := [name for name in self._fields if name not in row]:
            self._refuse(
                f"{source.place(within)} has no field {missing[0]!r}; it has {', '.join(row)}"
            )
        return row

    def __iter__(self) -> Iterator[Row]:
        return map(self.__getitem__, range(len(self)))

    def refuse(self, at: int, why: str) -> NoReturn:
        """Raise the error that says what is wrong with a row."""
        source, within = self._find(at)
        self._refuse(f"{source.place(within)}: {why}")

    def _find(self, at: int) -> tuple[_Source, int]:
        number = bisect.bisect_right(self._ends, at)
        return self._sources[number], at - (self._ends[number - 1] if number else 0)

    def _files(self, path: str | Path | None) -> Sequence[Path]:
        if path is None:
            self._refuse("it needs path=, a file or directory on this machine")
        place = Path(path)
        if place.is_dir():
            files = sorted(file for file in place.iterdir() if file.suffix in _SOURCES)
        else:
            files = [place]
        if not files or not files[0].is_file():
            self._refuse(f"there is no such file: {str(path)!r}")
        if files[0].suffix not in _SOURCES:
            self._refuse(f"{files[0].name!r} is none of {', '.join(_SOURCES)}")
        return files

    def _open(self, file: Path) -> _Source:
        try:
            return _SOURCES[file.suffix](file)
        except ImportError:
            self._refuse(f"{file.name!r} can be read only with pyarrow (pip install pyarrow)")
        except (OSError, ValueError) as error:
            self._refuse(f"{file.name!r} cannot be read: {error}")

    def _refuse(self, what: str) -> NoReturn:
        msg = f"The task {self._task!r}: {what}. {self._origin}"
        raise ConfigurationError(msg)


def _running(lengths: Iterator[int]) -> Iterator[int]:
    total = 0
    for length in lengths:
        total += length
        yield total


class _JsonLines:
    """Lines, found by their offsets: a file of many gigabytes is never in memory."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lines: list[tuple[int, int]] = []  # offset, number
        offset = 0
        with file.open("rb") as opened:
            for number, line in enumerate(opened, 1):
                if line.strip():
                    self._lines.append((offset, number))
                offset += len(line)

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, at: int) -> Any:
        with self._file.open("rb") as opened:
            opened.seek(self._lines[at][0])
            return json.loads(opened.readline())

    def place(self, at: int) -> str:
        return f"line {self._lines[at][1]} of {self._file.name!r}"


class _Json:
    """A list of objects, or an object with a single list of them."""

    def __init__(self, file: Path) -> None:
        self._file = file
        data = json.loads(file.read_bytes())
        if isinstance(data, dict):
            lists = [value for value in data.values() if isinstance(value, list)]
            data = lists[0] if len(lists) == 1 else None
        if not isinstance(data, list):
            msg = "it is not a list"
            raise ValueError(msg)  # noqa: TRY004 - of the same kind as broken JSON
        self._rows: list[Any] = data

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, at: int) -> Any:
        return self._rows[at]

    def place(self, at: int) -> str:
        return f"item {at + 1} of {self._file.name!r}"


class _Parquet:
    """Row groups, one at a time."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._opened = import_module("pyarrow.parquet").ParquetFile(file)
        groups = range(self._opened.metadata.num_row_groups)
        self._ends = list(
            _running(self._opened.metadata.row_group(group).num_rows for group in groups)
        )
        self._held: tuple[int, Any] = (-1, None)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, at: int) -> Any:
        group = bisect.bisect_right(self._ends, at)
        held, table = self._held
        if held != group:
            table = self._opened.read_row_group(group)
            self._held = (group, table)
        first = self._ends[group - 1] if group else 0
        return table.slice(at - first, 1).to_pylist()[0]

    def place(self, at: int) -> str:
        return f"row {at + 1} of {self._file.name!r}"


_SOURCES: dict[str, Callable[[Path], _Source]] = {
    ".jsonl": _JsonLines,
    ".json": _Json,
    ".parquet": _Parquet,
}
