"""Virtual environments for other RLMs, under `.venv-peers/`: made once, used by every command."""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / ".venv-peers"


def environment(key: str, requirements: Sequence[str]) -> Path:
    """The interpreter of an environment that holds these packages.

    Raises:
        subprocess.CalledProcessError: They could not be installed.
    """
    home = HOME / key
    python, stamp = home / "bin" / "python", home / "installed.txt"
    wanted = "\n".join(requirements)
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return python
    print(f"==> installing {', '.join(requirements)}", file=sys.stderr, flush=True)
    if not python.exists():
        venv.create(home, with_pip=True)
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, *requirements], check=True)
    stamp.write_text(wanted, encoding="utf-8")
    return python
