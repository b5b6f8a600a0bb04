"""The archives that people install: built twice, looked into, installed, run."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "langchain_replm"
ENVIRONMENT = {**os.environ, "SOURCE_DATE_EPOCH": "1760000000"}


def run(*command: str | Path, folder: Path) -> str:
    environment = {name: value for name, value in ENVIRONMENT.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(source: Path, target: Path, kind: str) -> Path:
    run(sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", target, folder=source)
    [archive] = target.iterdir()
    return archive


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("wheel"), "wheel")


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("sdist"), "sdist")


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    there = {
        str(path.relative_to(ROOT))
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    about = {name for name in names if ".dist-info/" in name}
    assert names - about == there
    assert {name.split(".dist-info/")[1] for name in about} == {
        "METADATA",
        "RECORD",
        "WHEEL",
        "entry_points.txt",
        "licenses/LICENSE",
    }
    for name in ("py.typed", "report/app.js", "report/page.html", "sandbox/THREAT_MODEL.md"):
        assert f"langchain_replm/{name}" in names


def test_archives_are_built_reproducibly(wheel: Path, sdist: Path, tmp_path: Path) -> None:
    assert build(ROOT, tmp_path / "wheel", "wheel").read_bytes() == wheel.read_bytes()
    assert build(ROOT, tmp_path / "sdist", "sdist").read_bytes() == sdist.read_bytes()


def test_the_source_archive_builds_the_same_wheel_and_holds_the_tests(
    wheel: Path, sdist: Path, tmp_path: Path
) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    [source] = tmp_path.iterdir()
    for name in ("LICENSE", "Makefile", "tests/conftest.py", "docs", "examples", "cookbook"):
        assert (source / name).exists(), name
    assert build(source, tmp_path / "wheel", "wheel").read_bytes() == wheel.read_bytes()


def test_the_wheel_is_installed_and_works(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", symlinks=True)
    python = tmp_path / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
    run(*pip, "--no-deps", "--no-index", wheel, folder=tmp_path)
    [site] = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    # Its dependencies are those of this environment; an editable install of ours is not followed.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    where = run(
        python,
        "-W",
        "error",
        "-c",
        "import langchain_replm as m; print(m.__file__)",
        folder=tmp_path,
    )
    assert Path(where.strip()).is_relative_to(site)
    code = (
        "from langchain_replm import RLM\n"
        "from langchain_replm.testing import ScriptedChatModel\n"
        "root = ScriptedChatModel(replies=['```repl\\nFINAL(context.count(\"heron\"))\\n```'])\n"
        "print(RLM(root).generate('How many?', 'heron, stork, heron').answer)"
    )
    assert run(python, "-c", code, folder=tmp_path) == "2\n"
    assert "a cell in mode restricted: runs" in run(
        tmp_path / "venv" / "bin" / "langchain-replm", "doctor", folder=tmp_path
    )
