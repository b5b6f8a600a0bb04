"""Questions about Python files whose answers follow from their syntax alone."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable, Sequence

    from langchain_replm.evals.tasks._code_facts import ClassFacts, FileFacts, FunctionFacts

_SHORT_NAME_CHARS = 3
_FEW = 12


class Question(NamedTuple):
    """What is asked of files, and what is right."""

    text: str
    truth: str | int | list[str]
    """A name or path, a number, or the names that are all to be said."""
    rivals: list[str]
    """Names or paths of the same kind that are wrong; numbers have none."""


def _some(rng: random.Random, names: Iterable[str], truth: str) -> list[str]:
    """Up to a few of the names, in random order, without the right one."""
    others = sorted(set(names) - {truth})
    return rng.sample(others, min(_FEW, len(others)))


def _telling(name: str) -> bool:
    """Whether a name is long enough to be looked for, and public."""
    return len(name) > _SHORT_NAME_CHARS and not name.startswith("_")


def _counts(files: Sequence[FileFacts]) -> Counter[str]:
    """How often a name is defined in all files, at any depth."""
    return Counter(chain.from_iterable(file.defined for file in files))


def _functions(files: Sequence[FileFacts]) -> list[tuple[FileFacts, FunctionFacts]]:
    """Functions whose name their file defines once."""
    return [
        (file, function)
        for file in files
        for function in file.functions
        if file.defined.count(function.name) == 1 and _telling(function.name)
    ]


def _ranked(values: Iterable[tuple[int, str]]) -> list[str] | None:
    """The names by falling value, if the first is alone at the top and its name is its own."""
    ranking = sorted(values, reverse=True)
    names = [name for _, name in ranking]
    if len(ranking) < 2 or ranking[0][0] == ranking[1][0] or names.count(names[0]) > 1:  # noqa: PLR2004
        return None
    return list(dict.fromkeys(names))


# -- families --------------------------------------------------------------------------------------


def _where(rng: random.Random, files: Sequence[FileFacts]) -> Question | None:
    counts = _counts(files)
    found = [
        (name, file.path)
        for file in files
        for name in [*(each.name for each in file.classes), *(f.name for f in file.functions)]
        if counts[name] == 1 and _telling(name)
    ]
    if not found:
        return None
    name, path = rng.choice(found)
    text = f"In which file is the class or function `{name}` defined?"
    return Question(text, path, _some(rng, (file.path for file in files), path))


def _importers(rng: random.Random, files: Sequence[FileFacts]) -> Question | None:
    counts = Counter(chain.from_iterable(sorted(file.imports) for file in files))
    found = [(name, count) for name, count in counts.items() if count > 1]
    if not found:
        return None
    name, count = rng.choice(found)
    text = (
        f"How many of the files import the module `{name}` or something from it, in any statement "
        f"such as `import {name}`, `import {name}.x` or `from {name} import y`, at any depth?"
    )
    return Question(text, count, [])


def _one_caller(rng: random.Random, files: Sequence[FileFacts]) -> Question | None:
    found: list[tuple[FileFacts, str, str]] = []
    for file in files:
        own = {function.name for _, function in _functions([file])}
        callers = _callers(file)
        found += [(file, called, by[0]) for called, by in callers if len(by) == 1 and by[0] in own]
    if not found:
        return None
    file, called, by = rng.choice(found)
    text = (
        f"Which function at the top level of the file `{file.path}` calls `{called}(...)`, by that "
        "plain name, in its body?"
    )
    return Question(text, by, _some(rng, (f.name for f in file.functions), by))


def _all_callers(rng: random.Random, files: Sequence[FileFacts]) -> Question | None:
    found = [
        (file, called, by) for file in files for called, by in _callers(file) if 1 < len(by) <= _FEW
    ]
    if not found:
        return None
    file, called, by = rng.choice(found)
    text = (
        f"Which functions at the top level of the file `{file.path}` call `{called}(...)`, by that "
        "plain name, in their bodies? List all their names."
    )
    return Question(text, by, [])


def _callers(file: FileFacts) -> list[tuple[str, list[str]]]:
    """What is called in the file, with the top-level functions that call it."""
    by: dict[str, list[str]] = {}
    for function in file.functions:
        for called in sorted(function.calls - {function.name}):
            by.setdefault(called, []).append(function.name)
    return [(called, sorted(set(names))) for called, names in by.items()]


def _most_methods(_: random.Random, files: Sequence[FileFacts]) -> Question | None:
    names = _ranked((each.methods, each.name) for file in files for each in file.classes)
    text = (
        "Which class has the most methods? Count the different names that `def` and `async def` "
        "define directly in the body of a class, and look at classes at the top level of files."
    )
    return Question(text, names[0], names[1 : 1 + _FEW]) if names else None


def _raised(rng: random.Random, files: Sequence[FileFacts]) -> Question | None:
    found = [
        (file, function)
        for file, function in _functions(files)
        if len(function.raises) == 1 and "?" not in function.raises
    ]
    if not found:
        return None
    file, function = rng.choice(found)
    [truth] = function.raises
    others = chain(
        *(f.raises for _, f in _functions(files)),
        ("TypeError", "ValueError", "KeyError", "OSError", "RuntimeError"),
    )
    text = (
        f"Which exception do the `raise` statements in the function `{function.name}` of the file "
        f"`{file.path}` name?"
    )
    return Question(text, truth, _some(rng, (name for name in others if name != "?"), truth))


def _base(rng: random.Random, files: Sequence[FileFacts]) -> Question | None:
    counts = _counts(files)
    homes = {each.name: file for file in files for each in file.classes if counts[each.name] == 1}
    found: list[tuple[FileFacts, ClassFacts, FileFacts]] = []
    for file in files:
        for each in file.classes:
            base = each.bases[0] if len(each.bases) == 1 else ""
            home = homes.get(base.rpartition(".")[2])
            if home and counts[each.name] == 1 and _comes_from(file, base, home):
                found.append((file, each, home))
    if not found:
        return None
    file, each, home = rng.choice(found)
    text = (
        f"The class `{each.name}` inherits from one class, which it gets from another file. In "
        "which file is that class defined?"
    )
    return Question(text, home.path, _some(rng, (f.path for f in files), home.path))


def _comes_from(file: FileFacts, name: str, home: FileFacts) -> bool:
    """Whether the file imports the base, `Base` or `module.Base`, from that other file."""
    first, dot, _ = name.partition(".")
    module = file.sources.get(first, "?")
    near = {module, f"{module}/{first}"} if dot else {module}
    return home.path in {f"{path}{end}" for path in near for end in (".py", "/__init__.py")}


def _parameters(rng: random.Random, files: Sequence[FileFacts]) -> Question | None:
    found = [(file, f) for file, f in _functions(files) if f.parameters]
    if not found:
        return None
    file, function = rng.choice(found)
    text = (
        f"How many parameters does the function `{function.name}` of the file `{file.path}` have? "
        "Count all kinds, `*args` and `**kwargs` as one each."
    )
    return Question(text, function.parameters, [])


def _most_functions(_: random.Random, files: Sequence[FileFacts]) -> Question | None:
    names = _ranked((len({f.name for f in file.functions}), file.path) for file in files)
    text = (
        "Which file has the most functions at its top level? Count the different names that `def` "
        "and `async def` define there."
    )
    return Question(text, names[0], names[1 : 1 + _FEW]) if names else None


def _subclasses(rng: random.Random, files: Sequence[FileFacts]) -> Question | None:
    bases = (each.bases for file in files for each in file.classes)
    counts = Counter(chain.from_iterable(dict.fromkeys(some) for some in bases))
    found = [(name, count) for name, count in counts.items() if count > 1 and "." not in name]
    if not found:
        return None
    name, count = rng.choice(found)
    text = (
        f"How many classes at the top level of the files have `{name}`, by that plain name, among "
        "their direct bases?"
    )
    return Question(text, count, [])


FAMILIES: dict[str, Callable[[random.Random, Sequence[FileFacts]], Question | None]] = {
    "where": _where,
    "importers": _importers,
    "one caller": _one_caller,
    "most methods": _most_methods,
    "raised": _raised,
    "all callers": _all_callers,
    "base": _base,
    "parameters": _parameters,
    "most functions": _most_functions,
    "subclasses": _subclasses,
}
"""What a family asks of files; None where it finds nothing with one answer."""
