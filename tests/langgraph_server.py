"""The real `langgraph dev` on loopback, in an environment of its own, so that the tests' stays small.

The server is taken from this environment when it is there, and else from `.venv-server` beside the
project, which is made from the dependency group `server` when it is missing. What this environment
has already is seen from there, and only the rest is installed.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOME = Path(os.environ.get("REPLM_SERVER_VENV", ROOT / ".venv-server"))


@functools.cache
def command() -> str | None:
    """The program `langgraph`, or None where it cannot be had."""
    if importlib.util.find_spec("langgraph_api") is not None:
        return str(Path(sys.executable).with_name("langgraph"))
    program = HOME / "bin" / "langgraph"
    if not program.exists():
        requirements = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
        try:
            _run(sys.executable, "-m", "venv", "--without-pip", str(HOME))
            (site,) = HOME.glob("lib/python*/site-packages")
            (site / "tests.pth").write_text(sysconfig.get_path("purelib") + "\n")
            pip = (str(HOME / "bin" / "python"), "-m", "pip", "--disable-pip-version-check")
            _run(*pip, "install", "-q", "--no-warn-conflicts", *requirements["server"])
        except subprocess.SubprocessError:
            return None
    return str(program) if program.exists() else None


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=280)


@contextmanager
def serving(folder: Path, **environment: str) -> Iterator[str]:
    """Serve `langgraph.json` of the project from a folder of the test; gives the address."""
    program = command()
    assert program is not None
    config = json.loads((ROOT / "langgraph.json").read_text())
    config["graphs"] = {name: str(ROOT / path) for name, path in config["graphs"].items()}
    (folder / "langgraph.json").write_text(json.dumps(config))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    given = {name: value for name, value in os.environ.items() if not name.startswith("LANG")}
    given |= {
        "PYTHONPATH": str(ROOT),
        "LANGSMITH_TRACING": "false",
        "LANGGRAPH_CLI_NO_ANALYTICS": "1",
        **environment,
    }
    log = (folder / "server.log").open("wb")
    process = subprocess.Popen(
        [program, "dev", "--host", "127.0.0.1", "--port", str(port), "--no-browser", "--no-reload"],
        cwd=folder, env=given, stdout=log, stderr=log, start_new_session=True,
    )  # fmt: skip
    try:
        base = f"http://127.0.0.1:{port}"
        _wait(base, process, folder / "server.log")
        yield base
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        log.close()


def _wait(base: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()[-3000:]
        with (
            suppress(urllib.error.URLError, ConnectionError, TimeoutError),
            urllib.request.urlopen(f"{base}/ok", timeout=2) as answer,  # noqa: S310 - loopback
        ):
            if answer.status == 200:
                return
        time.sleep(0.2)
    raise AssertionError(log.read_text()[-3000:])
