"""Questions about code: the truth is that of a repository which the test wrote itself."""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from langchain_replm.errors import ConfigurationError
from langchain_replm.evals.tasks import task
from langchain_replm.evals.tasks._code_facts import facts_of
from langchain_replm.evals.tasks._code_questions import FAMILIES
from langchain_replm.evals.types import Example


@dataclass
class Written:
    """A file, as the test knows it; nothing here was read back from Python."""

    imports: list[str]
    base: tuple[str, str] | None  # (path, class) of another file
    classes: dict[str, int]  # methods
    functions: dict[str, tuple[int, list[str], str]]  # parameters, calls, what is raised
    text: str = field(default="", init=False)


def invented(rng: random.Random) -> dict[str, Written]:
    files: dict[str, Written] = {}
    for at in range(40):
        path = f"{'core' if at % 2 else 'tools/deep'}/module{at:02}.py"
        base = rng.choice(list(files.items())) if files and at % 3 == 0 else None
        functions = {
            f"{verb}_{noun}{at if rng.random() < 0.8 else ''}": (
                rng.randint(0, 6),
                sorted(rng.sample(["helper", "convert", "announce", "settle"], rng.randint(0, 2))),
                rng.choice(["", "", "ValueError", "TidalError", "KeyError"]),
            )
            for verb, noun in zip(
                rng.sample(["load", "save", "count", "merge", "trim"], rng.randint(1, 4)),
                rng.sample(["tables", "routes", "users", "pages", "notes"], 4),
                strict=False,
            )
        }
        files[path] = Written(
            imports=rng.sample(["json", "socket", "math", "queue", "shelve"], rng.randint(0, 3)),
            base=base and (base[0], next(iter(base[1].classes))),
            classes={f"Store{at}": rng.randint(0, 9), f"Walker{at}": rng.randint(0, 9)},
            functions=functions,
        )
    for path, file in files.items():
        file.text = render(path, file, rng)
    return files


def near(one: str, other: str) -> bool:
    return one.rsplit("/", 1)[0] == other.rsplit("/", 1)[0]


def render(path: str, file: Written, rng: random.Random) -> str:
    lines = ['"""Has words such as import json, raise KeyError and helper() that mean nothing."""']
    for at, name in enumerate(file.imports):
        line = [f"import {name}", f"from {name} import thing", f"import {name}.part as p{at}"][at]
        lines += [line] if rng.random() < 0.5 else ["def _late():", f"    {line}", ""]
    if file.base:
        there, name = file.base
        package, module = there.rsplit("/", 1)
        origin = "" if near(path, there) else package.replace("/", ".")
        lines += [f"from {origin}.{module[:-3]} import {name}"]
    for at, (name, methods) in enumerate(file.classes.items()):
        bases = [file.base[1]] if file.base and at == 0 else ["Shared"] if methods % 2 else []
        lines += [f"class {name}({', '.join(bases)}):", "    size = 1"]
        for number in range(methods):
            lines += [f"    def method{number}(self):", "        helper = self", ""]
        lines += ["    def method0(self): return 'again'"] * (methods > 0)
    for name, (parameters, calls, raised) in file.functions.items():
        given = ["first", "second=convert_later(3)", "*rest", "third", "fourth=None", "**more", ""]
        listed = ", ".join(given[:parameters])
        lines += [f"def {name}({listed}):", "    '''Calls settle() in words only.'''"]
        lines += [f"    found = {call}(1, other.announce_all())" for call in calls]
        lines += [f"    raise {raised}('no')" if at else f"    x = 1  # {raised}" for at in (0, 1)][
            : 1 + bool(raised)
        ]
        lines += ["    return other.helper_of(1)", ""]
    return "\n".join(lines) + "\n" + "# padding\n" * rng.randint(0, 20)


FILES = invented(random.Random(4))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("repository")
    for path, file in FILES.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(file.text)
    (root / "broken.py").write_text("def broken(:\n" * 20)
    (root / ".hidden").mkdir()
    (root / ".hidden" / "secret.py").write_text("x = 1\n" * 50)
    (root / "notes.txt").write_text("no code")
    (root / "latin.py").write_bytes(b"x = '\xe9'\n" * 50)
    return root


@pytest.fixture(scope="module")
def examples(repository: Path) -> list[Example]:
    code = task("code", directory=repository)
    size = sum(len(file.text) + 30 for file in FILES.values()) // 4
    return [
        *code.examples(context_tokens=size * 9 // 10, count=40, seed=0),
        *code.examples(context_tokens=2500, count=40, seed=1),
    ]


def solve(query: str, paths: set[str]) -> str | int | list[str]:
    files = {path: FILES[path] for path in paths}
    names = re.findall(r"`([^`]+)`", query.split("top level of a file. ", 1)[1])
    return of_one_file(query, files, names) or of_all_files(query, files, names)


def of_one_file(query: str, files: dict[str, Written], names: list[str]) -> str | int | list[str]:
    if " call `" in query or " calls `" in query:
        path, called = names[0], names[1].removesuffix("(...)")
        functions = files[path].functions.items()
        by = sorted(name for name, (_, *called_in) in functions if called in str(called_in))
        return by if "List all" in query else by[0]
    if "Which exception" in query:
        return files[names[-1]].functions[names[-2]][2]
    if "How many parameters" in query:
        return files[names[1]].functions[names[0]][0]
    return ""


def of_all_files(query: str, files: dict[str, Written], names: list[str]) -> str | int:
    if "In which file is the class or" in query:
        [path] = [p for p, f in files.items() if names[0] in {**f.classes, **f.functions}]
        return path
    if "import the module" in query:
        far = [f.base[0] for p, f in files.items() if f.base and not near(p, f.base[0])]
        own = [path.split("/", 1)[0] for path in far]
        return own.count(names[0]) + sum(names[0] in file.imports for file in files.values())
    if "most methods" in query:
        return top({name: n for file in files.values() for name, n in file.classes.items()})
    if "inherits from one class" in query:
        [base] = [f.base for f in files.values() if f.base and names[0] == next(iter(f.classes))]
        return base[0]
    if "most functions" in query:
        late = {p: "def _late" in f.text for p, f in files.items()}
        return top({path: len(f.functions) + late[path] for path, f in files.items()})
    assert "among their direct bases" in query
    return sum(f"({names[0]})" in line for f in files.values() for line in f.text.splitlines())


def top(counts: dict[str, int]) -> str:
    (name, most), (_, second) = Counter(counts).most_common(2)
    assert most > second
    return name


def answers(example: Example, truth: str | int | list[str]) -> list[str]:
    if example.metadata["form"] == "choice":
        [letter] = re.findall(
            rf"^\(([A-D])\) {re.escape(str(truth))}$", example.query, re.MULTILINE
        )
        return [letter, f"({letter})", f"The correct answer is ({letter})."]
    if isinstance(truth, list):
        return [", ".join(truth), "\n".join(f"- `{name}`" for name in truth)]
    return [str(truth), f"It is {truth}."]


def test_the_truth_is_that_of_who_wrote_the_files(examples: list[Example]) -> None:
    code = task("code")
    for example in examples:
        paths = {document.metadata["path"] for document in example.context}
        truth = solve(example.query, paths)
        for answer in answers(example, truth):
            score = code.score(example, answer)
            assert score.value == 1, (example.query, answer, example.metadata, score)


def test_all_families_and_both_forms_occur(examples: list[Example]) -> None:
    found = Counter((e.metadata["family"], e.metadata["form"]) for e in examples)
    assert {family for family, _ in found} == set(FAMILIES)
    assert {form for _, form in found} == {"choice", "free"}
    letters = Counter(e.expected for e in examples if e.metadata["form"] == "choice")
    assert set(letters) == set("ABCD")


def test_wrong_answers_get_nothing(examples: list[Example]) -> None:
    code = task("code")
    for example in examples:
        if example.metadata["form"] == "choice":
            for letter in set("ABCD") - {example.expected}:
                assert code.score(example, letter).value == 0
        elif isinstance(example.expected, int):
            assert code.score(example, str(example.expected + 1)).value == 0
        elif isinstance(example.expected, list):
            half = code.score(example, f"{example.expected[0]}, nothing_else").value
            assert half == 2 / (2 + len(example.expected))
        else:
            for rival in example.metadata["rivals"]:
                assert code.score(example, rival).value == 0
                assert code.score(example, f"{example.expected} or {rival}").value == 0
            assert code.score(example, f"x{example.expected}x").value == 0


def test_files_are_whole_and_begin_with_their_path(examples: list[Example]) -> None:
    for example in examples:
        for document in example.context:
            path = document.metadata["path"]
            assert document.page_content == f"# file: {path}\n{FILES[path].text}"


def test_the_standard_library_needs_no_directory() -> None:
    code = task("code", form="free")
    [example] = code.examples(context_tokens=2**15, count=1, seed=0)
    assert re.search(r"in which file", example.query, re.IGNORECASE)
    name = re.search(r"`(\w+)`", example.query.split("top level of a file. ", 1)[1])
    assert name
    defined = re.compile(rf"^(?:class|def|async def) {name[1]}\b", re.MULTILINE)
    [found] = [d.id for d in example.context if defined.search(d.page_content)]
    assert code.score(example, str(found)).value == 1
    assert not [d.id for d in example.context if str(d.id).startswith(("/", "test/"))]


def test_sizes_are_met_with_whole_files() -> None:
    code = task("code")
    for tokens in random.Random(0).sample(range(2000, 20_000), 25):
        [example] = code.examples(context_tokens=tokens, count=1, seed=tokens)
        size = sum(len(document.page_content) for document in example.context) / 4
        assert abs(size / tokens - 1) < 0.05


@pytest.mark.parametrize(
    ("files", "tokens", "says"),
    [
        (None, 2000, "no directory"),
        ({"a.txt": "x"}, 2000, "no Python file"),
        ({"a.py": "x = 1\n" * 500}, 2000, r"have 7\d\d tokens together; context_tokens=2,000"),
        ({"a.py": "x = 1\n" * 5000}, 2000, r"no whole files with about 2,000 tokens"),
        ({f"a{n}.py": "x = 1\n" * 65 for n in range(30)}, 2000, "no question of ours"),
    ],
)
def test_a_directory_that_will_not_do_is_refused(
    files: dict[str, str] | None, tokens: int, says: str, tmp_path: Path
) -> None:
    root = tmp_path / "code"
    if files is not None:
        root.mkdir()
        for name, text in files.items():
            (root / name).write_text(text)
    with pytest.raises(ConfigurationError, match=says):
        list(task("code", directory=root).examples(context_tokens=tokens, count=1, seed=0))


def test_a_form_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="form is one of choice, free, both"):
        task("code", form="essay")


def test_facts_are_those_of_the_syntax() -> None:
    facts = facts_of(
        "pkg/a.py", "from .b import C\nimport x.y\nclass D(C, z.E):\n def m(self): 1\n"
    )
    assert facts
    assert facts.sources == {"C": "pkg/b"}
    assert facts.imports == {"x"}
    assert (facts.classes[0].bases, facts.classes[0].methods) == (("C", "z.E"), 1)
    assert facts_of("a.py", "x = '\\d'\n") is not None  # a warning elsewhere, no matter here
    assert facts_of("a.py", "def (:") is None
