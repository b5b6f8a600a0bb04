"""Many documents over the workers of an engine; its dependency group is `batch`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def test_a_dataset_is_answered_over_dask_workers() -> None:
    pytest.importorskip("distributed", reason="install the dependency group `batch`")
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "dask_batch.py")],
        capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "6 of 6" in done.stdout
    for number in range(6):
        assert f"doc-{number} answered {number + 1} occurrences" in done.stdout
