# mypy: disable-error-code="name-defined"
"""Idioms that Monty lacks, and functions that ask the host; goes on where `_monty_prelude` ends."""

from json import loads as _loads
from typing import Any


def globals() -> Any:
    """Give the names of the REPL and your variables."""
    _found = {}
    for _name in _limits["reserved"] + _list(_own()):
        _found[_name] = _eval(_name)
    return _found


def dir(*values: Any) -> Any:
    """Give the names of the REPL and your variables."""
    if values:
        msg = "dir of a value is not available here; print the value or its type"
        raise _RuntimeError(msg)
    return _sorted(_limits["reserved"] + _list(_own()))


def _ask(function: str, kind: str, items: Any) -> Any:
    request = _dumps({"function": function, "kind": kind, "items": items})
    return _loads(_host(request))


def _one(function: str, kind: str, item: Any) -> Any:
    result = _ask(function, kind, [item])[0]
    if "error" in result:
        raise _RuntimeError(result["error"])
    return result["value"]


def _many(function: str, kind: str, items: Any) -> Any:
    return [
        _RuntimeError(result["error"]) if "error" in result else result["value"]
        for result in (_ask(function, kind, items) if items else [])
    ]


def _check_prompt(function: str, prompt: Any) -> None:
    if _type(prompt) is _str:
        return
    if _isinstance(prompt, (_list, _tuple)):
        what = _kind(prompt)
        msg = f"{function} takes one text, not a {what}; for many texts use the batch function"
    else:
        msg = f"{function} takes a text (str), not {_kind(prompt)}; convert it with str(...)"
    raise _TypeError(msg)


def _check_texts(function: str, texts: Any) -> Any:
    if not _isinstance(texts, (_list, _tuple, _set, _frozenset)):
        msg = f"{function} takes a list of texts, not {_kind(texts)}"
        raise _TypeError(msg)
    found = _list(texts)
    for index, text in enumerate(found):
        if _type(text) is not _str:
            msg = f"{function}: item {index} is {_kind(text)}, not a text (str)"
            raise _TypeError(msg)
    return found


def _check_model(function: str, model: Any) -> None:
    if model is not None and _type(model) is not _str:
        msg = f"{function}: model must be a name (str), not {_kind(model)}"
        raise _TypeError(msg)


def _check_context(function: str, context: Any) -> Any:
    if context is None or _type(context) is _str:
        return context
    if _isinstance(context, (_list, _tuple)):
        return _check_texts(function, context)
    msg = f"{function}: context must be a text or a list of texts, not {_kind(context)}"
    raise _TypeError(msg)


def _llm_query(function: str, prompt: Any, rest: Any, model: Any) -> Any:
    if rest:
        msg = (
            f"{function} takes one prompt, got {1 + _len(rest)} arguments. Put the text into the "
            f'prompt: {function}(f"{{question}}\\n\\n{{text}}")'
        )
        raise _TypeError(msg)
    _check_prompt(function, prompt)
    _check_model(function, model)
    return _one(function, "llm_query", {"prompt": prompt, "model": model})


def _llm_query_batch(function: str, prompts: Any, model: Any) -> Any:
    _check_model(function, model)
    texts = _check_texts(function, prompts)
    return _many(function, "llm_query", [{"prompt": text, "model": model} for text in texts])


def _rlm_query(function: str, query: Any, context: Any) -> Any:
    _check_prompt(function, query)
    item = {"prompt": query, "context": _check_context(function, context)}
    return _one(function, "rlm_query", item)


def _rlm_query_batch(function: str, queries: Any, contexts: Any) -> Any:
    texts = _check_texts(function, queries)
    if _type(contexts) is _str:
        msg = f"{function} takes a list of contexts, one per query, not one text"
        raise _TypeError(msg)
    given = [None for _ in texts] if contexts is None else _list(contexts)
    if _len(given) != _len(texts):
        msg = f"{function} got {_len(texts):,} queries but {_len(given):,} contexts"
        raise _ValueError(msg)
    items = [
        {"prompt": texts[index], "context": _check_context(function, given[index])}
        for index in range(_len(texts))
    ]
    return _many(function, "rlm_query", items)


def _tool(function: str, arguments: Any) -> Any:
    args = {key: arguments[key] for key in arguments if arguments[key] is not ...}
    return _one(function, "tool", {"args": args})


def _refuse(error: Any, message: str) -> None:
    raise error(message)
