"""A plugin of pytest for `make coverage`: what runs behind a jail is measured, too.

Workers are started through `worker_tracer`; what they note becomes a data file of coverage's beside
those of the tests' own processes. Nothing here is used by an ordinary test run.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests import worker_tracer

if TYPE_CHECKING:
    import pytest

VARIABLE = "REPLM_WORKER_MAP"
TRACER = worker_tracer.__file__
SCRIPT = """\
#!/bin/sh
flags=
while case "$1" in *.py) false;; esac; do flags="$flags $1"; shift; done
exec {python} $flags {tracer} {map} "$@"
"""


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        path = Path(tempfile.mkdtemp(prefix="replm-coverage-"))
        path.chmod(0o755)
        with (path / "map").open("wb") as file:
            file.truncate(worker_tracer.MAP_BYTES)
        (path / "map").chmod(0o666)  # some workers are started by nobody
        os.environ[VARIABLE] = str(path / "map")


def pytest_collection() -> None:
    # Not before: what is imported until now is not measured.
    trace_workers()
    _trace_remote_workers(os.environ[VARIABLE])


def pytest_unconfigure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        return
    import coverage

    data = coverage.CoverageData(suffix="workers")
    here = Path(worker_tracer.__file__).parents[1] / "langchain_replm" / "sandbox"
    with open(os.environ[VARIABLE], "rb") as file:
        found = worker_tracer.arcs(file.read())
    data.add_arcs({str(here / name): pairs for name, pairs in found.items() if pairs})
    data.write()


def trace_workers() -> None:
    """Have the workers of this process traced, if coverage is measured at all."""
    from langchain_replm.sandbox import monty, process

    path = os.environ.get(VARIABLE)
    if path is None:
        return
    own_python = process.ProcessSandbox._python
    own_command = monty.MontySandbox._command

    def python(self: Any) -> list[str]:
        return [*own_python(self), TRACER, path]

    def command(self: Any, *descriptors: int) -> list[str]:
        parts = own_command(self, *descriptors)
        at = parts.index(str(monty.WORKER))
        return [*parts[:at], TRACER, path, *parts[at:]]

    process.ProcessSandbox._python = python  # type: ignore[method-assign]
    monty.MontySandbox._command = command  # type: ignore[method-assign]


def _trace_remote_workers(path: str) -> None:
    from langchain_replm.sandbox import _backend

    own_start = _backend.Remote.__init__
    script = Path(path).with_name(f"python-{os.getpid()}")
    script.write_text(SCRIPT.format(python=sys.executable, tracer=TRACER, map=path))
    script.chmod(0o755)

    def start(self: Any, backend: Any, *, folder: str, python: str) -> None:
        python = str(script) if python == sys.executable else python
        own_start(self, backend, folder=folder, python=python)

    _backend.Remote.__init__ = start  # type: ignore[method-assign]
