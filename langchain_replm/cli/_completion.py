"""`langchain-replm completion`: scripts made of the parser, so they know what it knows."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from langchain_replm.cli import OK
from langchain_replm.cli._parser import make_parser
from langchain_replm.cli._terminal import put

if TYPE_CHECKING:
    from collections.abc import Iterator

BASH = """\
_langchain_replm() {{
  local now="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" words=""
  case "${{COMP_WORDS[1]}} $before" in
{choices}
    *) case "${{COMP_WORDS[1]}}" in
{options}
       esac ;;
  esac
  if [ "$COMP_CWORD" -eq 1 ]; then words="{commands}"; fi
  COMPREPLY=( $(compgen -W "$words" -- "$now") )
  if [ ${{#COMPREPLY[@]}} -eq 0 ] && [ "$COMP_CWORD" -gt 1 ]; then
    COMPREPLY=( $(compgen -f -- "$now") )
  fi
}}
complete -o filenames -F _langchain_replm langchain-replm"""


def run(options: argparse.Namespace) -> int:
    """Print the script."""
    put(_fish() if options.shell == "fish" else _bash(zsh=options.shell == "zsh"))
    return OK


def _commands() -> dict[str, argparse.ArgumentParser]:
    for action in make_parser()._actions:  # noqa: SLF001 - argparse has no public way to list them
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - as above
            return dict(action.choices)
    return {}


def _options(parser: argparse.ArgumentParser) -> Iterator[tuple[list[str], list[str], str]]:
    """Names, choices and help of each option."""
    for action in parser._actions:  # noqa: SLF001 - as above
        choices = [str(choice) for choice in action.choices or ()]
        yield list(action.option_strings), choices, (action.help or "").replace("%%", "%")


def _bash(*, zsh: bool) -> str:
    choices, options = [], []
    for command, parser in _commands().items():
        names = []
        for flags, values, _ in _options(parser):
            names += flags or values
            given = " ".join(values)
            choices += [f'    "{command} {flag}") words="{given}" ;;' for flag in flags if values]
        options.append(f'         {command}) words="{" ".join(names)}" ;;')
    script = BASH.format(
        choices="\n".join(choices), options="\n".join(options), commands=" ".join(_commands())
    )
    return f"autoload -U +X bashcompinit && bashcompinit\n{script}" if zsh else script


def _fish() -> str:
    commands = " ".join(_commands())
    lines = [f"complete -c langchain-replm -n __fish_use_subcommand -f -a '{commands}'"]
    for command, parser in _commands().items():
        where = f"complete -c langchain-replm -n '__fish_seen_subcommand_from {command}'"
        for flags, values, about in _options(parser):
            given = f" -x -a '{' '.join(values)}'" if values else ""
            told = about.replace("\\", "\\\\").replace("'", "\\'")
            names = "".join(
                f" -l {flag[2:]}" if flag.startswith("--") else f" -s {flag[1:]}" for flag in flags
            )
            if names or given:
                lines.append(f"{where}{names}{given} -d '{told}'")
    return "\n".join(lines)
