"""The jail around a child process: each layer is on, holds by itself, and lets work go on.

Attack cells run as the user of the tests and, where we are root, as nobody too, through a host
process of its own (`DRIVER`), so that the same cells also meet other versions of Python. A layer is
shown to be real by an attack that succeeds once that layer, and only that layer, is switched off.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from langchain_replm.errors import ConfigurationError, SandboxError
from langchain_replm.sandbox import LocalSandbox, ProcessSandbox, _jail, _probe, process
from langchain_replm.sandbox._policy import ALLOWED_MODULES
from langchain_replm.sandbox.base import GUARANTEES
from tests.worker_coverage import VARIABLE
from tests.worker_harness import Harness, WorkerDiedError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the jail of Linux")

ROOT = Path(__file__).parents[2]
IS_ROOT = hasattr(os, "getuid") and os.getuid() == 0
NOBODY_PYTHON = "/usr/bin/python3"
OTHER_PYTHONS = [
    path
    for version in ("3.11.7", "3.12.1", "3.13.0")
    if os.access(path := f"{Path.home()}/.pyenv/versions/{version}/bin/python", os.X_OK)
    and os.path.realpath(path) != os.path.realpath(sys.executable)
]

DRIVER = """
import json, os, sys
from unittest.mock import patch
from tests.worker_harness import Harness
from langchain_replm.sandbox.process import JAIL_LAYERS, ProcessSandbox
from tests.worker_coverage import trace_workers

trace_workers()
results = []
for job in json.load(sys.stdin):
    sandbox = ProcessSandbox(job["mode"], **job.get("options", {}))
    sandbox._jail_layers = [name for name in JAIL_LAYERS if name not in job.get("off", ())]
    try:
        with patch("tests.worker_harness.make_sandbox", lambda mode: sandbox):
            with Harness(job["mode"], context=job.get("context", "x")) as harness:
                for cell in job["cells"]:
                    done = harness.run(cell, 60)
                result = [done.output_head + done.output_tail, done.error]
    except BaseException as error:
        result = ["", repr(error)]
    results.append(result)
print(json.dumps(results))
"""


def run_jobs(who: str, jobs: list[dict[str, Any]]) -> list[list[str]]:
    """Run cells in workers of a host that is `who`: "own", "nobody" or a path of a Python."""
    command, root = [sys.executable if who in ("own", "nobody") else who], ROOT
    with tempfile.TemporaryDirectory(dir="/var/tmp") as copy:
        if who == "nobody":
            setpriv = shutil.which("setpriv")
            if not IS_ROOT or setpriv is None:
                pytest.skip("needs root, and setpriv to become somebody else")
            version = subprocess.run(
                [NOBODY_PYTHON, "-c", "import sys; print(sys.version_info >= (3, 11))"],
                capture_output=True,
                text=True,
                check=False,
            )
            if version.stdout.strip() != "True":
                pytest.skip("needs a Python that everybody may run")
            command = [setpriv, "--reuid=65534", "--regid=65534", "--clear-groups", NOBODY_PYTHON]
            root = Path(copy)
            for part in ("langchain_replm", "tests"):
                shutil.copytree(ROOT / part, root / part)
            subprocess.run(["chmod", "-R", "a+rX", copy], check=True)
        done = subprocess.run(
            [*command, "-W", "ignore", "-c", DRIVER],
            input=json.dumps(jobs),
            capture_output=True,
            text=True,
            cwd=root,
            env={
                "PYTHONPATH": str(root),
                "HOST_SECRET": "canary-env",
                "PATH": os.defpath,
                **{name: os.environ[name] for name in (VARIABLE,) if name in os.environ},
            },
            timeout=110,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    results: list[list[str]] = json.loads(done.stdout)
    return results


def attack(code: str) -> str:
    """Make a cell that prints SUCCESS if the code gets through, else why it does not."""
    body = "\n".join("    " + line for line in code.strip().splitlines())
    return (
        f"import os, sys, ctypes, struct\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        f"def check(result):\n    assert result >= 0, os.strerror(ctypes.get_errno())\n    return result\n"
        f"try:\n{body}\n    print('SUCCESS')\n"
        f"except BaseException as error:\n    print('refused', repr(error))\n"
    )


# Each layer is real ------------------------------------------------------------------------------

PRIVATE = "{private}"
"""Stands for a directory that the worker may read, with files that its user may not."""

LAYER_ATTACKS = {
    "rlimits": (["rlimits"], "x = bytearray(1400 * 2**20)"),
    "rlimits-core": (
        ["rlimits"],
        "import resource\nassert resource.getrlimit(resource.RLIMIT_CPU)[0] == -1",
    ),
    "namespaces": (["namespaces"], "os.stat('/etc/passwd')"),
    "namespaces-uname": (["namespaces"], "assert os.uname().nodename != 'sandbox'"),
    "landlock": (["landlock", "sealed"], "os.listdir('/')"),
    "landlock-file": (["landlock", "sealed", "namespaces"], "open('/etc/passwd').read()"),
    "sealed": (["landlock", "sealed"], "open(os.__file__).read()\nos.listdir('/')"),
    "seccomp-fork": (["seccomp"], "if os.fork() == 0: os._exit(0)\nos.wait()"),
    "seccomp-socket": (["seccomp"], "import socket\nsocket.socket(socket.AF_UNIX)"),
    "seccomp-udp": (["seccomp"], "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM)"),
    "seccomp-shm": (
        ["seccomp"],
        "i = check(libc.shmget(0, 4096, 0o1600))\nlibc.shmctl(i, 0, None)",
    ),
    "seccomp-memfd": (["seccomp"], "os.memfd_create('x')"),
    "seccomp-keyring": (["seccomp"], "check(libc.syscall(250, 0, -2, 1))"),
    "seccomp-limit": (
        ["seccomp"],
        "import resource\nresource.prlimit(os.getpid(), resource.RLIMIT_NOFILE, (32, 32))",
    ),
}

ROOT_ATTACKS = {
    "uid": (["uid"], f"open('{PRIVATE}/of-root').read()"),
    "uid-number": (["uid"], "assert os.getuid() == 0"),
    "capabilities": (["uid", "capabilities"], f"open('{PRIVATE}/of-somebody').read()"),
}


@pytest.fixture(scope="module")
def private() -> Iterator[str]:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        os.chmod(name, 0o755)
        for file, owner in (("of-root", 0), ("of-somebody", 1234)):
            path = Path(name, file)
            path.write_text("canary")
            path.chmod(0o600)
            if IS_ROOT:
                os.chown(path, owner, owner)
        yield name


@pytest.mark.parametrize("who", ["own", "nobody"])
def test_every_layer_holds_by_itself(who, private):
    attacks = dict(LAYER_ATTACKS)
    options = {}
    if IS_ROOT and who == "own":
        attacks |= ROOT_ATTACKS
        options = {"read_only_paths": [private]}
    jobs = []
    for off, code in attacks.values():
        cells = [attack(code.replace(PRIVATE, private))]
        given = {} if "sealed" in off else options
        jobs.append({"mode": "subprocess", "cells": cells, "options": given})
        jobs.append({"mode": "subprocess", "cells": cells, "options": given, "off": off})
    results = run_jobs(who, jobs)
    for index, name in enumerate(attacks):
        jailed, switched_off = results[2 * index], results[2 * index + 1]
        stopped = jailed[0].startswith("refused") or "MemoryError" in (jailed[1] or "")
        assert stopped, (name, jailed)
        assert switched_off[0] == "SUCCESS\n", (name, switched_off)


# No attack gets out ------------------------------------------------------------------------------

ATTACKS = {
    "tcp": "import socket\nsocket.create_connection(('127.0.0.1', {port}), 2)",
    "raw connect": "s = check(libc.socket(2, 1, 0))\ncheck(libc.connect(s, struct.pack('>HHI8x', 512, {port}, 0x7f000001), 16))",
    "io_uring": "check(libc.syscall(425, 4, ctypes.create_string_buffer(120)))",
    "read": "open('{canary}').read()",
    "read openat2": "check(libc.syscall(437, -100, b'{canary}', bytes(24), 24))",
    "read by handle": "check(libc.syscall(303, -100, b'{canary}', bytes(64), bytes(8), 0))",
    "read mem": "open('/proc/self/mem', 'rb')",
    "parent environ": "open(f'/proc/{{os.getppid()}}/environ').read()",
    "parent fds": "os.listdir(f'/proc/{{os.getppid()}}/fd')",
    "parent memory": "check(libc.process_vm_readv(os.getppid(), bytes(16), 1, bytes(16), 1, 0))",
    "ptrace": "check(libc.ptrace(16, os.getppid(), 0, 0))",
    "pidfd": "os.pidfd_open(os.getppid())",
    "write": "open('{folder}/new', 'w')",
    "append": "open('{canary}', 'a')",
    "truncate": "os.truncate('{canary}', 0)",
    "unlink": "os.unlink('{canary}')",
    "rename": "os.rename('{canary}', '{canary}2')",
    "mkdir": "os.mkdir('{folder}/made')",
    "symlink": "os.symlink('/', '{folder}/link')",
    "chmod": "os.chmod('{canary}', 0o777)",
    "utime": "os.utime('{canary}')",
    "dev null": "open('/dev/null', 'w')",
    "exec": "os.execv('/bin/true', ['true'])",
    "spawn": "os.posix_spawn('/bin/true', ['true'], {{}})",
    "vfork": "import subprocess\nsubprocess.run(['/bin/true'])",
    "fork": "os.fork() or os._exit(0)",
    "clone without thread": "check(libc.syscall(56, 0x100 | 17, 0, 0, 0, 0))",
    "clone3": "check(libc.syscall(435, bytes(88), 88))",
    "clone high bits": "check(libc.syscall(56, ctypes.c_ulong(0x100003d0f00 ^ 0x10000), 0, 0, 0, 0))",
    "x32 fork": "check(libc.syscall(0x40000000 + 57))",
    "kill parent": "os.kill(os.getppid(), 0)",
    "kill group": "os.killpg(0, 0)",
    "kill all": "os.kill(-1, 0)",
    "tgkill parent": "check(libc.syscall(234, os.getppid(), os.getppid(), 0))",
    "owner of signals": "import fcntl\nfcntl.fcntl(0, fcntl.F_SETOWN, os.getppid())",
    "raise limit": "import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
    "parent limit": "import resource\nresource.prlimit(os.getppid(), resource.RLIMIT_CPU)",
    "become root": "os.setuid(0)\nos.setresuid(0, 0, 0)",
    "mount": "check(libc.mount(b'none', b'/', b'tmpfs', 0, None))",
    "new filter": "check(libc.prctl(22, 2, bytes(16)))",
    "dumpable": "check(libc.prctl(4, 1, 0, 0, 0))",
    "posix shm": "import _posixshmem\n_posixshmem.shm_open('/x', os.O_CREAT | os.O_RDWR)",
    "mq": "check(libc.syscall(240, b'x', 0o102, 0o600, None))",
    "bpf": "check(libc.syscall(321, 0, bytes(120), 120))",
    "userfaultfd": "check(libc.syscall(323, 1))",
    "memory": "x = bytearray(4 * 2**30)",
    "environment": "assert 'HOST_SECRET' in os.environ",
}


@pytest.mark.parametrize(
    "off", [(), ("namespaces",), ("landlock",), ("namespaces", "uid")], ids=str
)
@pytest.mark.parametrize("who", ["own", "nobody"])
def test_no_attack_gets_out(who, off):
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        tempfile.TemporaryDirectory(dir="/var/tmp") as folder,
    ):
        os.chmod(folder, 0o777)
        canary = Path(folder, "canary")
        canary.write_text("canary")
        canary.chmod(0o666)
        facts = {"port": server.getsockname()[1], "canary": canary, "folder": folder}
        cells = [attack(code.format(**facts)) for code in ATTACKS.values()]
        # One session for all: an attack that ended its own worker would show in the later ones.
        joined = [cell.replace("print('SUCCESS')", "print('SUCCESS', n)") for cell in cells]
        whole = "\n".join(
            f"n = {name!r}\n{cell}" for name, cell in zip(ATTACKS, joined, strict=True)
        )
        [[output, error]] = run_jobs(who, [{"mode": "subprocess", "cells": [whole], "off": off}])
        assert error is None
        assert output.count("refused") == len(ATTACKS), output
        server.settimeout(0.1)
        with pytest.raises(TimeoutError):
            server.accept()
        assert os.listdir(folder) == ["canary"]
        assert canary.read_text() == "canary"


def test_the_attacks_work_without_a_jail():
    """The same cells succeed in a plain process, so their failure above means something."""
    harmless = (
        "read",
        "parent environ",
        "append",
        "mkdir",
        "chmod",
        "spawn",
        "fork",
        "kill parent",
        "dev null",
        "utime",
    )
    with tempfile.TemporaryDirectory() as folder:
        canary = Path(folder, "canary")
        canary.write_text("canary")
        facts = {"port": 1, "canary": canary, "folder": folder}
        jobs = [
            {
                "mode": "subprocess",
                "cells": [attack(ATTACKS[name].format(**facts))],
                "options": {"isolation": "process"},
            }
            for name in harmless
        ]
        results = run_jobs("own", jobs)
        # Python 3.14 warns of a fork beside threads, so there may be a line before it.
        assert [result[0].splitlines()[-1:] for result in results] == [["SUCCESS"]] * len(harmless)


# Ordinary work goes on ---------------------------------------------------------------------------

IMPORTS = "\n".join(f"import {name}" for name in ALLOWED_MODULES) + "\nprint('ok')"

ORDINARY = {
    "imports": (IMPORTS, "ok"),
    "dataclass": (
        "from dataclasses import dataclass, asdict\n@dataclass\nclass P:\n    x: int\n    y: str = 'a'\nprint(asdict(P(1)))",
        "{'x': 1, 'y': 'a'}",
    ),
    "threads": (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(32) as pool:\n"
        "    replies = list(pool.map(llm_query, [f'q{i}' for i in range(96)]))\n"
        "print(len(replies), replies[95])",
        "96 reply to q95",
    ),
    "asyncio": (
        "import asyncio\nasync def f(i):\n    await asyncio.sleep(0.001)\n    return await asyncio.to_thread(llm_query, str(i))\n"
        "print(sum(r.startswith('reply') for r in await asyncio.gather(*map(f, range(20)))))",
        "20",
    ),
    "csv": (
        "import csv, io\nprint(sum(int(r['n']) for r in csv.DictReader(io.StringIO('n,m\\n1,2\\n3,4'))))",
        "4",
    ),
    "strptime": (
        "from datetime import datetime\nprint(datetime.strptime('3 Mar 2024', '%d %b %Y').date())",
        "2024-03-03",
    ),
    "decimal": ("from decimal import Decimal\nprint(Decimal('1.10') + Decimal('2.20'))", "3.30"),
    "re callback": (
        "import re\nprint(re.sub(r'\\d+', lambda m: str(int(m[0]) * 2), 'a1b22'))",
        "a2b44",
    ),
    "counter": (
        "from collections import Counter\nprint(Counter('aab').most_common(1))",
        "[('a', 2)]",
    ),
    "statistics": ("import statistics\nprint(statistics.median([1, 2, 9]))", "2"),
    "hash": ("import hashlib\nprint(hashlib.sha256(b'x').hexdigest()[:8])", "2d711642"),
    "random": ("import random\nrandom.seed(1)\nprint(random.randint(1, 9))", "3"),
    "zlib": ("import zlib\nprint(len(zlib.compress(b'a' * 999)) < 99)", "True"),
    "codec": ("print('\\u20ac'.encode('cp1252'))", r"b'\x80'"),
    "threading": (
        "import threading\nout = []\nts = [threading.Thread(target=out.append, args=(i,)) for i in range(20)]\n"
        "[t.start() for t in ts]\n[t.join() for t in ts]\nprint(len(out))",
        "20",
    ),
    "time": ("import time\ntime.sleep(0.001)\nprint(time.perf_counter() > 0)", "True"),
    "traceback": (
        "import traceback\ntry:\n    1 / 0\nexcept ZeroDivisionError:\n    print(traceback.format_exc().splitlines()[-1])",
        "ZeroDivisionError: division by zero",
    ),
    "generators": ("def g():\n    yield from range(3)\nprint(list(g()))", "[0, 1, 2]"),
}
ZONES = (
    "from zoneinfo import ZoneInfo\nfrom datetime import datetime\n"
    "print(datetime(2024, 7, 1, tzinfo=ZoneInfo('Europe/Berlin')).utcoffset())",
    "2:00:00",
)
SCIENCE = (
    "import numpy as np, pandas as pd\n"
    "print(int(np.linalg.det(np.eye(3))), np.random.default_rng(1).integers(9) < 9)\n"
    "print(pd.DataFrame({'a': list('xyx'), 'n': [1, 2, 3]}).groupby('a').n.sum().to_dict())\n"
    "print(pd.to_datetime(pd.Series(['2024-01-02'])).dt.year[0], len(pd.read_csv(__import__('io').StringIO('a,b\\n1,2'))))",
    "1 True\n{'x': 4, 'y': 2}\n2024 1",
)


@pytest.mark.parametrize("off", [(), ("namespaces",), ("landlock",)], ids=str)
@pytest.mark.parametrize("who", ["own", "nobody", *OTHER_PYTHONS])
def test_ordinary_cells_run(who, off):
    cells = dict(ORDINARY)
    if "landlock" not in off and Path("/usr/share/zoneinfo").exists():
        # Sealed, a zone cannot be read: a known gap.
        cells["zones"] = ZONES
    jobs = [
        {"mode": mode, "cells": [cell for cell, _ in cells.values()][index : index + 1], "off": off}
        for mode in ("restricted", "subprocess")
        for index in range(len(cells))
    ]
    if "landlock" in off:
        # A start takes longer: all cells in one session, the last one is looked at.
        joined = "\n".join(cell for cell, _ in cells.values())
        jobs = [
            {"mode": mode, "cells": [joined], "off": off} for mode in ("restricted", "subprocess")
        ]
        wanted = ["\n".join(text for _, text in cells.values())] * 2
    else:
        wanted = [text for _, text in cells.values()] * 2
    results = run_jobs(who, jobs)
    assert [result[1] for result in results] == [None] * len(jobs)
    assert [result[0].strip() for result in results] == wanted


@pytest.mark.parametrize("off", [(), ("namespaces",), ("landlock",)], ids=str)
def test_numpy_and_pandas_run(off):
    pytest.importorskip("numpy")
    pytest.importorskip("pandas")
    [[output, error]] = run_jobs("own", [{"mode": "subprocess", "cells": [SCIENCE[0]], "off": off}])
    assert error is None
    assert output.strip() == SCIENCE[1]


# Limits ------------------------------------------------------------------------------------------


def jailed(**options: Any) -> Any:
    """Let the next harness start this sandbox."""
    sandbox = ProcessSandbox(options.pop("mode", "subprocess"), **options)
    return patch("tests.worker_harness.make_sandbox", lambda mode: sandbox)


def test_too_much_memory_is_an_error_of_the_cell():
    with Harness("subprocess") as h:
        h.output("kept = 5")
        assert "MemoryError" in h.error("x = bytearray(4 * 2**30)")
        assert "MemoryError" in h.error("x = []\nwhile True: x.append('a' * 10**7 + str(len(x)))")
        h.output("x = None")
        assert h.output("print(kept)") == "5\n"


def test_a_large_context_makes_room():
    limit = "import resource\nresource.getrlimit(resource.RLIMIT_AS)[0]"
    room = 512 * 1024 * 1024
    context = "a" * (50 * 1024 * 1024)
    with jailed(memory_bytes=room), Harness("subprocess", context=context) as h:
        assert int(h.output(limit)) == 4 * len(context) + room
        assert h.output("len((context + 'b').upper().split('A'))") == f"{len(context) + 1}\n"
    with jailed(memory_bytes=2 * room), Harness("subprocess") as h:
        assert int(h.output(limit)) == 2 * room


def test_processor_time_ends_the_worker():
    with jailed(cpu_seconds=1), Harness("subprocess") as h, pytest.raises(WorkerDiedError):
        h.run("import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass", 15)


@pytest.mark.parametrize(
    "cell",
    [
        "import re\nre.match(r'(a+)+$', 'a' * 40 + 'b')",
        "sum(range(10**14))",
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
    ],
)
def test_a_burning_cell_can_be_killed(cell):
    with Harness("subprocess") as h:
        h.start_cell(cell)
        time.sleep(0.1)
        h.transport.interrupt()
        start = time.monotonic()
        h.transport.kill()
        assert h.pump(timeout=5).eof
        h.close()
        assert time.monotonic() - start < 5


def test_a_read_only_path_is_read_only(tmp_path):
    folder = Path(tempfile.mkdtemp(dir="/var/tmp"))
    try:
        folder.chmod(0o755)
        (folder / "data.txt").write_text("data")
        with jailed(read_only_paths=[folder]), Harness("subprocess") as h:
            assert h.output(f"open('{folder}/data.txt').read()") == "'data'\n"
            assert "Error" in h.error(f"open('{folder}/data.txt', 'w')")
    finally:
        shutil.rmtree(folder)


# The lifeline ------------------------------------------------------------------------------------

CUTTING = """
import fcntl, os
for fd in range(3, 64):
    for cut in (
        lambda: fcntl.fcntl(fd, fcntl.F_SETFL, 0),
        lambda: fcntl.fcntl(fd, 16, bytes(8)),
        lambda: os.dup2(0, fd),
        lambda: os.close(fd),
    ):
        if fd not in {wire}:
            try:
                cut()
            except OSError:
                pass
os.closerange(10, 64)
"""


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"  # its new parent may not have looked yet


@pytest.mark.parametrize("from_thread", [False, True])
@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize(
    "burn", ["import re\nre.match(r'(a+)+$', 'a' * 60 + 'b')", "sum(range(10**14))"]
)
def test_a_worker_dies_with_its_host(burn, cut, from_thread):
    """Even inside of C code that holds the lock of the interpreter."""
    cell = burn
    if cut:
        # The wire stays, so that the burning cell is reached.
        cell = CUTTING.replace("{wire}", "()").replace("os.closerange(10, 64)\n", "") + burn
        cell = cell.replace("range(3, 64)", "wanted")
        cell = (
            "import os, fcntl\nwanted = []\nfor fd in range(3, 64):\n    try:\n"
            "        if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ASYNC: wanted.append(fd)\n"
            "    except OSError: wanted.append(fd)\n"
        ) + cell
    script = (
        "import sys, time, threading\nfrom tests.worker_harness import Harness\n"
        "def start():\n"
        "    global h\n"
        "    h = Harness('subprocess')\n"
        f"    h.start_cell({cell!r})\n"
        "    print(h.transport.pid, flush=True)\n"
        + (
            "t = threading.Thread(target=start)\nt.start()\nt.join()\n"
            if from_thread
            else "start()\n"
        )
        + "time.sleep(1000)\n"
    )
    host = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        pid = int(host.stdout.readline())
        time.sleep(0.5)
        assert _is_running(pid)
    finally:
        host.kill()
        host.wait()
        host.stdout.close()
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline and _is_running(pid):
        time.sleep(0.02)
    if _is_running(pid):
        os.kill(pid, signal.SIGKILL)
        pytest.fail("the worker outlived its host")


def test_a_worker_outlives_the_thread_that_started_it():
    box = []
    thread = threading.Thread(target=lambda: box.append(Harness("restricted")))
    thread.start()
    thread.join()
    time.sleep(0.1)
    with box[0] as h:
        assert h.output("print(1)") == "1\n"


def test_nothing_is_left_after_many_sessions(nothing_left_behind):
    sandbox = ProcessSandbox()
    sandbox.guarantees()
    for index in range(200):
        transport = sandbox.open()
        if index % 20 == 0:
            transport.exchange([b"\0\0"], 0.01)
        transport.close()


# What is promised --------------------------------------------------------------------------------


def test_everything_is_guaranteed_here():
    found = ProcessSandbox().guarantees()
    assert tuple(found) == GUARANTEES
    assert None not in found.values(), found
    assert found["network"].startswith("seccomp")
    assert found["file_reads"].startswith("landlock-abi")
    assert found["memory_cap"] == "RLIMIT_AS"


def test_what_is_required_and_missing_is_an_error():
    ProcessSandbox(require=GUARANTEES).open().close()
    sandbox = ProcessSandbox(require=["file_reads", "network"])
    sandbox._jail_layers = [name for name in process.JAIL_LAYERS if name != "seccomp"]
    with pytest.raises(SandboxError, match=r"does not guarantee network here.*seccomp.*'docker'"):
        sandbox.open()
    with pytest.raises(SandboxError, match=r"file_reads, exec here.*isolation='process'"):
        ProcessSandbox(isolation="process", require=["file_reads", "exec"]).open()


def test_a_process_without_a_jail_promises_only_its_end():
    found = ProcessSandbox(isolation="process").guarantees()
    assert {name for name, means in found.items() if means} == {"real_timeout"}
    assert set(LocalSandbox().guarantees().values()) == {None}
    assert tuple(LocalSandbox().guarantees()) == GUARANTEES


def test_without_any_wall_no_worker_starts():
    sandbox = ProcessSandbox()
    sandbox._jail_layers = ["rlimits", "capabilities"]
    assert sandbox.guarantees()["network"] is None
    with pytest.raises(SandboxError, match=r"neither seccomp .* nor Landlock .*'docker'"):
        sandbox.open()


def test_a_worker_that_finds_no_wall_says_so():
    """The worker judges by itself, whatever the probe said."""
    sandbox = ProcessSandbox()
    sandbox._jail_layers = ["rlimits", "capabilities"]
    with (
        patch.object(sandbox, "_check_guarantees"),
        patch("tests.worker_harness.make_sandbox", lambda mode: sandbox),
        pytest.raises(SandboxError, match="could not be started: JailError: neither seccomp"),
    ):
        Harness("restricted")


def test_what_is_missing_is_said_once(caplog):
    _probe.PROBES._said.clear()
    sandbox = ProcessSandbox()
    sandbox._jail_layers = [name for name in process.JAIL_LAYERS if name != "seccomp"]
    with caplog.at_level(logging.WARNING, logger="langchain_replm"):
        for _ in range(3):
            sandbox.open().close()
        ProcessSandbox().open().close()
    assert len(caplog.records) == 1
    assert "not guaranteed: network" in caplog.text


@pytest.mark.parametrize(
    "options",
    [{"isolation": "chroot"}, {"require": ["peace"]}, {"memory_bytes": 1}, {"cpu_seconds": 0}],
)
def test_wrong_parameters_are_refused(options):
    with pytest.raises(ConfigurationError):
        ProcessSandbox(**options)


def test_sealed_cells_cannot_have_files(tmp_path):
    sandbox = ProcessSandbox(read_only_paths=[tmp_path])
    sandbox._jail_layers = [name for name in process.JAIL_LAYERS if name != "landlock"]
    with pytest.raises(SandboxError, match="read_only_paths need Landlock"):
        sandbox.open()


@pytest.mark.parametrize(
    "name",
    [
        "network",
        "file_reads",
        "file_writes",
        "exec",
        "host_memory",
        "host_signals",
        "process_cap",
        "memory_cap",
        "cpu_cap",
    ],
)
def test_the_self_test_sees_a_claim_that_does_not_hold(name):
    """In a process without any jail, every claim is found to be false."""
    code = (
        "import sys\nfrom langchain_replm.sandbox import _jail\n"
        "try:\n    _jail.self_test({sys.argv[1]: 'seccomp'})\n"
        "except _jail.JailError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, name],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert done.stdout.strip() == f"the jail is in place but does not hold: {name}"


# The tables --------------------------------------------------------------------------------------


def _table() -> dict[str, tuple[str, str]]:
    rows = [
        entry.split() for entry in _jail.SYSCALLS.replace("\n", ";").split(";") if entry.strip()
    ]
    return {name: (x86, arm) for name, x86, arm in rows}


@pytest.mark.parametrize(
    ("header", "column", "alias"),
    [
        ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", 0, {}),
        (
            "/usr/include/asm-generic/unistd.h",
            1,
            {"newfstatat": "fstatat"},
        ),
    ],
)
def test_system_calls_are_those_of_the_headers(header, column, alias):
    if not Path(header).exists():
        pytest.skip("no kernel headers here")
    found = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", Path(header).read_text()))
    own = {name: str(numbers[column]) for name, numbers in _jail.OWN_SYSCALLS.items()}
    table = {name: numbers[column] for name, numbers in _table().items()} | own
    wrong = {
        name: (number, found.get(alias.get(name, name)) or found.get(name))
        for name, number in table.items()
        if number != "-" and number not in (found.get(name), found.get(alias.get(name, name)))
    }
    assert wrong == {}
    if column == 1:
        # What is left out there does not exist there (the generic header calls it deprecated).
        missing = {name for name, number in table.items() if number == "-"}
        assert missing.isdisjoint(found)


def test_landlock_rights_are_those_of_the_header():
    header = Path("/usr/include/linux/landlock.h")
    if not header.exists():
        pytest.skip("no kernel headers here")
    bits = re.findall(r"#define LANDLOCK_ACCESS_FS_(\w+)\s+\(1ULL << (\d+)\)", header.read_text())
    number = {name: 1 << int(bit) for name, bit in bits}
    assert number["READ_FILE"] == _jail.LANDLOCK_READ_FILE
    assert number["READ_DIR"] == _jail.LANDLOCK_READ_DIR
    known = sum(rights for _, rights in _jail.LANDLOCK_FS)
    assert sum(number.values()) & ~known == 0
    assert number["REFER"] == _jail.LANDLOCK_FS[1][1]
    assert number.get("TRUNCATE", 1 << 14) == _jail.LANDLOCK_FS[2][1]


def _judge(program: bytes, arch: int, number: int, *arguments: int) -> int:
    """Run the filter as the kernel would, on a machine that we may not have."""
    words = [value for a in (*arguments, *[0] * 6)[:6] for value in (a & 0xFFFFFFFF, a >> 32)]
    data = struct.pack("<II8x12I", number, arch, *words)
    lines = list(struct.iter_unpack("<HBBI", program))
    at = accumulator = 0
    while True:
        code, yes, no, value = lines[at]
        at += 1
        if code == _jail.RETURN:
            return value
        if code == _jail.LOAD:
            accumulator = struct.unpack_from("<I", data, value)[0]
        elif code == _jail.AND:
            accumulator &= value
        elif code in (_jail.EQUAL, _jail.AT_LEAST):
            is_so = accumulator == value if code == _jail.EQUAL else accumulator >= value
            at += yes if is_so else no
        else:
            raise AssertionError(code)


PID, LIFELINE, POINTER = 4321, 7, 0x7F00_0000_1000

VERDICTS = [
    ("read", (0,), True),
    ("clone", (0x3D0F00,), True),
    ("clone", (0x7D0F00,), True),
    ("clone", (17,), False),
    ("clone", (0x4111,), False),
    ("clone", (0x3D0F00 | 0x10000000,), False),
    ("kill", (PID, 9), True),
    ("kill", (PID - 1, 9), False),
    ("kill", (0, 9), False),
    ("kill", (2**32 - 1, 9), False),
    ("tgkill", (PID, PID, 2), True),
    ("tgkill", (1, 1, 2), False),
    ("close", (LIFELINE - 1,), True),
    ("close", (LIFELINE,), False),
    ("close", (LIFELINE + 2**32,), False),
    ("dup3", (0, LIFELINE, 0), False),
    ("dup3", (LIFELINE, 9, 0), True),
    ("fcntl", (3, 4, 0), True),
    ("fcntl", (LIFELINE, 4, 0), False),
    ("fcntl", (3, 8, 1), False),
    ("fcntl", (3, 10, 9), False),
    ("openat", (0, POINTER, 0x80000), True),
    ("openat", (0, POINTER, 1), False),
    ("openat", (0, POINTER, 2), False),
    ("openat", (0, POINTER, 0x40), False),
    ("openat", (0, POINTER, 0x200), False),
    ("openat", (0, POINTER, 0x410000), False),
    ("prlimit64", (0, 7, 0, POINTER), True),
    ("prlimit64", (PID, 7, 0, POINTER), True),
    ("prlimit64", (0, 7, POINTER, 0), False),
    ("prlimit64", (0, 7, 1 << 32, 0), False),
    ("prlimit64", (1, 7, 0, POINTER), False),
    ("socketpair", (1, 1, 0), True),
    ("socketpair", (2, 1, 0), False),
    ("sendto", (3, POINTER, 1, 0, 0, 0), True),
    ("sendto", (3, POINTER, 1, 0, POINTER, 16), False),
    ("ioctl", (3, 0x5413), True),
    ("ioctl", (3, 0x5412), False),
    ("ioctl", (3, 0x5452), False),
    ("prctl", (15, POINTER), True),
    ("prctl", (38, 1), False),
    ("prctl", (1, 9), False),
]


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_judges_arguments(machine):
    column = machine == "aarch64"
    arch = _jail.AUDIT_ARCH[machine]
    program = _jail.build_filter(machine, PID, LIFELINE, sealed=False)
    sealed = _jail.build_filter(machine, PID, LIFELINE, sealed=True)
    table = {name: numbers[column] for name, numbers in _table().items()}
    for name, arguments, is_allowed in VERDICTS:
        verdict = _judge(program, arch, int(table[name]), *arguments)
        assert (verdict == _jail.ALLOW) is is_allowed, (name, arguments, hex(verdict))
    allowed = {int(number) for number in table.values() if number != "-"}
    for number in range(600):
        if number not in allowed:
            assert _judge(program, arch, number) == _jail.REFUSE | _jail.EPERM, number
    assert _judge(program, arch, int(table["clone3"])) == _jail.REFUSE | _jail.ENOSYS
    assert _judge(sealed, arch, int(table["openat"])) == _jail.REFUSE | _jail.EACCES
    assert _judge(sealed, arch, int(table["read"])) == _jail.ALLOW
    assert _judge(program, 0x40000003, 4) == _jail.KILL
    if machine == "x86_64":
        assert _judge(program, arch, 0x40000000) == _jail.REFUSE | _jail.ENOSYS
    assert len(program) // 8 < 4096
