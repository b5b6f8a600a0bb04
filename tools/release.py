"""What is looked at before a release: `python tools/release.py dist | pythons | lowest`.

- dist: build both archives twice, compare them, and check how an index will show them.
- pythons: install the wheel on every supported Python that is on this machine, and run it.
- lowest: install the oldest versions that `pyproject.toml` allows, and run the tests with them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
APART = "deepagents"
"""Its own bounds are above ours; it is one of our extras, and resolves with the newest versions."""

QUICKSTART = """\
from langchain_replm import RLM
from langchain_replm.testing import ScriptedChatModel
root = ScriptedChatModel(replies=['```repl\\nFINAL(context.count("heron"))\\n```'])
assert RLM(root).generate("How many?", "heron, stork, heron").answer == "2"
print("    a run answers")
"""


def run(*command: str | Path, **options: object) -> str:
    """Run a command; its output is shown only when it fails."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment = {**clean, **options.pop("env", {})}  # type: ignore[dict-item]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options,  # type: ignore[call-overload]
    )  # fmt: skip
    if done.returncode:
        print(done.stdout)
        sys.exit(f"{' '.join(map(str, command))} ended with {done.returncode}")
    return str(done.stdout)


def dist() -> None:
    """Both archives, twice, in `dist/`; the time in them is that of the last commit."""
    epoch = run("git", "log", "-1", "--format=%ct").strip()
    shutil.rmtree(DIST, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        for target in (DIST, Path(folder)):
            for kind in ("sdist", "wheel"):
                command = (sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", target)
                run(*command, env={"SOURCE_DATE_EPOCH": epoch})
        for path in sorted(DIST.iterdir()):
            first, second = (digest(home / path.name) for home in (DIST, Path(folder)))
            if first != second:
                sys.exit(f"{path.name} was built twice and differs")
            print(f"{path.name}: {path.stat().st_size:,} bytes, sha256 {first}, twice")
    print(run(sys.executable, "-m", "twine", "check", "--strict", *sorted(DIST.iterdir())).strip())


def digest(path: Path) -> str:
    """The sha256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def pythons() -> None:
    """The wheel in a fresh environment of each Python, then the unit tests with what it brought."""
    dist()
    [wheel] = DIST.glob("*.whl")
    for version in PYTHONS:
        python = interpreter(version)
        if python is None:
            print(f"==> Python {version}: not on this machine")
            continue
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder)
            print(f"==> {run(python, '--version').strip()}: installing the wheel", flush=True)
            run(python, "-m", "venv", home)
            inside = home / "bin" / "python"
            run(inside, "-m", "pip", "install", "--quiet", "--upgrade", "pip>=25.1")
            run(inside, "-m", "pip", "install", "--quiet", wheel)
            site = Path(
                run(inside, "-c", "import sysconfig as s; print(s.get_path('purelib'))").strip()
            )
            bytes_ = sum(path.stat().st_size for path in site.rglob("*") if path.is_file())
            print(f"    {bytes_ / 1e6:.0f} MB with pip and all that it needs")
            print(run(inside, "-c", QUICKSTART).rstrip())
            run(home / "bin" / "langchain-replm", "doctor")
            print("    doctor has nothing to complain of; installing the test tools", flush=True)
            run(inside, "-m", "pip", "install", "--quiet", "--group", "test")
            print("    " + tested(inside, "tests/unit_tests"), flush=True)


def interpreter(version: str) -> str | None:
    """The interpreter of a version: on the path, or one of pyenv's."""
    found = shutil.which(f"python{version}")
    if found and not subprocess.run([found, "-c", ""], check=False, capture_output=True).returncode:
        return found
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    made = sorted(versions.glob(f"{version}.*/bin/python{version}"))
    return str(made[-1]) if made else None


def lowest() -> None:
    """Each extra resolves alone; all together, but for one, pass the tests."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = sorted(project["project"]["optional-dependencies"])
    uv = [sys.executable, "-m", "uv", "--quiet", "pip"]
    for extra in (None, *extras):
        for way in ("lowest-direct", "highest"):
            chosen = ["--extra", extra] if extra else []
            compiled = [*uv, "compile", "pyproject.toml", "--no-header", "--no-annotate"]
            count = len(run(*compiled, "--resolution", way, *chosen).splitlines())
            print(f"{extra or 'core'}, {way}: {count} packages", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=False)
        python = Path(folder) / "bin" / "python"
        ours = f".[{','.join(extra for extra in extras if extra != APART)}]"
        tools = [line for line in project["dependency-groups"]["test"] if APART not in line]
        install = [*uv, "install", "--python", python]
        run(*install, "--resolution", "lowest-direct", "--editable", ours)
        direct = [line.partition(">=")[0] for line in project["project"]["dependencies"]]
        shown = run(*uv, "freeze", "--python", python).splitlines()
        print(", ".join(line for line in shown if line.partition("==")[0] in direct), flush=True)
        pins = Path(folder) / "pins.txt"
        pins.write_text("\n".join(line for line in shown if "==" in line), encoding="utf-8")
        run(*install, "--constraint", pins, *tools)
        # What is durable stands on LangGraph and pydantic more than all the rest.
        print(tested(python, "tests/unit_tests", "tests/integration_tests/durable"))


def tested(python: Path, *tests: str) -> str:
    """Pytest's last line."""
    pytest = ("-m", "pytest", "-q", "-p", "no:cacheprovider")
    return run(python, *pytest, *tests).strip().splitlines()[-1]


if __name__ == "__main__":
    {"dist": dist, "pythons": pythons, "lowest": lowest}[sys.argv[1]]()
