"""Every attack of the corpus fails in every sandbox, and gets through where there is none.

An attack fails if *no* effect of any kind is seen from outside of the sandbox, whatever it was
after. Where it has a control, the same cells have the effect that they are after.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from tests.container_engine import PYTHON, find_engine
from tests.security_tests.corpus import all_attacks
from tests.security_tests.outside import Setting, stage

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="effects are looked for in Linux's /proc"),
    pytest.mark.timeout(600),  # the first test of a setting stages the whole corpus
]

ATTACKS = all_attacks()
FAMILIES = tuple(dict.fromkeys(attack.family for attack in ATTACKS))

LIGHT = "EVERY_ATTACK" not in os.environ
"""Unless `make attacks` asks for it, each heavy attack is tried in two settings and not in all."""

SETTINGS = {
    "subprocess": Setting(mode="subprocess"),
    "subprocess as nobody": Setting(who="nobody", mode="subprocess", light=LIGHT),
    "restricted, rules switched off": Setting(mode="restricted", light=LIGHT),
    "restricted, rules switched off, as nobody": Setting(who="nobody", mode="restricted"),
    "restricted": Setting(mode="restricted", rules=True, light=LIGHT),
    "docker": Setting(mode="docker", light=LIGHT),
    "docker as root": Setting(mode="docker", light=LIGHT, options={"user": "0:0"}),
}
"""Where attacks fail. The heavy ones are always tried in both modes and as both users."""

CONTROLS = {
    "none": Setting(mode="none", alone=True),
    "process": Setting(options={"isolation": "process"}, alone=True),
    "gullible": Setting(alone=True, gullible=True),
}
"""Where attacks succeed; the name is that of `Attack.control`."""


AT_ONCE = 4
"""Much of the time goes by while a cell that never ends is waited for."""

Staged = dict[str, Future[dict[str, Any]]]


@pytest.fixture(scope="module")
def staged(request: pytest.FixtureRequest) -> Iterator[Staged]:
    """What came of all attacks, by setting or control; each is staged once, some at a time."""
    chosen = {
        item.callspec.params.get(name)
        for item in request.session.items
        for name in ("setting", "control")
        if item.path == request.path and hasattr(item, "callspec")
    }
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {name: pool.submit(_stage, name) for name in (*CONTROLS, *SETTINGS) if name in chosen}


def _stage(name: str) -> dict[str, Any]:
    if name in CONTROLS:
        return stage(CONTROLS[name], [attack for attack in ATTACKS if attack.control == name])
    setting = SETTINGS[name]
    if setting.mode == "docker":
        engine, reason = find_engine()
        if engine is None:
            pytest.skip(f"no container engine can run here: {reason}")
        image = {"image": engine.image, "engine": engine.command, "python": PYTHON}
        options = {**setting.options, **image}
        setting = replace(setting, options=options, environment=engine.environment)
    return stage(setting, ATTACKS)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("setting", SETTINGS)
def test_no_attack_gets_through(staged: Staged, setting: str, family: str) -> None:
    results = staged[setting].result()
    found = {name: result for name, result in results.items() if name.startswith(f"{family}/")}
    through = {name: result for name, result in found.items() if result["effects"]}
    assert not through


@pytest.mark.parametrize("control", CONTROLS)
def test_attacks_get_through_where_nothing_stops_them(staged: Staged, control: str) -> None:
    """So their failure above means something: the cells are right, and the effects are seen."""
    results = staged[control].result()
    wanted = {f"{attack.family}/{attack.name}": attack.effect for attack in ATTACKS}
    # A host that is dead or has crashed shows no other effect, and is worse.
    failed = {
        name: (wanted[name], result)
        for name, result in results.items()
        if not result["effects"].keys() & {wanted[name], "killed", "crashed"}
    }
    assert not failed


def test_the_corpus_is_large_and_most_of_it_is_under_control() -> None:
    names = [f"{attack.family}/{attack.name}" for attack in ATTACKS]
    assert len(names) == len(set(names)) >= 350
    assert len({family.partition(":")[0] for family in FAMILIES}) >= 15
    controlled = [attack for attack in ATTACKS if attack.control is not None]
    assert len(controlled) >= 250


def test_every_kind_of_effect_is_shown_to_be_seen() -> None:
    """`left`, say, is a finding only if something that was left would have been found."""
    aimed_at = Counter(attack.effect for attack in ATTACKS)
    seen = Counter(attack.effect for attack in ATTACKS if attack.control is not None)
    assert seen.keys() == aimed_at.keys()
