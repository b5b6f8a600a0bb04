# mypy: disable-error-code="name-defined"
"""What a REPL in Monty has before its first cell; Monty runs this text, we never import it.

Written in the part of Python that Monty knows. Before it is run, each name with one underscore in
front gets a random prefix, so that a cell, which cannot list names, cannot find or replace it. What
a cell may replace (`len`, `print`) is therefore used under such a name.

`_limits`, `_data` and `_names` are given. `_host` takes and gives JSON text. No value of a cell
crosses as anything but text: a list that is shared ten levels deep would be 10**10 objects.
"""

from json import dumps as _dumps
from typing import Any

_len, _str, _repr, _print, _eval, _id, _type = len, str, repr, print, eval, id, type
_isinstance, _getattr, _hasattr, _sorted = isinstance, getattr, hasattr, sorted
_list, _tuple, _dict, _set, _frozenset = list, tuple, dict, set, frozenset
_bytes, _int = bytes, int
_AnyError, _NameError, _TypeError, _ValueError = Exception, NameError, TypeError, ValueError
_RuntimeError, _Exit = RuntimeError, SystemExit

# A failed sub-call is an exception of Monty's own, for no class can inherit from one here.
SubCallError = RuntimeError

answer: Any = {"content": "", "ready": False}
_answer: Any = answer
_shown: Any = [None]
_printed: Any = [0]


# Values to text.


def _sketch(value: Any, left: int, depth: int = 0) -> Any:
    kind = _type(value)
    if kind is _str or kind is _bytes:
        return _repr(value) if _len(value) <= left else _repr(value[:left])[:-1] + "..."
    brackets = _brackets(value, kind)
    if brackets is not None:
        return _sketch_items(value, kind, brackets, left, depth)
    try:
        if kind.__name__ in ("Counter", "defaultdict", "deque") and _len(value) > 1000:
            return f"<{kind.__name__} of {_len(value)} items>"
        return _cut(_repr(value), left)
    except _AnyError as error:
        if kind is _int:
            return "<int of more digits than Python writes>"
        return f"<{kind.__name__} object whose __repr__ raised {_type(error).__name__}>"


def _cut(text: str, most: int) -> Any:
    return text if _len(text) <= most else text[:most] + "..."


def _brackets(value: Any, kind: Any) -> Any:
    if kind is _list:
        return "[", "]"
    if kind is _tuple:
        return "(", ",)" if _len(value) == 1 else ")"
    if kind is _set:
        return ("{", "}") if value else ("set(", ")")
    if kind is _frozenset:
        return "frozenset({", "})"
    return ("{", "}") if kind is _dict else None


def _sketch_items(value: Any, kind: Any, brackets: Any, left: int, depth: int) -> Any:
    if depth > 20:
        return "..."
    parts = []
    for item in value.items() if kind is _dict else value:
        if left <= 0:
            parts.append("...")
            break
        if kind is _dict:
            key, item = item
            text = _sketch(key, left, depth + 1)
            text += ": " + _sketch(item, left - _len(text), depth + 1)
        else:
            text = _sketch(item, left, depth + 1)
        parts.append(text)
        left -= _len(text) + 2
    opening, closing = brackets
    return opening + ", ".join(parts) + closing


def print(*values: Any, sep: Any = " ", end: Any = "\n", **_: Any) -> None:
    """Print the values; the only way to print, so that it can end a flood."""
    text = (" " if sep is None else sep).join([_str(value) for value in values])
    text += "\n" if end is None else end
    _printed[0] += _len(text)
    if _printed[0] > _limits["output_chars"]:
        msg = (
            f"this cell has printed more than {_limits['output_chars']:,} characters; "
            "print less, for example counts and slices"
        )
        raise _RuntimeError(msg)
    _print(text, end="")


def _echo(value: Any) -> None:
    if value is None or value is _shown[0]:
        return
    limit = _limits["shown_chars"]
    if _type(value) is _str and _len(value) > limit:
        part = limit // 2 - 50
        first, last = _repr(value[:part]), _repr(value[-part:])
        _print(f"{first}\n... (str of {_len(value)} in all) ...\n{last}")
    else:
        _print(_sketch(value, limit))


def _kind(value: Any) -> str:
    name: str = _type(value).__name__
    if name in ("function", "builtin_function_or_method", "method"):
        return "function"
    return "class" if name == "type" else name


def _summary(value: Any) -> str:
    kind = _kind(value)
    if value is None or kind in ("function", "class"):
        return "None" if value is None else kind
    if kind in ("str", "bytes"):
        unit = "characters" if kind == "str" else "bytes"
        return f"{kind}, {_len(value):,} {unit}" + (f": {_sketch(value, 60)}" if value else "")
    if kind in ("list", "tuple", "dict", "set", "frozenset"):
        return f"{kind}, {_len(value):,} items" + (f": {_sketch(value, 60)}" if value else "")
    if kind in ("Counter", "defaultdict", "deque"):
        return f"{kind}, {_len(value):,} items"
    return f"{kind}: {_sketch(value, 60)}" if kind in ("int", "float", "bool", "complex") else kind


# Variables.


def _own() -> Any:
    _found = {}
    for _name in _names:
        try:
            _value = _eval(_name)
        except _NameError:
            continue
        # What was imported is no variable.
        if _value is not _answer and _kind(_value) not in ("module", "builtin_function"):
            _found[_name] = [_id(_value), _summary(_value)]
    return _found


def _names_for_error() -> str:
    own = _list(_own())
    shown = ", ".join(own[:30]) + (", ..." if _len(own) > 30 else "")
    return f"Your variables: {shown}." if own else "You have made no variables yet."


def _value_of(_name: str) -> Any:
    if _name == "answer" and _eval(_name) is _answer:
        return _answer["content"] or None
    if _name in _limits["reserved"]:
        msg = f"`{_name}` belongs to the REPL; an answer is in a variable that you make."
        raise _NameError(f"{msg} {_names_for_error()}")
    try:
        if not _name.startswith("_") and _name.isidentifier():
            return _eval(_name)
    except _NameError:
        pass
    msg = f"there is no variable `{_name[:100]}`."
    raise _NameError(f"{msg} {_names_for_error()}")


def SHOW_VARS() -> Any:
    """Print and return the variables that you have made, with type and size."""
    own = _own()
    lines = [f"{name[:100]}: {own[name][1][:120]}" for name in _list(own)[:200]]
    _shown[0] = "\n".join(lines) or "You have made no variables yet."
    _print(_shown[0])
    return _shown[0]


# Answers.


def _check_size(value: Any) -> None:
    left, chars, stack = 1_000_000, _limits["answer_chars"], [value]
    while stack:
        item = stack.pop()
        if _isinstance(item, _str):
            chars -= _len(item)
        elif _isinstance(item, _dict):
            left -= _len(item)
            if left > 0:
                stack.extend(item.keys())
                stack.extend(item.values())
        elif _isinstance(item, (_list, _tuple)):
            left -= _len(item)
            if left > 0:
                stack.extend(item)
        if left < 0 or chars < 0:
            msg = (
                "the answer holds more than 1,000,000 values or "
                f"{_limits['answer_chars']:,} characters, or it contains itself; submit less"
            )
            raise _ValueError(msg)


def _plain(value: Any) -> Any:
    if not _hasattr(value, "__dataclass_fields__"):
        return value
    return {_name: _getattr(value, _name) for _name in value.__dataclass_fields__}


def _answer_text(value: Any) -> Any:
    for name in _data:
        is_long = _type(_data[name]) is not _str or _len(_data[name]) >= 200
        if value is _data[name] and is_long:
            msg = f"the answer is the whole `{name}`; submit what answers the query"
            raise _ValueError(msg)
    if _type(value) is _str:
        return value, False
    if value is None:
        msg = "the answer is None; submit the text or value that answers the query"
        raise _ValueError(msg)
    if _kind(value) in ("function", "class", "module"):
        msg = f"the answer is a {_kind(value)}; submit its result, not the thing itself"
        raise _ValueError(msg)
    _check_size(value)
    try:
        return _dumps(_plain(value), ensure_ascii=False, allow_nan=False), True
    except _TypeError:
        pass
    except _ValueError as error:
        if "Out of range float" not in _str(error):
            raise
    if _brackets(value, _type(value)) is None:
        return _str(value), False
    return _sketch(value, _limits["answer_chars"]), False


def _accept(value: Any) -> None:
    text, is_json = _answer_text(value)
    if _len(text) > _limits["answer_chars"]:
        most = _limits["answer_chars"]
        msg = f"the answer has {_len(text):,} characters; at most {most:,} can be submitted"
        raise _ValueError(msg)
    _host(_dumps({"answer": {"text": text, "json": is_json}}))


def FINAL(value: Any) -> None:
    """Submit `value` as the answer and end the cell."""
    _accept(value)
    raise _Exit


def FINAL_VAR(name_or_value: Any) -> None:
    """Submit the variable of that name (or the value itself) and end the cell."""
    value = name_or_value
    if _type(value) is _str:
        name = value.strip().strip("\"'`")
        if name.isidentifier() and _len(name) <= 100:
            value = _value_of(name)
    FINAL(value)


def _resolve(kind: str, whole: str) -> None:
    name = whole.strip().strip("\"'`")
    if kind == "var":
        _accept(_value_of(name))
    else:
        _accept(_value_of(name) if name in _own() else whole)


def _after(current: Any) -> None:
    """Look at `answer` when a cell has run to its end."""
    if _isinstance(current, _dict) and current.get("ready"):
        content = current.get("content")
        if content is None or content == "":
            msg = 'answer["ready"] is set, but answer["content"] is empty'
            raise _ValueError(msg)
        _accept(content)


def _restored(current: Any) -> Any:
    _printed[0] = 0
    if _isinstance(current, _dict) and current is not _answer and "content" in current:
        _answer["content"] = current["content"]
        current = _answer
    _answer["ready"] = False
    return current


def _report() -> None:
    _host(_dumps({"own": _own()}))
