"""The rules of the house that no linter knows, as tests that can fail.

Two lists here name what is over a limit today, each with its size as a ceiling: they may shrink, and
an entry that is no longer needed fails too, so that it goes.
"""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import langchain_replm

PACKAGE = Path(langchain_replm.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
NAMES = [str(file.relative_to(PACKAGE)) for file in FILES]

MODULE_LINES = 300
FUNCTION_LINES = 40

# Next full fifty: a module that grows past it is looked at again.
LONG_MODULES = {
    "chat_model.py": 350,  # both colours of LangChain's four methods
    "_drivers.py": 600,  # both colours of every effect, side by side on purpose
    "_models.py": 400,  # model names and raw OpenAI clients
    "_nodes/_service.py": 350,  # serve and stop share one cell's state
    "_subcalls.py": 500,  # desk, cache and replay share keys and records
    "prompts.py": 550,  # every sentence that a model reads
    "runnable.py": 400,
    "state.py": 350,  # every channel
    "sandbox/_wire.py": 750,  # the protocol: table, checks, session
    "sandbox/_worker.py": 550,
    "sandbox/_worker_repl.py": 850,
    "sandbox/_worker_text.py": 700,
    "sandbox/_container.py": 400,
    "sandbox/_jail.py": 750,
    "sandbox/_monty_worker.py": 350,
    "sandbox/docker.py": 350,
    "_requests.py": 400,  # what is asked of models, tools, children and workers
    "types.py": 500,  # the record
}
LONG_FUNCTIONS = {
    "_models.py:_twin": 44,
}

COLOURED = {
    "_chat/plumbing.py",
    "_chat/kept_runs.py",
    "_rlm_tool.py",
    "middleware.py",
    "_chat/nesting.py",
    "chat_model.py",
    "_compiled.py",
    "_distrust.py",  # both colours of a checkpointer
    "_drivers.py",
    "_traces/calls.py",  # LangChain has two classes of callback manager
    "_traces/iterations.py",
    "_models.py",
    "evals/runners/_agent.py",  # LangChain's middleware has a method for each
    "evals/runners/_base.py",
    "evals/runners/_steps.py",
    "graph.py",
    "evals/experiment.py",
    "evals/langsmith.py",
    "runnable.py",
    "sandbox/_worker_repl.py",  # cells may use top-level `await`; it runs in the worker's own loop
}
COLOURED_ROOMS = ("extractive/", "testing/")
"""Where `async` may occur: in what people call, and in models."""

PUBLIC = [
    "RLM",
    "AnswerValidationError",
    "ConfigurationError",
    "ContextNotFoundError",
    "ContextStore",
    "DirectoryContextStore",
    "ExtractiveChatModel",
    "HistoryEntry",
    "Journal",
    "LimitExceededError",
    "MemoryContextStore",
    "MemoryJournal",
    "ModelPrice",
    "RLMChatModel",
    "RLMConfig",
    "RLMError",
    "RLMEvent",
    "RLMGraph",
    "RLMInput",
    "RLMResponse",
    "SandboxError",
    "SqliteJournal",
    "StreamChunk",
    "TrajectoryFile",
    "build_rlm_graph",
    "create_rlm_graph",
    "read_trajectories",
]
WITHOUT_EXAMPLE = {
    "AnswerValidationError",
    "ConfigurationError",
    "ContextNotFoundError",
    "ContextStore",
    "HistoryEntry",
    "Journal",
    "LimitExceededError",
    "MemoryContextStore",
    "MemoryJournal",
    "RLMError",
    "RLMEvent",
    "RLMGraph",
    "RLMInput",
    "SandboxError",
    "StreamChunk",
}
"""Values, errors and protocols that nobody builds to begin with; this list may only shrink."""


@cache
def tree_of(name: str) -> ast.Module:
    return ast.parse((PACKAGE / name).read_text(encoding="utf-8"), name)


each_file = pytest.mark.parametrize("name", NAMES)


# -- names -----------------------------------------------------------------------------------------


def test_the_public_names_are_these_and_no_others() -> None:
    # Adding or renaming one is a decision; it is made here, in the README and in the changelog.
    assert langchain_replm.__all__ == PUBLIC
    assert sorted(langchain_replm._HOMES) == sorted(PUBLIC)


def test_every_public_name_is_listed_imported_and_known_to_type_checkers() -> None:
    assert set(PUBLIC) <= set(dir(langchain_replm))
    for name in PUBLIC:
        assert getattr(langchain_replm, name) is not None
    declared = {
        alias.asname or alias.name
        for node in ast.walk(tree_of("__init__.py"))
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").startswith("langchain_replm.")
        and node.module != "langchain_replm._lazy"
        for alias in node.names
    }
    assert declared == set(PUBLIC), "the imports under TYPE_CHECKING"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Rlm'"):
        langchain_replm.Rlm  # noqa: B018 - looking is what is tested
    assert not hasattr(langchain_replm, "__wrapped__")


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_has_a_docstring_of_its_own(name: str) -> None:
    value = getattr(langchain_replm, name)
    text = inspect.cleandoc(value.__doc__ or "")
    inherited = {base.__doc__ for base in getattr(value, "__mro__", ())[1:]}
    assert text
    assert value.__doc__ not in inherited
    assert value.__module__.startswith("langchain_replm")
    has_example = re.search(r"^Example:\n    ```python\n", text, re.MULTILINE) is not None
    assert has_example is (name not in WITHOUT_EXAMPLE)


# -- imports ---------------------------------------------------------------------------------------

HEAVY = [
    "openai",
    "langchain_openai",
    "langgraph",
    "langchain",
    "opentelemetry",
    "rich",
    "tiktoken",
]


def run_fresh(code: str) -> str:
    command = [sys.executable, "-c", code]
    environment = {"PYTHONPATH": str(PACKAGE.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_package_loads_no_provider_and_no_graph() -> None:
    code = f"""
import sys
import langchain_replm
names = set(dir(langchain_replm))
assert {set(PUBLIC)!r} <= names, names
langchain_replm.__version__
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    assert run_fresh(code).strip() == "[]"


def test_values_and_errors_load_no_provider_and_no_graph_either() -> None:
    code = f"""
import sys
from langchain_replm import RLMConfig, RLMError, RLMEvent, SandboxError, StreamChunk
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    assert run_fresh(code).strip() == "[]"


# -- colours ---------------------------------------------------------------------------------------


def has_colour(name: str) -> bool:
    coloured = (
        ast.Await, ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith,
    )  # fmt: skip
    return any(
        isinstance(node, coloured) or (isinstance(node, ast.comprehension) and node.is_async)
        for node in ast.walk(tree_of(name))
    )


@each_file
def test_async_occurs_only_where_it_is_allowed(name: str) -> None:
    if has_colour(name):
        assert name in COLOURED or name.startswith(COLOURED_ROOMS)


def test_the_list_of_coloured_files_names_files() -> None:
    assert set(NAMES) >= COLOURED


# -- what a forged message could use ---------------------------------------------------------------

FORBIDDEN_MODULES = {"pickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
FORBIDDEN_CALLS = {"eval", "exec"}


def imported(name: str) -> Iterator[str]:
    """Every module that a file imports, at the top or inside a function."""
    for node in ast.walk(tree_of(name)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: a relative import"
            yield node.module or ""
        elif isinstance(node, ast.Call) and node.args:
            by_name = ast.unparse(node.func).endswith(("import_module", "__import__"))
            # A name that is no literal is a cell's own import, or `_HOMES`.
            if by_name and isinstance(node.args[0], ast.Constant):
                yield str(node.args[0].value)


@each_file
def test_nothing_is_unpickled_or_evaluated_outside_the_worker(name: str) -> None:
    modules = {module.split(".")[0] for module in imported(name)}
    assert not modules & FORBIDDEN_MODULES
    # Cells are run by the worker; Monty runs its prelude, which is no code of this process.
    if Path(name).name.startswith(("_worker", "_monty_prelude")):
        return
    for node in ast.walk(tree_of(name)):
        if isinstance(node, ast.Name):
            assert node.id not in FORBIDDEN_CALLS, f"line {node.lineno}"
        if isinstance(node, ast.Attribute):
            # ast.literal_eval is another name; builtins.eval and model.eval are this one.
            assert node.attr not in FORBIDDEN_CALLS, f"line {node.lineno}"
        if isinstance(node, ast.Constant):
            assert node.value not in ("__import__", "__builtins__"), f"line {node.lineno}"


WORKER_FILES = [name for name in NAMES if Path(name).name.startswith("_worker")]


@pytest.mark.parametrize("name", WORKER_FILES)
def test_the_worker_imports_only_the_standard_library_and_its_own_files(name: str) -> None:
    own = {Path(worker).stem for worker in WORKER_FILES}
    nodes = ast.walk(tree_of(name))
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module == "langchain_replm.sandbox":
            # The same files under the name that they have inside the package (mode "none").
            assert {alias.name for alias in node.names} <= own
    for module in imported(name):
        top = module.split(".")[0]
        if module == "langchain_replm.sandbox" or top in own:
            continue
        assert top in sys.stdlib_module_names, module


def test_the_worker_exists() -> None:
    assert "sandbox/_worker.py" in WORKER_FILES


# -- size ------------------------------------------------------------------------------------------


def count_lines(name: str) -> int:
    return len((PACKAGE / name).read_text(encoding="utf-8").splitlines())


@each_file
def test_a_module_does_one_thing(name: str) -> None:
    assert count_lines(name) <= LONG_MODULES.get(name, MODULE_LINES)


def functions(name: str) -> Iterator[tuple[str, int]]:
    """Each function with its lines, signature included, docstring not."""
    for node in ast.walk(tree_of(name)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            if ast.get_docstring(node) is not None:
                text = node.body[0]
                lines -= (text.end_lineno or 0) - text.lineno + 1
            yield f"{name}:{node.name}", lines


@each_file
def test_a_function_does_one_thing(name: str) -> None:
    for function, lines in functions(name):
        assert lines <= LONG_FUNCTIONS.get(function, FUNCTION_LINES), function


def test_what_is_no_longer_too_long_leaves_the_list() -> None:
    assert set(LONG_MODULES) <= {name for name in NAMES if count_lines(name) > MODULE_LINES}
    lengths = [item for name in NAMES for item in functions(name)]
    assert set(LONG_FUNCTIONS) <= {name for name, lines in lengths if lines > FUNCTION_LINES}


# -- text ------------------------------------------------------------------------------------------

HOST_PATH = re.compile(r"(?<![\w./])/(?:work|home|root|tmp|Users|opt|mnt|srv)/\w|[A-Z]:\\\\?Users")


def test_the_pattern_of_host_paths_finds_some() -> None:
    assert HOST_PATH.search("see /home/me/x")
    assert HOST_PATH.search('open("/tmp/v/bin")')
    assert HOST_PATH.search(r"C:\Users\me")
    assert not HOST_PATH.search("http://127.0.0.1:8080/v1 and a/home/b")


@pytest.mark.parametrize(
    "name",
    [
        str(file.relative_to(PACKAGE))
        for file in sorted(PACKAGE.rglob("*"))
        if file.is_file() and "__pycache__" not in file.parts
    ],
)
def test_no_file_of_the_package_mentions_a_path_of_a_host(name: str) -> None:
    text = (PACKAGE / name).read_text(encoding="utf-8")
    assert not HOST_PATH.search(text)
    assert str(PACKAGE.parent) not in text
    assert str(Path.home()) not in text or str(Path.home()) == "/"


@each_file
def test_every_module_says_what_it_is_for(name: str) -> None:
    tree = tree_of(name)
    if tree.body:  # an empty file, a mere mark of a package, has nothing to say
        assert ast.get_docstring(tree)


@each_file
def test_every_file_compiles_without_a_warning(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compile((PACKAGE / name).read_text(encoding="utf-8"), name, "exec")
