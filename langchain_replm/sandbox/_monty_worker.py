"""The worker of mode "monty": our wire on one side, pydantic-monty's interpreter on the other.

Started as `python ... _monty_worker.py READ_FD WRITE_FD CONFIG`. Cells do not run in this program.
It starts one process of Monty's, an interpreter that has no means to reach files, networks or other
programs, and feeds the cells to it. What the REPL offers is `_monty_prelude.py`. Rules:

1. Only text comes out of Monty: what a cell prints, and JSON that the prelude makes.
2. When Monty's process is lost, this program ends too, and the host rebuilds the session.
"""

from __future__ import annotations

import json
import os
import re
from functools import partial
from pathlib import Path

# As in `typing`, whose import would cost a worker a part of its start.
TYPE_CHECKING = False
if TYPE_CHECKING or __package__:
    from langchain_replm.sandbox import _monty_source, _worker, _worker_repl
    from langchain_replm.sandbox import _worker_text as texts
else:
    from importlib.machinery import SourceFileLoader
    from types import ModuleType

    def _load(name: str) -> ModuleType:
        """Load a sibling file, which is not on `sys.path`."""
        module = ModuleType(name)
        module.__file__ = str(Path(__file__).with_name(f"{name}.py"))
        SourceFileLoader(name, module.__file__).exec_module(module)
        return module

    _monty_source, _worker = _load("_monty_source"), _load("_worker")
    _worker_repl, texts = _worker._worker_repl, _worker._worker_text  # noqa: SLF001 - siblings

if TYPE_CHECKING:
    from typing import Any, Final, NoReturn

PRELUDE: Final = ("_monty_prelude.py", "_monty_calls.py")
PRIVATE: Final = re.compile(r"(?<![\w.])_(?=[A-Za-z])")
"""The one underscore before a name that is ours."""

MOST_NAMES: Final = 2_000
"""Security limit: variables that are looked at after a cell."""


class MontyRepl:
    """One namespace in Monty, and the same contract around it as in `_worker_repl.Repl`."""

    def __init__(self, setup: dict[str, Any], session: Any, call: Any) -> None:
        self.interrupted = False
        self._limits = setup["limits"]
        self._session = session
        self._call = call
        self._prefix = f"_{os.urandom(12).hex()}_"
        self._feeds = self._count = 0
        self._cells: dict[str, tuple[str, list[str]]] = {}
        self._names: dict[str, None] = {}
        self._own: dict[str, list[Any]] = {}
        self._seen: dict[str, list[Any]] = {}
        self._answers: list[dict[str, Any]] = []
        self._capture: Any = None
        self._restore = ""
        self._kept: list[str] = []
        self.reserved: frozenset[str] = frozenset()

    def open(self, setup: dict[str, Any], given: dict[str, Any]) -> None:
        """Make the names of the REPL."""
        names = [spec["name"] for spec in setup["functions"]]
        own = ["SubCallError", "FINAL", "FINAL_VAR", "SHOW_VARS"]
        hidden = ["globals", "dir", "print", *setup["policy"]["refused_builtins"]]
        self.reserved = frozenset([*given, *names, *own])
        p = self._prefix
        paths = [Path(__file__).with_name(name) for name in PRELUDE]
        text = [PRIVATE.sub(p, path.read_text("utf-8")) for path in paths]
        text += [_monty_source.definition(spec, p) for spec in setup["functions"]]
        for name, (error, message) in setup["policy"]["refused_builtins"].items():
            # EOFError is not among Monty's.
            kind = error if error != "EOFError" else "RuntimeError"
            text.append(f"def {name}(*a, **k): {p}refuse({kind}, {message!r})")
        text += [f"{name} = {p}data[{name!r}]" for name in given]
        kept = self._kept = [*given, *names, *own, *hidden]
        text += [f"{p}keep_{name} = {name}" for name in kept]
        back = [f"{name} = {p}keep_{name}" for name in kept]
        self._restore = "\n".join([f"answer = {p}restored(answer)", *back, f"{p}report()"])
        limits = {
            "answer_chars": self._limits["answer_chars"],
            "output_chars": self._limits["output_total_chars"],
            "shown_chars": self._limits["output_head_chars"] + self._limits["output_tail_chars"],
            "reserved": sorted(self.reserved),
        }
        defaults = {
            spec["name"]: {one["name"]: one["default"] for one in spec["parameters"]}
            for spec in setup["functions"]
        }
        inputs = {
            "limits": limits,
            "data": _monty_source.clean(given),
            "defaults": _monty_source.clean(defaults),
        }
        error = self._feed("\n".join(text), {p + name: inputs[name] for name in inputs})
        if error is not None:
            _lost(error)

    # What the outside calls; see `_worker_repl.Repl`.

    def renew(self, given: dict[str, Any]) -> None:
        """Put another datum in place of the first; the variables of cells stay."""
        p = self._prefix
        new = [name for name in given if name not in self._kept]
        self._kept += new
        self.reserved |= set(new)
        back = [f"{name} = {p}keep_{name}" for name in new]
        self._restore = "\n".join([*back, self._restore])
        text = [f"{name} = {p}keep_{name} = {p}data[{name!r}]" for name in given]
        error = self._feed("\n".join(text), {f"{p}data": _monty_source.clean(given)})
        if error is not None:
            _lost(error)

    def execute(self, cell_id: str, code: str) -> dict[str, Any]:
        """Run a cell and describe how it ended."""
        self._count += 1
        filename, code = f"<cell {self._count}>", _monty_source.clean(code)
        self._cells[f"<python-input-{self._feeds}>"] = (filename, code.splitlines())
        try:
            source = _monty_source.Source(filename, code, self.reserved, f"{self._prefix}echo")
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            text = texts.error_text(error, {}, {__file__}, 4_000)
            return _report(cell_id, text[-self._limits["error_chars"] :])
        for name in source.names:
            if not name.startswith("_") and name not in self._kept:
                self._names[name] = None
        return self._conduct(cell_id, f"{source.text}\n{self._prefix}after(answer)\nNone")

    def submit(self, cell_id: str, kind: str, text: str) -> dict[str, Any]:
        """Resolve an answer that was written outside of a cell."""
        return self._conduct(
            cell_id, f"{self._prefix}resolve({kind!r}, {_monty_source.clean(text)!r})\nNone"
        )

    def on_interrupt(self, *_: object) -> None:
        """Do nothing: Monty cannot be asked to stop, so a late cell is killed."""

    def is_late(self) -> bool:
        """Say no: there are no threads in Monty."""
        return False

    def is_cell_thread(self) -> bool:
        """Say yes, as above."""
        return True

    def take_interrupt(self) -> bool:
        """Say no: see `on_interrupt`."""
        return False

    # One cell from beginning to end.

    def _conduct(self, cell_id: str, code: str) -> dict[str, Any]:
        sizes = ("output_head_chars", "output_tail_chars", "output_total_chars")
        capture = self._capture = texts.Capture(*(self._limits[size] for size in sizes))
        self._answers.clear()
        names = list(self._names)[-MOST_NAMES:]
        error = self._feed(code, {f"{self._prefix}names": names})
        self._capture = None
        if self._feed(self._restore, {}) is not None:
            _lost("the REPL could not be restored")
        message = _report(cell_id, error)
        if self._answers:
            if error is not None and error.startswith("SystemExit"):
                message = _report(cell_id, None)
            message["answer"] = self._answers[0]  # the first one counts
        message["changed"], message["removed"] = self._changes()
        message["output_head"], message["output_tail"], message["output_chars"] = capture.result()
        return message

    def _feed(self, code: str, inputs: dict[str, Any]) -> str | None:
        """Let Monty run code; give the text of its error."""
        import pydantic_monty  # noqa: PLC0415 - an extra

        self._feeds += 1
        try:
            self._session.feed_run(
                code,
                inputs=inputs,
                external_lookup={f"{self._prefix}host": self._host},
                print_callback=self._print,
            )
        except pydantic_monty.MontyCrashedError as error:
            _lost(str(error))
        except pydantic_monty.MontyError as error:
            return self._error_text(error)
        except RuntimeError as error:
            _lost(str(error))  # an earlier feed took the process along
        return None

    def _print(self, _stream: str, text: str) -> None:
        if self._capture is not None:
            self._capture.write(text)

    def _host(self, request: str) -> str:
        message = json.loads(request)
        if "answer" in message:
            self._answers.append(message["answer"])
        elif "own" in message:
            self._own = message["own"]
        else:
            parts = texts.in_frames(message["items"], self._limits["frame_bytes"])
            call = partial(self._call, message["function"], message["kind"])
            results = [result for part in parts for result in call(part)]
            return json.dumps(_monty_source.clean(results), ensure_ascii=False)
        return ""

    def _changes(self) -> tuple[dict[str, str], list[str]]:
        seen, self._seen = self._seen, self._own
        changed = {name: item[1] for name, item in self._own.items() if seen.get(name) != item}
        removed = [name[: texts.NAME_CHARS] for name in seen if name not in self._own]
        if len(changed) > texts.SUMMARY_NAMES:
            rest = len(changed) - texts.SUMMARY_NAMES
            changed = dict(list(changed.items())[: texts.SUMMARY_NAMES])
            changed["..."] = f"and {rest:,} more"
        return (
            {
                name[: texts.NAME_CHARS]: item[: texts.SUMMARY_CHARS]
                for name, item in changed.items()
            },
            removed[: texts.SUMMARY_NAMES],
        )

    def _error_text(self, error: Any) -> str:
        name, _, detail = error.display("type-msg").partition(":")
        if name == "SystemExit":
            return "SystemExit: a cell cannot end the REPL; use FINAL(...) to submit the answer"
        frames = []
        for frame in getattr(error, "traceback", list)():
            filename, lines = self._cells.get(frame.filename, ("", []))
            if filename:
                where = frame.function_name or "<module>"
                entry = f'  File "{filename}", line {frame.line}, in {where}\n'
                if 0 < frame.line <= len(lines):
                    entry += f"    {lines[frame.line - 1].strip()[:200]}\n"
                frames.append(entry)
        most = texts.MAX_FRAMES
        if len(frames) > most:
            cut = f"  ... {len(frames) - most:,} frames left out ...\n"
            frames = [*frames[: most // 2], cut, *frames[-(most // 2) :]]
        text = f"{name}:{detail}" if detail else name
        if name in ("ModuleNotFoundError", "ImportError"):
            text += f". This REPL can import {', '.join(_monty_source.MODULES)}."
        text = ("Traceback:\n" + "".join(frames) if frames else "") + text
        text = text.replace(self._prefix, "_")
        limit: int = self._limits["error_chars"]
        return text if len(text) <= limit else "..." + text[3 - limit :]


def _report(cell_id: str, error: str | None) -> dict[str, Any]:
    return _worker_repl._blank_report(cell_id, error)  # noqa: SLF001 - its sibling


def _lost(why: str) -> NoReturn:
    os.write(2, why.encode("utf-8", "replace")[:2000])
    os._exit(1)


def open_session(link: Any, *, jail: dict[str, Any], **_: Any) -> MontyRepl:
    """Read the setup and the context, start Monty's process and build the REPL in it."""
    setup, given = _worker.read_setup(link)
    context_bytes = max(setup["context"]["bytes"], setup["room_bytes"])
    memory = max(jail["memory_bytes"], 4 * context_bytes + jail["extra_bytes"])
    try:
        repl = _start(setup, given, link, memory=memory, cpu_seconds=jail["cpu_seconds"])
    except Exception as error:  # noqa: BLE001 - whatever it is, no cell may run
        _lost(f"{type(error).__name__}: {error}")
    os.dup2(1, 2)
    return repl


def _start(
    setup: dict[str, Any], given: dict[str, Any], link: Any, *, memory: int, cpu_seconds: int
) -> MontyRepl:
    import pydantic_monty  # noqa: PLC0415 - an extra

    _limit_resources(memory, cpu_seconds)
    pool = pydantic_monty.Monty(min_processes=1, max_processes=1)
    session = pool.__enter__().checkout(
        limits={"max_memory": memory, "max_suspensions": 2**31 - 1},
        os_policy={"random_start": {"seed": setup["seed"]}, "sleep_system_max": float("inf")},
    )
    # Both end with this program.
    repl = MontyRepl(setup, session.__enter__(), link.call)
    repl.open(setup, given)
    link.repl = repl
    return repl


def _limit_resources(memory: int, cpu_seconds: int) -> None:
    """Bound what Monty's process may take should its own limits fail; it inherits these."""
    try:
        import resource  # noqa: PLC0415 - POSIX only
    except ImportError:
        return
    limits = {
        resource.RLIMIT_AS: 2 * memory + 2**30,
        resource.RLIMIT_CPU: cpu_seconds,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
    }
    for kind, wanted in limits.items():
        _, hard = resource.getrlimit(kind)
        value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (value, value))


if __name__ == "__main__":
    _worker.main(open_session)
