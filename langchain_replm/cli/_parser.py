"""The options of all commands; those of a run are the fields of `RLMConfig`."""

from __future__ import annotations

import argparse
import ast
import inspect
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import langchain_replm
from langchain_replm.config import RLMConfig

EPILOG = """\
examples:
  langchain-replm ask "Who signed it, and when?" contracts/ --root openai:gpt-5.2
  git log -p | langchain-replm ask "Which change broke the parser?" -
  langchain-replm ask "Where is class OrderedDict defined?" src/ --root extractive
  langchain-replm show runs.jsonl --html run.html
  langchain-replm eval s-niah oolong --size 8k,64k --runner rlm base search --root openai:gpt-5.2

exit status: 0 answered, 1 failed, 2 called wrongly, 3 a limit ended the run, 130 interrupted
"""


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="langchain-replm",
        description="Ask questions about texts that are far too long for any model's window.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=langchain_replm.__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_ask(commands)
    _add_show(commands)
    _add_eval(commands)
    doctor = _command(commands, "doctor", "say what this machine can do")
    doctor.add_argument("--json", action="store_true", help="as JSON")
    completion = _command(commands, "completion", "print the completion script of a shell")
    completion.add_argument("shell", choices=("bash", "zsh", "fish"))
    return parser


def _command(commands: Any, name: str, about: str) -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = commands.add_parser(
        name, help=about, description=about[0].upper() + about[1:] + ".", allow_abbrev=False
    )
    made.add_argument("--debug", action="store_true", help="show where an error comes from")
    return made


def _add_ask(commands: Any) -> None:
    ask = _command(commands, "ask", "ask a question about files")
    add = ask.add_argument
    add("question")
    add("paths", nargs="+", metavar="PATH", help="file, directory, glob, or - for standard input")
    _add_models(ask)
    add("--json", action="store_true", help="print the whole response as JSON, not the answer")
    add("--html", metavar="FILE", help="write the report of the run")
    add("--trajectory", metavar="FILE", help="append the run to FILE while it goes on (JSON Lines)")
    add("--resume", metavar="FILE", help="keep the run in FILE (SQLite); asked again, the same "
        "question about the same text goes on where it stopped")  # fmt: skip
    add("-q", "--quiet", action="store_true", help="no progress, no summary")
    _add_settings(ask)


def _add_eval(commands: Any) -> None:
    evaluate = _command(
        commands, "eval", "compare ways to answer questions whose answers are known"
    )
    add = evaluate.add_argument
    add("tasks", nargs="+", metavar="TASK", help="s-niah, oolong, oolong-pairs, documents, code; "
        "code:DIRECTORY; questions:FILE for your own; oolong-file:FILE, browsecomp-plus:FILE, "
        "longbench-v2:FILE for published ones")  # fmt: skip
    add("--runner", nargs="+", metavar="NAME", default=["rlm", "base", "search"],
        help="base, truncation, map-reduce, search, files, rlm-no-sub-calls, rlm, rlm-2 "
        "(default: rlm base search)")  # fmt: skip
    add("--size", type=sizes, metavar="TOKENS",
        help="sizes of the contexts in tokens, such as 8k,64k,1M (default: 8k; `questions` has "
        "no sizes)")  # fmt: skip
    _add_models(evaluate)
    add(
        "--count",
        type=int,
        metavar="N",
        default=5,
        help="examples of each size, if there are as many (default: 5)",
    )
    add("--repeats", type=int, metavar="N", default=1, help="runs on each example (default: 1)")
    add("--seed", type=int, metavar="N", default=0, help="of the examples (default: 0)")
    add("--concurrency", type=int, metavar="N", default=4, help="runs at once (default: 4)")
    add("--window", type=int, metavar="TOKENS", help="window of the models, for the runners that "
        "fill it (default: what the model says of itself)")  # fmt: skip
    add("--total-cost-usd", type=float, metavar="N", help="most that the whole experiment may cost")
    add("--total-tokens", type=int, metavar="N", help="most tokens of the whole experiment")
    add("--total-seconds", type=float, metavar="N", help="after that nothing more begins")
    add("--out", metavar="DIR", default="eval", help="where results.jsonl is kept; called "
        "again, only what is missing is run (default: eval)")  # fmt: skip
    add("--retry-errors", action="store_true", help="make runs again that have failed")
    add("--plot", action="store_true", help="write DIR/results.png")
    add("--format", choices=("text", "markdown", "csv"), default="text", help="of the table")
    add("--json", action="store_true", help="print the runs as JSON Lines, not the table")
    add("-q", "--quiet", action="store_true", help="no progress")
    _add_settings(evaluate)


def sizes(text: str) -> list[int]:
    """Sizes in tokens: `8k` is 8,192, `1M` is 2^20, `5000` is 5,000."""
    units = {"k": 2**10, "m": 2**20}
    found = []
    for one in text.split(","):
        number, unit = (one[:-1], units[one[-1].lower()]) if one[-1:].lower() in units else (one, 1)
        if not number.isdecimal() or int(number) < 1:
            msg = f"{one!r} is no size; write for instance 8k,64k,1M"
            raise argparse.ArgumentTypeError(msg)
        found.append(int(number) * unit)
    return found


def _add_models(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--root", metavar="MODEL", help="writes the cells: a name for init_chat_model such as "
        "openai:gpt-5.2, or `extractive`, which needs no key (default: $OPENAI_MODEL, when "
        "OPENAI_API_KEY is set)")  # fmt: skip
    add("--sub", metavar="MODEL", help="answers the sub-calls (default: the root model)")


def _add_settings(command: argparse.ArgumentParser) -> None:
    limits = command.add_argument_group("settings of a run")
    for name, kind in config_fields().items():
        limits.add_argument(f"--{name.replace('_', '-')}", dest=f"config_{name}", **kind)


def _add_show(commands: Any) -> None:
    show = _command(commands, "show", "show a trajectory file, or a response that was kept as JSON")
    add = show.add_argument
    add("file", metavar="FILE", help="as written by --trajectory or --json, or a log of rlms")
    add("--run", type=int, metavar="N", help="only the n-th run of the file")
    add("--full", action="store_true", help="cut nothing")
    add("--json", action="store_true", help="print the response of the run as JSON")
    add("--html", metavar="FILE", help="write the report of the run")


# --- the fields of RLMConfig ---------------------------------------------------------------------


def config_fields() -> dict[str, dict[str, Any]]:
    """What `add_argument` needs to know of each field that one word can set."""
    told = _docstrings(RLMConfig)
    found: dict[str, dict[str, Any]] = {}
    for name, field in RLMConfig.model_fields.items():
        kind = _argument(field.annotation)
        if kind is not None:
            default = f" (default: {field.default})" if field.default is not None else ""
            found[name] = {**kind, "default": None, "help": (told.get(name, "") + default)}
            found[name]["help"] = found[name]["help"].replace("%", "%%")
    return found


def _argument(annotation: Any) -> dict[str, Any] | None:
    if get_origin(annotation) in {Union, UnionType}:
        inner = [part for part in get_args(annotation) if part is not NoneType]
        return _argument(inner[0]) if len(inner) == 1 else None
    if get_origin(annotation) is Literal:
        return {"choices": get_args(annotation)}
    if annotation is bool:
        return {"action": argparse.BooleanOptionalAction}
    if annotation in {int, float}:
        return {"type": annotation, "metavar": "N"}
    return None


def _docstrings(model: type) -> dict[str, str]:
    """The strings below the fields of a class, on one line each."""
    body = ast.parse(inspect.getsource(model)).body[0]
    assert isinstance(body, ast.ClassDef)  # noqa: S101 - for the type checker
    found = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr):
            name, text = getattr(field.target, "id", ""), getattr(below.value, "value", "")
            found[name] = " ".join(str(text).replace("`", "").split())
    return found
