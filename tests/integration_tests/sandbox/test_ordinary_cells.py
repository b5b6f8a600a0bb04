"""Cells as root models write them run unchanged in every mode, with what they would print."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from langchain_replm.sandbox import ProcessSandbox, Sandbox
from langchain_replm.sandbox.docker import DockerSandbox
from tests.container_engine import PYTHON, find_engine
from tests.ordinary_cells import ORDINARY, SCIENCE, ZONES
from tests.worker_harness import Harness


def wrong(
    sandbox: Sandbox | None, mode: str, cells: Mapping[str, tuple[str, str]]
) -> dict[str, object]:
    """Cells whose output is not what was expected."""
    found: dict[str, object] = {}
    with Harness(mode, sandbox=sandbox) as h:
        for name, (code, expected) in cells.items():
            done = h.run(code)
            if done.status != "ok" or done.output_head + done.output_tail != expected:
                found[name] = done
    return found


@pytest.mark.parametrize("mode", ["restricted", "subprocess"])
def test_ordinary_cells_run_in_a_jail(mode: str) -> None:
    assert len(ORDINARY) >= 60
    cells = dict(ORDINARY)
    if Path("/usr/share/zoneinfo/Europe/Berlin").exists():
        cells["zone"] = ZONES
    assert not wrong(None, mode, cells)


@pytest.mark.parametrize("off", ["namespaces", "landlock"])
def test_ordinary_cells_run_where_a_layer_is_missing(off: str) -> None:
    sandbox = ProcessSandbox()
    sandbox._jail_layers = [name for name in sandbox._jail_layers if name != off]
    assert not wrong(sandbox, "restricted", ORDINARY)


def test_cells_with_numpy_run_in_subprocess() -> None:
    pytest.importorskip("numpy")
    assert not wrong(None, "subprocess", SCIENCE)


@pytest.mark.timeout(600)  # the first test may install an engine
def test_ordinary_cells_run_in_a_container(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, reason = find_engine()
    if engine is None:
        pytest.skip(f"no container engine can run here: {reason}")
    for name, value in engine.environment.items():
        monkeypatch.setenv(name, value)
    sandbox = DockerSandbox(engine.image, engine=engine.command, python=PYTHON)
    assert not wrong(sandbox, "docker", ORDINARY)
