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
    if "value" not in result:
        raise _failure(result)
    return result["value"]


def _failure(result: Any) -> Any:
    return _RuntimeError(result["error"] if "error" in result else result["refused"])


def _many(function: str, kind: str, items: Any) -> Any:
    return [
        result["value"] if "value" in result else _failure(result)
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


def _schema_of(given: Any) -> Any:
    """Give the JSON Schema of plain types, of fields such as `{"name": str}`, or of itself."""
    for kind, name in _schema_names:
        if given is kind:
            return {"type": name}
    if _type(given) is _list and _len(given) == 1:
        return {"type": "array", "items": _schema_of(given[0])}
    if _type(given) is _dict:
        if _type(given.get("type")) is _str or "anyOf" in given or "enum" in given:
            return given
        fields = {key: _schema_of(given[key]) for key in given}
        return {"type": "object", "properties": fields, "required": _list(fields)}
    msg = (
        "schema takes str, int, float, bool, list, dict, [str] for a list, fields such as "
        '{"name": str}, or a JSON Schema here'
    )
    raise _TypeError(msg)


_schema_names: Any = [
    (str, "string"),
    (int, "integer"),
    (float, "number"),
    (bool, "boolean"),
    (list, "array"),
    (dict, "object"),
    (None, "null"),
]


def _item(schema: Any, item: Any) -> Any:
    if schema is not None:
        item["schema"] = _dumps(_schema_of(schema))
    return item


def _prompt_item(prompt: Any, model: Any, schema: Any) -> Any:
    return _item(schema, {"prompt": prompt, "model": model})


def _llm_map(  # noqa: PLR0913, PLR0917 - what the function of cells takes
    function: str, items: Any, template: Any, schema: Any, model: Any, retries: Any
) -> Any:
    _check_model(function, model)
    if _type(template) is not _str or "{item}" not in template:
        msg = f"{function} takes a template (str) with {{item}} where the item goes"
        raise _ValueError(msg)
    texts = [item if _type(item) is _str else _dumps(item) for item in items]
    prompts = [_prompt_item(template.replace("{item}", text), model, schema) for text in texts]
    results = _ask(function, "llm_query", prompts) if prompts else []
    for _ in range(min(5, retries)):
        failed = [at for at in range(_len(results)) if "error" in results[at]]
        if not failed:
            break
        again = _ask(function, "llm_query", [prompts[at] for at in failed])
        for place in range(_len(failed)):
            results[failed[place]] = again[place]
    return [result["value"] if "value" in result else _failure(result) for result in results]


def _llm_query(function: str, prompt: Any, rest: Any, model: Any, schema: Any) -> Any:
    if rest:
        msg = (
            f"{function} takes one prompt, got {1 + _len(rest)} arguments. Put the text into the "
            f'prompt: {function}(f"{{question}}\\n\\n{{text}}")'
        )
        raise _TypeError(msg)
    _check_prompt(function, prompt)
    _check_model(function, model)
    return _one(function, "llm_query", _prompt_item(prompt, model, schema))


def _llm_query_batch(function: str, prompts: Any, model: Any, schema: Any) -> Any:
    _check_model(function, model)
    texts = _check_texts(function, prompts)
    return _many(function, "llm_query", [_prompt_item(text, model, schema) for text in texts])


def _rlm_query(function: str, query: Any, context: Any, schema: Any) -> Any:
    _check_prompt(function, query)
    item = _item(schema, {"prompt": query, "context": _check_context(function, context)})
    return _one(function, "rlm_query", item)


def _rlm_query_batch(function: str, queries: Any, contexts: Any, schema: Any) -> Any:
    texts = _check_texts(function, queries)
    if _type(contexts) is _str:
        msg = f"{function} takes a list of contexts, one per query, not one text"
        raise _TypeError(msg)
    given = [None for _ in texts] if contexts is None else _list(contexts)
    if _len(given) != _len(texts):
        msg = f"{function} got {_len(texts):,} queries but {_len(given):,} contexts"
        raise _ValueError(msg)
    items = [
        _item(schema, {"prompt": texts[index], "context": _check_context(function, given[index])})
        for index in range(_len(texts))
    ]
    return _many(function, "rlm_query", items)


def _tool(function: str, arguments: Any) -> Any:
    args = {key: arguments[key] for key in arguments if arguments[key] is not ...}
    return _one(function, "tool", {"args": args})


def _refuse(error: Any, message: str) -> None:
    raise error(message)
