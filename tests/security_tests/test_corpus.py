"""Every attack of the corpus fails in every sandbox, and gets through where there is none.

An attack fails if *no* effect of any kind is seen from outside of the sandbox, whatever it was
after. Where it has a control, the same cells have the effect that they are after.
"""

from __future__ import annotations

import functools
import sys
from collections import Counter
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

SETTINGS = {
    "subprocess": Setting(mode="subprocess"),
    "subprocess as nobody": Setting(who="nobody", mode="subprocess", light=True),
    "restricted, rules switched off": Setting(mode="restricted", light=True),
    "restricted, rules switched off, as nobody": Setting(who="nobody", mode="restricted"),
    "restricted": Setting(mode="restricted", rules=True, light=True),
    "docker": Setting(mode="docker", light=True),
    "docker as root": Setting(mode="docker", light=True, options={"user": "0:0"}),
}
"""Where attacks fail. The heavy ones are tried in both modes and as both users."""

CONTROLS = {
    "none": Setting(mode="none", alone=True),
    "process": Setting(options={"isolation": "process"}, alone=True),
    "gullible": Setting(alone=True, gullible=True),
}
"""Where attacks succeed; the name is that of `Attack.control`."""


@functools.cache
def staged(name: str) -> dict[str, Any]:
    """What came of all attacks in one setting; they are staged once."""
    setting = SETTINGS[name]
    if setting.mode == "docker":
        engine, reason = find_engine()
        if engine is None:
            pytest.skip(f"no container engine can run here: {reason}")
        image = {"image": engine.image, "engine": engine.command, "python": PYTHON}
        environment = engine.environment
        setting = Setting(
            mode="docker", light=True, options={**setting.options, **image}, environment=environment
        )
    return stage(setting, ATTACKS)


@functools.cache
def under_control(name: str) -> dict[str, Any]:
    return stage(CONTROLS[name], [attack for attack in ATTACKS if attack.control == name])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("setting", SETTINGS)
def test_no_attack_gets_through(setting: str, family: str) -> None:
    results = staged(setting)
    found = {name: result for name, result in results.items() if name.startswith(f"{family}/")}
    through = {name: result for name, result in found.items() if result["effects"]}
    assert not through


@pytest.mark.parametrize("control", CONTROLS)
def test_attacks_get_through_where_nothing_stops_them(control: str) -> None:
    """So their failure above means something: the cells are right, and the effects are seen."""
    results = under_control(control)
    wanted = {f"{attack.family}/{attack.name}": attack.effect for attack in ATTACKS}
    # A host that is dead shows no other effect, and is worse.
    failed = {
        name: (wanted[name], result)
        for name, result in results.items()
        if not result["effects"].keys() & {wanted[name], "killed"}
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
