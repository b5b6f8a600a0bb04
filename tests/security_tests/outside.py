"""From outside of the host: start it as a user, hand it attacks, read which effects were seen."""

from __future__ import annotations

import json
import os
import platform
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.security_tests.corpus import PRELUDE, RULES_OFF, Attack

ROOT = Path(__file__).parents[2]
IS_ROOT = hasattr(os, "getuid") and os.getuid() == 0
NOBODY_PYTHON = "/usr/bin/python3"
NEEDED_VERSION = "import sys; sys.exit(sys.version_info < (3, 11))"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Who the host is, and in which sandbox the attacks are tried.

    Attributes:
        who: "own", or "nobody": an ordinary user, where the tests run as root.
        mode: Mode of the sandbox.
        rules: Whether the language rules stay on; else a cell switches them off first.
        light: Leave the heavy attacks out.
        alone: Stage each attack in a host of its own.
        gullible: The host believes every frame.
        off: Layers of the jail that are switched off.
    """

    who: str = "own"
    mode: str = "subprocess"
    rules: bool = False
    light: bool = False
    alone: bool = False
    gullible: bool = False
    off: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)


def stage(setting: Setting, attacks: Sequence[Attack]) -> dict[str, Any]:
    """Have the attacks staged; give for each its effects and the cell's own words."""
    chosen = [a for a in attacks if a.machine in (None, platform.machine())]
    if setting.rules:
        chosen = [a for a in chosen if a.bare]
    if setting.light:
        chosen = [a for a in chosen if not a.heavy]
    rules_off = RULES_OFF if setting.mode == "restricted" and not setting.rules else ""
    plan = {
        "mode": setting.mode,
        "options": setting.options,
        "prelude": rules_off + PRELUDE,
        "rules_off": rules_off,
        "alone": setting.alone,
        "gullible": setting.gullible,
        "off": setting.off,
        "attacks": [{**a.as_dict(), "name": f"{a.family}/{a.name}"} for a in chosen],
    }
    with host_command(setting.who) as (command, root):
        done = subprocess.run(
            [*command, "-W", "ignore", "-m", "tests.security_tests.host"],
            input=json.dumps(plan),
            capture_output=True,
            text=True,
            cwd=root,
            env={
                "PYTHONPATH": str(root),
                "PYTHONDONTWRITEBYTECODE": "1",
                "PATH": os.environ.get("PATH", os.defpath),
                "STARTED_WITH": "STARTED-" + secrets.token_hex(8),
                **setting.environment,
            },
            timeout=300,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    results: dict[str, Any] = json.loads(done.stdout)
    assert results.keys() == {attack["name"] for attack in plan["attacks"]}
    return results


@contextmanager
def host_command(who: str) -> Iterator[tuple[list[str], Path]]:
    """The Python that is the host, and where it finds our code."""
    if who == "own":
        yield [sys.executable], ROOT
        return
    setpriv = shutil.which("setpriv")
    if not IS_ROOT or setpriv is None:
        pytest.skip("needs root, and setpriv to become somebody else")
    if subprocess.run([NOBODY_PYTHON, "-c", NEEDED_VERSION], check=False).returncode:
        pytest.skip("needs a Python of at least 3.11 that everybody may run")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as copy:
        for part in ("langchain_replm", "tests"):
            shutil.copytree(ROOT / part, Path(copy, part))
        subprocess.run(["chmod", "-R", "a+rX", copy], check=True)
        user = [setpriv, "--reuid=65534", "--regid=65534", "--clear-groups"]
        yield [*user, NOBODY_PYTHON], Path(copy)
