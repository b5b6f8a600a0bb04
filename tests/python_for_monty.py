"""CPython in the place of Monty: the same host program, the same prelude, another interpreter.

The prelude is Python that two interpreters understand, so what it does must be the same in both. Here
it can be measured and debugged, too. Nothing is walled off: for cells of tests alone.
"""

from __future__ import annotations

import ast
import asyncio
import builtins
import inspect
import sys
import threading
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from langchain_replm.sandbox import _monty_worker, _worker
from langchain_replm.sandbox._pipes import Pipes, PipeTransport
from langchain_replm.sandbox.base import Sandbox


@dataclass
class Frame:
    filename: str
    function_name: str
    line: int


class PythonError(Exception):
    """What `pydantic_monty.MontyError` offers."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self._error = error

    def display(self, _: str) -> str:
        return f"{type(self._error).__name__}: {self._error}"

    def traceback(self) -> list[Frame]:
        found = traceback.extract_tb(self._error.__traceback__)
        return [Frame(one.filename, one.name, one.lineno or 0) for one in found]


class PythonSession:
    """What a session of Monty offers."""

    def __init__(self) -> None:
        self._feeds = 0
        self._names: dict[str, Any] = {"__name__": __name__}

    def feed_run(
        self, code: str, *, inputs: Any, external_lookup: Any, print_callback: Any
    ) -> None:
        def say(*values: Any, sep: str = " ", end: str = "\n") -> None:
            print_callback("stdout", sep.join(map(str, values)) + end)

        own = {**vars(builtins), "print": say}
        self._names.update(inputs, __builtins__=own, **external_lookup)
        try:
            if not self._feeds:
                code = self._run_prelude(code, inputs)
            self._run(code, f"<python-input-{self._feeds}>")
        except BaseException as error:
            raise PythonError(error) from None
        finally:
            self._feeds += 1

    def _run_prelude(self, code: str, inputs: Any) -> str:
        """Run the files under their names; give what follows after them."""
        (prefix,) = (name.removesuffix("limits") for name in inputs if name.endswith("limits"))
        for name in _monty_worker.PRELUDE:
            path = Path(_monty_worker.__file__).with_name(name)
            text = _monty_worker.PRIVATE.sub(prefix, path.read_text())
            assert code.startswith(text)
            self._run(text, str(path))
            code = code[len(text) + 1 :]
        return code

    def _run(self, code: str, filename: str) -> None:
        compiled = compile(code, filename, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        found = eval(compiled, self._names)  # noqa: S307 - cells of tests
        if inspect.iscoroutine(found):
            asyncio.run(found)


class _Transport(PipeTransport):
    def __init__(self) -> None:
        self._own = Pipes()
        super().__init__(self._own)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        link = _worker.Link(self._own.worker_read, self._own.worker_write, by_thread=True)
        try:
            setup, given = _worker.read_setup(link)
            repl: Any = _monty_worker.MontyRepl(setup, PythonSession(), link.call)
            repl.open(setup, given)
            link.repl = repl
            ready = {"type": "ready", "version": _worker.WIRE_VERSION, "python": sys.version}
            link.send(ready)
            threading.Thread(target=link.control, daemon=True).start()
            _worker._serve_commands(link, repl, {})
        finally:
            link.close()

    def interrupt(self) -> bool:
        return False

    def kill(self) -> None:
        self._end()

    def close(self) -> None:
        self.kill()
        self._close_pipes()
        self._thread.join(10)


class PythonSandbox(Sandbox):
    """Offers what `MontySandbox` offers, in a thread of this process."""

    @property
    def policy(self) -> Literal["full"]:
        return "full"

    def describe(self) -> str:
        return "CPython in the place of Monty."

    def open(self) -> _Transport:
        return _Transport()
