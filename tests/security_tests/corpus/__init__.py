"""Attacks: small cells that try to get out of their sandbox, one module for each family.

An attack names the one *effect* that would show from outside that it got through, and the *control*
under which it is shown to get through, so that the test of its failure can fail. What is outside is
made anew for each attack (`tests/security_tests/host.py`), and cells name it in angle brackets:

| placeholder | stands for |
| --- | --- |
| `<<file>>`, `<<folder>>` | a file that anybody may read and write, with a secret in it; its folder |
| `<<host>>` | process id of the host |
| `<<port>>`, `<<udp>>`, `<<unix>>`, `<<abstract>>`, `<<netlink>>` | where the host listens |
| `<<descriptor>>` | an inheritable descriptor of the host, open on a secret |
| `<<tag>>` | a word that is found nowhere else |

Bombs limit themselves: 300 MB, 64 processes, half a second.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Effect = Literal[
    "told", "changed", "contact", "killed", "host", "left", "grew", "falsified", "called",
    "crashed", "hung", "printed", "unsendable",
]  # fmt: skip
"""told: a secret of the host reached the wire. changed: a file is not as it was. contact: one of
the host's sockets heard something. killed: the host ended or stopped. host: something inside of the
host is not as it was. left: a process, thread or descriptor is left over. grew: the host took a
hundred megabytes, or a gigabyte of addresses. falsified: a later cell gave another result than it
does. called: the host was asked for what no running cell may ask. crashed: our side raised what it
should not. hung: our side waited for what never comes. printed: something is on the host's own
output. unsendable: text that no API takes reached us."""

Control = Literal["none", "process", "gullible"]
"""Where an attack gets through: mode "none", a child process without a jail, or a jailed one whose
host believes every frame (`host.GullibleSession`)."""

PATIENCE_SECONDS = 20.0


@dataclass(frozen=True, kw_only=True)
class Attack:
    """One way to try to get out.

    Attributes:
        control: Where it succeeds; None where nothing that we have would let it through.
        seconds: Time of each cell; less than `PATIENCE_SECONDS` where the cell never ends.
        wait: Seconds after the last cell, for what comes late.
        bare: The cells bring all that they need, and so also meet the language rules as they are;
            all others start with `PRELUDE`, after a line that switches those rules off.
        deep: It rewrites the interpreter it runs in. That fools its own later cells, which cannot
            be prevented; they are not looked at.
        heavy: It takes long, or it tries what is the same on our side in every mode; it is tried in
            each mode and as each user, but not in every pair of them.
        machine: Where its numbers of system calls are right.
    """

    family: str
    name: str
    cells: tuple[str, ...]
    effect: Effect
    control: Control | None
    seconds: float = PATIENCE_SECONDS
    wait: float = 0.0
    bare: bool = False
    deep: bool = False
    heavy: bool = False
    machine: str | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


RULES_OFF = "__builtins__.update(vars(len.__self__))\n"
"""How little it takes in mode "restricted": the language rules are manners, not the wall."""

PRELUDE = """\
import ctypes, os, socket, struct, subprocess, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
def check(result):
    if result < 0: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
"""


def attacks(
    family: str,
    effect: Effect,
    rows: Mapping[str, str | tuple[str, ...]],
    *,
    control: Control | None = "none",
    **common: Any,
) -> tuple[Attack, ...]:
    """Make the attacks of a table: name to cell, or to cells that run one after the other."""
    return tuple(
        Attack(
            family=family,
            name=name,
            cells=(cells,) if isinstance(cells, str) else cells,
            effect=effect,
            control=control,
            **common,
        )
        for name, cells in rows.items()
    )


def all_attacks() -> tuple[Attack, ...]:
    """Every attack of every module here."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return tuple(attack for module in modules for attack in module.ATTACKS)
