"""What the Python of a cell may do, as data that travels in the setup.

These are manners, not the wall: they tell a model early, and in words that it can act on, what will
not work. What keeps a hostile cell in is the operating system around the worker. Nothing here may
therefore grow into a filter of attributes or syntax.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from langchain_replm.sandbox._wire import Function

PolicyName = Literal["restricted", "full"]

ALLOWED_MODULES: Final = (  # noqa: SIM905 - seventy lines would say no more
    "__future__ abc array ast asyncio base64 binascii bisect calendar collections colorsys "
    "concurrent.futures contextlib contextvars copy copyreg csv dataclasses datetime decimal "
    "difflib enum errno fnmatch fractions functools graphlib hashlib heapq hmac html io itertools "
    "json keyword locale logging math numbers operator pprint queue quopri random re reprlib "
    "sched secrets statistics string stringprep struct sys textwrap threading time timeit token "
    "tokenize traceback types typing unicodedata urllib.parse uuid warnings weakref "
    "zlib zoneinfo"
).split()
"""Modules that a cell may import in "restricted", each with its submodules. Library code behind
them imports what it needs. The first 30 are replm's; the study of real cells asks for `io`, `ast`,
`asyncio`, `contextlib`, `traceback` and `sys`."""

SYS_NAMES: Final = (  # noqa: SIM905 - as above
    "byteorder float_info float_repr_style getdefaultencoding getrecursionlimit getrefcount "
    "getsizeof hash_info hexversion implementation int_info intern maxsize maxunicode platform "
    "set_int_max_str_digits get_int_max_str_digits setrecursionlimit stderr stdlib_module_names "
    "stdout thread_info version version_info exc_info"
).split()
"""What the stand-in for `sys` offers in "restricted"."""

_ALWAYS_REFUSED: Final = {
    "input": ["EOFError", "no user is listening; decide yourself, or submit with FINAL(...)"],
    "breakpoint": ["RuntimeError", "there is no debugger; print the values that you need"],
    "exit": ["RuntimeError", "a cell cannot end the REPL; submit the answer with FINAL(...)"],
    "quit": ["RuntimeError", "a cell cannot end the REPL; submit the answer with FINAL(...)"],
}
"""Name of a builtin to the exception and the message of its stand-in."""

_RESTRICTED_REFUSED: Final = {
    "open": ["PermissionError", "files are not available here; the text is in `context`"],
    "eval": ["RuntimeError", "eval is not available here; use json.loads or ast.literal_eval"],
    "exec": ["RuntimeError", "exec is not available here; write the code in the cell itself"],
    "compile": ["RuntimeError", "compile is not available here; write the code in the cell itself"],
}

_IMPORT_ADVICE: Final = (
    "There is no file or network access here. Available: re, json, math, collections, itertools, "
    "functools, datetime, statistics, csv, random, string, textwrap, difflib, hashlib, asyncio, "
    "concurrent.futures and other modules of the standard library that need neither."
)


def policy_data(name: PolicyName) -> dict[str, Any]:
    """Give the data of a policy for `Setup.policy`.

    Returns:
        `modules`: allowed modules or `None` for all; `sys_names`: what the stand-in for `sys` has,
        or `None` for the real module; `refused_builtins`; `import_advice`: what a refusal says.
    """
    if name == "full":
        return {
            "name": "full",
            "modules": None,
            "sys_names": None,
            "refused_builtins": _ALWAYS_REFUSED,
            "import_advice": "",
        }
    return {
        "name": "restricted",
        "modules": ALLOWED_MODULES,
        "sys_names": SYS_NAMES,
        "refused_builtins": {**_ALWAYS_REFUSED, **_RESTRICTED_REFUSED},
        "import_advice": _IMPORT_ADVICE,
    }


def sub_call_functions(*, recursion: bool = True) -> tuple[Function, ...]:
    """Give the sub-call functions of the REPL with every alias that models write."""
    functions = [
        Function(name="llm_query", kind="llm_query"),
        Function(name="llm_query_batch", kind="llm_query_batch"),
        Function(name="llm_query_batched", kind="llm_query_batch"),
        Function(name="llm_batch", kind="llm_query_batch"),
        Function(name="llm_map", kind="llm_map"),
    ]
    if recursion:
        functions += [
            Function(name="rlm_query", kind="rlm_query"),
            Function(name="rlm_query_batch", kind="rlm_query_batch"),
            Function(name="rlm_query_batched", kind="rlm_query_batch"),
        ]
    return tuple(functions)
