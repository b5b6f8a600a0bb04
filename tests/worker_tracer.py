"""Runs a worker's program and notes each step from line to line, for `make coverage` alone.

`python FLAGS worker_tracer.py MAP PROGRAM ARGUMENTS...` runs the program as `python FLAGS PROGRAM
ARGUMENTS...` would. Behind its jail a worker has no file to write to, and it ends by SIGKILL; so the
steps are noted in MAP, a file that all workers have mapped into memory, one byte for each pair of
lines of each file. Standard library only: the program may run without site-packages.
"""

from __future__ import annotations

import _thread
import opcode
import os
import sys
from contextlib import suppress
from types import ModuleType

NAMES = (
    "_worker.py",
    "_worker_text.py",
    "_worker_repl.py",
    "_worker_schema.py",
    "_jail.py",
    "_monty_worker.py",
    "_monty_source.py",
    "_remote.py",
)
LINES = 1024
"""A file is shorter than this; the entry and the exit of a function have negative numbers."""

SPAN = 2 * LINES
MAP_BYTES = len(NAMES) * SPAN * SPAN
RESUMED = 0x20 | 0x80 | 0x200
"""`inspect.CO_GENERATOR`, `CO_COROUTINE`, `CO_ASYNC_GENERATOR`: these leave and come back."""

RESUME, PUSH_EXC_INFO = opcode.opmap["RESUME"], opcode.opmap["PUSH_EXC_INFO"]
"""What stands where one of them has left to come back, and where the way to a handler begins; as
coverage's own tracer does, a line that is met only on such a way is not counted."""


def _map(path):
    import mmap

    before = set(os.listdir("/proc/self/fd"))
    fd = os.open(path, os.O_RDWR)
    memory = mmap.mmap(fd, MAP_BYTES)
    os.close(fd)
    # The mapping holds a descriptor of its own, which no cell shall find.
    for name in set(os.listdir("/proc/self/fd")) - before:
        with suppress(OSError):  # the one that listed the others
            os.close(int(name))
    del sys.modules["mmap"], sys.modules["opcode"]
    return memory


def _is_left(frame):
    """Say whether a function returns for good; one that only yields comes back."""
    code = frame.f_code
    if not code.co_flags & RESUMED:
        return True
    at = frame.f_lasti
    return RESUME not in (code.co_code[at], *code.co_code[at + 2 : at + 3])


def make_tracer(memory):
    """Give a trace function that notes the steps of the files of `NAMES`."""
    starts = {}

    def start_of(path):
        name = path.rpartition("/")[2]
        starts[path] = NAMES.index(name) * SPAN * SPAN if name in NAMES else -1
        return starts[path]

    def trace(frame, event, argument):
        code = frame.f_code
        start = starts.get(code.co_filename)
        if start is None:
            start = start_of(code.co_filename)
        if start < 0:
            return None
        first = code.co_firstlineno
        is_new = not code.co_flags & RESUMED or not code.co_code[frame.f_lasti + 1]
        last = -first if is_new else frame.f_lineno

        def step(frame, event, argument):
            nonlocal last
            if event == "line":
                if code.co_code[frame.f_lasti] == PUSH_EXC_INFO:
                    return step
                line = frame.f_lineno
                memory[start + (last + LINES) * SPAN + line + LINES] = 1
                last = line
            elif event == "return" and _is_left(frame):
                memory[start + (last + LINES) * SPAN + LINES - first] = 1
            return step

        return step

    return trace


def arcs(data):
    """Give for each file name the pairs of lines that a map holds."""
    found = {}
    for index, name in enumerate(NAMES):
        part = data[index * SPAN * SPAN : (index + 1) * SPAN * SPAN]
        at, pairs = part.find(1), []
        while at >= 0:
            pairs.append((at // SPAN - LINES, at % SPAN - LINES))
            at = part.find(1, at + 1)
        found[name] = pairs
    return found


def main():
    trace = make_tracer(_map(sys.argv[1]))
    real = _thread.start_new_thread

    def start_new_thread(function, arguments, keywords=None):
        def traced():
            sys.settrace(trace)
            function(*arguments, **(keywords or {}))

        return real(traced, ())

    _thread.start_new_thread = start_new_thread
    program = sys.argv[2]
    del sys.argv[:2]
    if program == "-c":
        source = program = sys.argv.pop(1)
    else:
        with open(program, encoding="utf-8") as file:
            source = file.read()
    module = sys.modules["__main__"] = ModuleType("__main__")
    module.__file__ = program
    code = compile(source, program, "exec")
    sys.settrace(trace)
    exec(code, module.__dict__)  # noqa: S102 - a program of ours


if __name__ == "__main__":
    main()
