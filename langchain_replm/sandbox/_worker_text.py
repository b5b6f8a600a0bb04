"""Values to text, inside the worker: output, echoes, summaries, answers and errors, all bounded.

The standard library only, imported lazily where it is not needed by every session. Rules:

1. Text stops growing when it is long enough; nothing is built whole to be cut afterwards.
2. A value may lie, raise or never end in `__repr__`. Code of the cell's own classes is therefore
   called only while the cell runs (and can be interrupted), never for the summaries after it.
"""

from __future__ import annotations

import io
import sys
from _thread import RLock, get_ident
from types import BuiltinFunctionType, FunctionType, ModuleType

# As in `typing`, whose import would cost a worker a quarter of its start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from types import TracebackType
    from typing import Any, NoReturn

MAX_INT_BITS = 10_000
SUMMARY_CHARS = 120
SUMMARY_NAMES = 100
NAME_CHARS = 100
MAX_DEPTH = 30
MAX_FRAMES = 40
MAX_CHAIN = 3

ANSWER_VALUES = 1_000_000
"""Security limit: values inside an answer. A list shared ten levels deep has 10**10 of them."""

MISSING = object()


ITEMS_PER_CALL = 10_000
ENVELOPE_BYTES = 4096
"""What a call message holds besides its items."""


class OutputLimitError(RuntimeError):
    """A cell printed more than the session allows."""


class SubCallError(RuntimeError):
    """A sub-call or tool was refused or failed; in a batch it stands in the slot of its item."""

    # Cells know the class as their own, so that tracebacks and pickle use that name.
    __module__ = "__main__"


class _Awaitable:
    """What is there already, for code that awaits it.

    Models write `await llm_query(...)`, `asyncio.gather(...)` and `asyncio.create_task(...)`. With
    the methods of a coroutine (`collections.abc.Coroutine` asks for no more) all of them work.
    """

    __slots__ = ()

    def plain(self) -> Any:
        """Give the value as what it is without this class."""
        raise NotImplementedError

    def __await__(self) -> Generator[None, None, Any]:
        yield from ()
        return self

    def send(self, _value: object) -> NoReturn:
        """Finish at once, as a coroutine that never waits."""
        raise StopIteration(self)

    def throw(self, error: BaseException, *_rest: object) -> NoReturn:
        """Raise what the event loop throws in, for example a cancellation."""
        raise error

    def close(self) -> None:
        """Do nothing; there is nothing to close."""


class Reply(_Awaitable, str):
    """The reply of a sub-call: a `str` in every respect, and awaitable."""

    __slots__ = ()

    def plain(self) -> str:
        """Give an exact `str`."""
        return str.__str__(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return (str, (self.plain(),))


class Replies(_Awaitable, list):  # type: ignore[type-arg]  # `Any` is for the checker only
    """The replies of a batch: a `list` in every respect, and awaitable."""

    __slots__ = ()

    def plain(self) -> list[Any]:
        """Give an exact `list`."""
        return list(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return (list, (self.plain(),))


class Shown(str):
    """The text that `SHOW_VARS` has printed already, so that it is not echoed once more."""

    __slots__ = ()


# A model that asks `type(reply).__name__` shall not be led to think that it needs a conversion.
for _class, _name in ((Reply, "str"), (Replies, "list"), (Shown, "str")):
    _class.__name__ = _class.__qualname__ = _name


class Capture:
    """The output of one cell: its first and last characters, and its true length.

    Args:
        head_chars: How many first characters are kept.
        tail_chars: How many last characters are kept.
        total_chars: Beyond this, printing raises `OutputLimitError`.
    """

    def __init__(self, head_chars: int, tail_chars: int, total_chars: int) -> None:
        self.head_chars = head_chars
        self.tail_chars = tail_chars
        self.total_chars = total_chars
        self.chars = 0
        self._head = self._tail = ""
        self._parts: list[str] = []
        self._held = 0
        # Gathering small prints costs less than cutting at each; 64 Ki parts stay under 1 MB.
        self._flush_chars = max(head_chars + tail_chars, 4096)
        # Reentrant: a `__del__` that prints may run while this thread is inside `write`.
        self._lock = RLock()

    def write(self, text: str) -> int:
        """Take a piece of output.

        Raises:
            OutputLimitError: The cell has printed more than it may.
        """
        size = len(text)
        with self._lock:
            self.chars += size
            if self.chars > self.total_chars:
                msg = (
                    f"this cell has printed more than {self.total_chars:,} characters; "
                    "print less, for example counts and slices"
                )
                raise OutputLimitError(msg)
            if size > self._flush_chars:
                self._gather()
                self._take(text)
            else:
                self._parts.append(text)
                self._held += size
                if self._held > self._flush_chars or len(self._parts) > self._flush_chars:
                    self._gather()
        return size

    def result(self) -> tuple[str, str, int]:
        """Give head, tail and true length; nothing is missing when the lengths add up."""
        with self._lock:
            self._gather()
            return self._head, self._tail, self.chars

    def _gather(self) -> None:
        if self._parts:
            text = "".join(self._parts)
            self._parts.clear()
            self._held = 0
            self._take(text)

    def _take(self, text: str) -> None:
        room = max(0, self.head_chars - len(self._head))
        if room:
            self._head += text[:room]
        if len(text) > room and self.tail_chars:
            # Slices of the end only: `text` may be hundreds of megabytes.
            fresh = text[max(room, len(text) - self.tail_chars) :]
            self._tail = (self._tail + fresh)[-self.tail_chars :]


class Console(io.TextIOBase):
    """`sys.stdout` and `sys.stderr` of cells: writes to the capture of the running cell.

    What a thread of an ended cell prints is dropped, so that it cannot appear in the next one.
    """

    def __init__(self, is_late: Callable[[], bool]) -> None:
        self.capture: Capture | None = None
        self._is_late = is_late
        self._cell_thread = get_ident()

    @property
    def encoding(self) -> str:  # type: ignore[override]  # a plain attribute in typeshed
        """Name the encoding, which libraries ask for."""
        return "utf-8"

    def write(self, text: object, /) -> int:
        """Take a piece of output."""
        if type(text) is not str:
            if not isinstance(text, str):
                msg = f"write() argument must be str, not {type_name(text)}"
                raise TypeError(msg)
            text = str.__getitem__(text, slice(None))
        capture = self.capture
        if capture is None or (get_ident() != self._cell_thread and self._is_late()):
            return len(text)
        return capture.write(text)

    def writable(self) -> bool:
        """Say yes."""
        return True

    def close(self) -> None:
        """Stay open: the next cell prints too."""


class _FullError(Exception):
    """A sketch has reached its length."""


class Sketch:
    """A `repr` that stops early.

    Args:
        limit: Characters after which it stops.
        foreign: Whether `__repr__` of other than built-in types may be called.
    """

    def __init__(self, limit: int, *, foreign: bool) -> None:
        self._left = limit
        self._foreign = foreign
        self._parts: list[str] = []
        self._open: set[int] = set()

    def of(self, value: object) -> str:
        """Give the text of a value; it ends in `...` when it was cut."""
        try:
            self._visit(value, 0)
        except _FullError:
            self._parts.append("...")
        return "".join(self._parts)

    def _add(self, text: str) -> None:
        self._parts.append(text[: self._left])
        self._left -= len(text)
        if self._left < 0:
            raise _FullError

    def _visit(self, value: Any, depth: int) -> None:
        kind = type(value)
        if kind in (str, bytes, bytearray, Reply):
            self._add_string(value)
        elif kind in (list, tuple, set, frozenset, dict, Replies):
            if id(value) in self._open or depth >= MAX_DEPTH:
                self._add("...")
                return
            self._open.add(id(value))
            self._add_items(value, depth + 1)
            self._open.discard(id(value))
        elif kind is int and value.bit_length() > MAX_INT_BITS:
            # Python refuses to write integers of more than 4,300 digits.
            self._add(f"<int of {value.bit_length():,} bits>")
        elif kind in (int, float, complex, bool, type(None), range, type(Ellipsis)):
            self._add(repr(value))
        elif self._foreign:
            self._add(_foreign_repr(value, self._left))
        else:
            self._add(f"<{type_name(value)}>")

    def _add_string(self, value: Any) -> None:
        if len(value) > self._left:
            end = value[: max(0, self._left)]
            self._add(repr(end.plain() if isinstance(end, Reply) else end)[:-1])
            raise _FullError
        self._add(repr(value))

    def _add_items(self, value: Any, depth: int) -> None:
        kind: Any = type(value)
        opening, closing = {
            list: ("[", "]"),
            Replies: ("[", "]"),
            tuple: ("(", ",)" if len(value) == 1 else ")"),
            set: ("{", "}") if value else ("set(", ")"),
            frozenset: ("frozenset({", "})"),
            dict: ("{", "}"),
        }[kind]
        self._add(opening)
        items: Iterable[Any] = value.items() if kind is dict else value
        for index, item in enumerate(items):
            if index:
                self._add(", ")
            if kind is dict:
                self._visit(item[0], depth)
                self._add(": ")
                item = item[1]  # noqa: PLW2901 - the pair has been taken apart
            self._visit(item, depth)
        self._add(closing)


def _foreign_repr(value: object, limit: int) -> str:
    name = type_name(value)
    for base in (list, tuple, dict, set, frozenset, str, bytes):
        # The repr of a huge Counter or defaultdict would be built whole.
        if isinstance(value, base) and base.__len__(value) > max(limit, 1000):  # type: ignore[arg-type]
            return f"<{name} of {base.__len__(value):,} items>"  # type: ignore[arg-type]
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001 - __repr__ is code of the cell
        return f"<{name} object whose __repr__ raised {type_name(error)}>"
    return text if type(text) is str else str.__getitem__(text, slice(None))


def type_name(value: object) -> str:
    """Name the type of a value, even of one whose metaclass lies."""
    try:
        name = type.__getattribute__(type(value), "__name__")
    except Exception:  # noqa: BLE001 - a metaclass is code of the cell
        return "object"
    return name[:NAME_CHARS] if type(name) is str else "object"


def is_a(value: object, *kinds: type) -> bool:
    """As `isinstance`, but deaf to a `__class__` that lies: no code of the cell runs."""
    return any(issubclass(type(value), kind) for kind in kinds)


def is_from_cell(value: object) -> bool:
    """Say whether a function or class, or else the class of a value, was written in a cell."""
    if is_a(value, FunctionType):
        return bool(value.__module__ == "__main__")
    if is_a(value, BuiltinFunctionType):
        return False
    kind = value if is_a(value, type) else type(value)
    return bool(type.__getattribute__(kind, "__module__") == "__main__")


def echo(value: object, limit: int) -> str | None:
    """Give the text of a cell's last expression, as Jupyter would, or `None` for nothing."""
    if value is None or isinstance(value, Shown):
        return None
    if isinstance(value, Reply):
        return value.plain()
    if type(value) in (str, bytes) and len(value) > limit:  # type: ignore[arg-type]
        part = limit // 2 - 50
        first, last = repr(value[:part]), repr(value[-part:])  # type: ignore[index]
        return f"{first}\n... ({type_name(value)} of {len(value):,} in all) ...\n{last}"  # type: ignore[arg-type]
    return Sketch(limit, foreign=True).of(value)


def summarize(value: object) -> str:
    """Describe a variable in at most `SUMMARY_CHARS` characters without running code of cells."""
    try:
        text = _summary(value)
    except Exception as error:  # noqa: BLE001 - a summary must never fail a cell
        text = f"{type_name(value)} ({type_name(error)} while looking at it)"
    return text if len(text) <= SUMMARY_CHARS else text[: SUMMARY_CHARS - 3] + "..."


def _summary(value: object) -> str:
    if is_a(value, FunctionType, BuiltinFunctionType):
        return "function"
    if is_a(value, type):
        return "class"
    name = type_name(value)
    if value is None or type(value) in (bool, int, float, complex):
        text = Sketch(60, foreign=False).of(value)
        return text if value is None else f"{name}: {text}"
    for base, unit in (
        (str, "characters"),
        (bytes, "bytes"),
        (bytearray, "bytes"),
        (list, "items"),
        (tuple, "items"),
        (dict, "items"),
        (set, "items"),
        (frozenset, "items"),
    ):
        if is_a(value, base):
            size = base.__len__(value)  # type: ignore[arg-type]
            shown = value if type(value) in (base, Reply, Replies) else None
            start = f": {Sketch(60, foreign=False).of(shown)}" if shown else ""
            return f"{name}, {size:,} {unit}{start}"
    return f"{name}{_library_size(value)}"


def _library_size(value: object) -> str:
    kind = type(value)
    if is_from_cell(value):
        try:
            fields = object.__getattribute__(value, "__dict__")
        except AttributeError:
            return ""
        first = list(dict.items(fields))[:6]
        text = ", ".join(f"{key}={Sketch(30, foreign=False).of(item)}" for key, item in first)
        return f": {text}" if text else ""
    shape = getattr(kind, "shape", None) and getattr(value, "shape", None)
    if type(shape) is tuple:
        return f", shape {Sketch(40, foreign=False).of(shape)}"
    if hasattr(kind, "__len__"):
        return f", {len(value):,} items"  # type: ignore[arg-type]
    if isinstance(value, BaseException):
        return f": {Sketch(80, foreign=False).of(value.args[0] if value.args else '')}"
    return ""


def in_frames(items: list[dict[str, Any]], frame_bytes: int) -> Generator[list[dict[str, Any]]]:
    """Give the items of a batch in parts that one message each can hold, at least one in each."""
    import json  # noqa: PLC0415 - loaded already

    part: list[dict[str, Any]] = []
    left = frame_bytes - ENVELOPE_BYTES
    for item in items:
        # At most six bytes a character; the exact size takes longer to find.
        size = 6 * sum(len(value) for value in item.values() if isinstance(value, str))
        if size > frame_bytes // 64 or "context" in item:
            size = len(json.dumps(item, ensure_ascii=False).encode("utf-8", "surrogatepass"))
        size += 64
        if part and (size > left or len(part) >= ITEMS_PER_CALL):
            yield part
            part, left = [], frame_bytes - ENVELOPE_BYTES
        part.append(item)
        left -= size
    if part:
        yield part


def filled(name: str, items: Any, template: object) -> list[str]:
    """Put each item in the place of `{item}` in the template; other braces stay as they are."""
    import json  # noqa: PLC0415 - loaded already

    if not isinstance(template, str) or "{item}" not in template:
        msg = (
            f"{name} takes a template (str) with {{item}} where the item goes, in a plain string "
            'and not an f-string: llm_map(pages, "Which birds does this page name?\\n\\n{item}")'
        )
        raise ValueError(msg)
    if isinstance(items, str | bytes | dict) or not hasattr(items, "__iter__"):
        msg = f"{name} takes a list of items, not {type_name(items)}"
        raise TypeError(msg)
    prompts = []
    for index, item in enumerate(items):
        shown = item
        if not isinstance(item, str):
            try:
                shown = json.dumps(item, ensure_ascii=False, default=_jsonable)
            except (TypeError, ValueError, RecursionError):
                msg = f"{name}: item {index} is {type_name(item)}, which JSON cannot hold"
                raise TypeError(msg) from None
        prompts.append(template.replace("{item}", shown))
    return prompts


def answer_text(value: object, limit: int) -> tuple[str, bool]:
    """Turn what a cell submits into text.

    Returns:
        The text, and whether it is JSON (the value was no `str`).

    Raises:
        ValueError: There is no answer in the value, or it is too long.
    """
    if isinstance(value, str):
        text, is_json = str.__getitem__(value, slice(None)), False
    elif value is None:
        msg = "the answer is None; submit the text or value that answers the query"
        raise ValueError(msg)
    elif isinstance(value, ModuleType) or (callable(value) and hasattr(value, "__name__")):
        msg = f"the answer is a {type_name(value)}; submit its result, not the thing itself"
        raise ValueError(msg)
    else:
        _check_size(value, limit)
        text, is_json = _value_text(value, limit)
    if len(text) > limit:
        msg = f"the answer has {len(text):,} characters; at most {limit:,} can be submitted"
        raise ValueError(msg)
    return text, is_json


def _check_size(value: object, limit: int) -> None:
    left, chars, stack = ANSWER_VALUES, limit, [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            chars -= str.__len__(item)
        elif isinstance(item, dict):
            left -= dict.__len__(item)
            if left > 0:
                stack.extend(dict.keys(item))
                stack.extend(dict.values(item))
        elif isinstance(item, list | tuple | set | frozenset):
            left -= len(item)
            if left > 0:
                stack.extend(item)
        if left < 0 or chars < 0:
            msg = (
                f"the answer holds more than {ANSWER_VALUES:,} values or {limit:,} characters, "
                "or it contains itself; submit less"
            )
            raise ValueError(msg)


def _value_text(value: object, limit: int) -> tuple[str, bool]:
    import json  # noqa: PLC0415 - only needed here

    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=_jsonable)
        # What alone becomes a JSON string (a date, a Decimal) is text without the quotes.
        is_text = text.startswith('"')
        return (json.loads(text), False) if is_text else (text, True)
    except TypeError:
        pass
    except ValueError as error:
        # A circular value or an integer of too many digits has no other text either.
        if "Out of range float" not in str(error):
            raise
    except RecursionError:
        msg = "the answer is nested too deeply"
        raise ValueError(msg) from None
    # An object of a class of the cell, a key that is no text: whatever reads best.
    if type(value).__str__ is not object.__str__:
        text = str(value)
        return str.__getitem__(text, slice(None)), False
    return Sketch(limit, foreign=True).of(value), False


def _jsonable(value: Any) -> Any:
    """Give the JSON value that stands for one that JSON does not know."""
    kind = type(value)
    if hasattr(kind, "__dataclass_fields__"):
        return {name: getattr(value, name) for name in kind.__dataclass_fields__}
    if isinstance(value, set | frozenset):
        try:
            return sorted(value)
        except TypeError:
            return list(value)
    if hasattr(kind, "__members__"):  # an enum
        return value.value
    for method, arguments in (("model_dump", {"mode": "json"}), ("tolist", {}), ("isoformat", {})):
        if hasattr(kind, method):
            return getattr(value, method)(**arguments)
    if kind.__module__ in _READ_AS_TEXT:
        return str(value)
    raise TypeError


_READ_AS_TEXT = frozenset({"decimal", "fractions", "uuid", "pathlib", "_decimal", "_pydecimal"})


def error_text(
    error: BaseException, sources: dict[str, list[str]], own: set[str], limit: int
) -> str:
    """Describe an exception for the root model: frames of cells with their lines, no host paths.

    Args:
        error: What the cell raised.
        sources: Lines of source by pseudo file name of each cell.
        own: File names of the worker, whose frames are left out.
        limit: Longest text; its end is kept, for there stands the error itself.
    """
    blocks: list[str] = []
    seen: set[int] = set()
    current: BaseException | None = error
    joint = ""
    while current is not None and id(current) not in seen and len(blocks) < 2 * MAX_CHAIN:
        seen.add(id(current))
        if joint:
            blocks.append(joint)
        frames = _frames_text(current.__traceback__, sources, own)
        blocks.append((f"Traceback:\n{frames}" if frames else "") + _exception_line(current, limit))
        if current.__cause__ is not None:
            current, joint = current.__cause__, "The error above was the cause of this one:"
        elif current.__suppress_context__:
            break
        else:
            current, joint = current.__context__, "While the error above was handled, came this:"
    text = "\n".join(reversed(blocks))
    return text if len(text) <= limit else "..." + text[3 - limit :]


def _exception_line(error: BaseException, limit: int) -> str:
    name = type_name(error)
    if isinstance(error, SystemExit):
        return "SystemExit: a cell cannot end the REPL; use FINAL(...) to submit the answer"
    if isinstance(error, SyntaxError):
        return _syntax_error_text(error, name)
    try:
        text = str(error)
        notes = getattr(error, "__notes__", ())
        if type(notes) is list:
            text = "\n".join([text, *(note for note in notes if isinstance(note, str))])
    except Exception:  # noqa: BLE001 - __str__ is code of the cell
        text = "(its message cannot be shown)"
    if len(text) > limit:
        text = f"{text[: limit // 4]} ... {text[-(limit // 2) :]}"
    if isinstance(error, BaseExceptionGroup):
        text += "".join(f"\n  + {_exception_line(e, limit // 8)}" for e in error.exceptions[:8])
    return f"{name}: {text}" if text else name


def _syntax_error_text(error: SyntaxError, name: str) -> str:
    filename = error.filename or "?"
    if not filename.startswith("<"):
        filename = "a library file"
    text = f'  File "{filename}", line {error.lineno}\n'
    if isinstance(error.text, str):
        line = error.text.rstrip("\n")[:500]
        bare = line.lstrip()
        text += f"    {bare}\n"
        if error.offset is not None and error.offset >= 1:
            start = max(0, error.offset - 1 - (len(line) - len(bare)))
            end = error.end_offset or 0
            width = end - error.offset if error.end_lineno == error.lineno else 1
            text += f"    {' ' * start}{'^' * max(1, min(width, 100))}\n"
    return f"{text}{name}: {error.msg}"


def _frames_text(
    traceback: TracebackType | None, sources: dict[str, list[str]], own: set[str]
) -> str:
    entries: list[str] = []
    is_ours = False
    while traceback is not None:
        frame = traceback.tb_frame
        code, line = frame.f_code, traceback.tb_lineno
        traceback = traceback.tb_next
        if code.co_filename in own:
            is_ours = True
            continue
        if code.co_filename in sources or code.co_filename.startswith("<string"):
            is_ours = False
            entry = f'  File "{code.co_filename}", line {line}, in {code.co_name}\n'
            lines = sources.get(code.co_filename, [])
            if line is not None and 0 < line <= len(lines):
                entry += f"    {lines[line - 1].strip()[:200]}\n"
        elif is_ours:
            continue  # the library works for the worker here, not for the cell
        else:
            entry = f"  in module {str(frame.f_globals.get('__name__', '?'))[:NAME_CHARS]}\n"
            if entries and entries[-1] == entry:
                continue
        entries.append(entry)
    if len(entries) > MAX_FRAMES:
        half = MAX_FRAMES // 2
        cut = f"  ... {len(entries) - MAX_FRAMES:,} frames left out ...\n"
        entries = [*entries[:half], cut, *entries[-half:]]
    return "".join(entries)


def finder_of_late_threads() -> tuple[Callable[[], bool], Callable[[], None]]:
    """Tell threads of ended cells from those of the running one.

    Returns:
        `is_late()` for the calling thread, and `mark()`, called at the end of each cell.

    A thread that is alive when its cell ends is late from then on, unless it is an idle member of a
    `ThreadPoolExecutor`: a pool kept in a variable serves the next cell.
    """
    late: set[Any] = set()

    def key_of(ident: int) -> Any:
        # Identifiers are reused after a thread's end; thread objects are not.
        threading = sys.modules.get("threading")
        return getattr(threading, "_active", {}).get(ident, ident)

    def mark() -> None:
        frames = sys._current_frames()  # noqa: SLF001 - the documented way to see all threads
        me = get_ident()
        late.clear()
        for ident, frame in frames.items():
            # An idle pool thread waits in `concurrent.futures.thread._worker` itself.
            name = frame.f_globals.get("__name__"), frame.f_code.co_name
            if ident != me and name != ("concurrent.futures.thread", "_worker"):
                late.add(key_of(ident))

    return (lambda: key_of(get_ident()) in late), mark
