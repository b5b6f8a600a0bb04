"""The command `langchain-replm`: ask about files, show what runs did, say what this machine can do.

The answer goes to standard output and nothing else does; what happens meanwhile goes to standard
error. Each command is a module of its own, imported when it is used.

| exit status | meaning |
| --- | --- |
| 0 | answered; shown; all is well |
| 1 | a model, the sandbox or a file failed |
| 2 | the command was called wrongly: nothing was asked, nothing was spent |
| 3 | a limit ended the run; what there is was printed |
| 130 | interrupted (Ctrl-C); what there is was printed |
| 141 | whoever read the output has gone |
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING

from langchain_replm.cli._parser import make_parser
from langchain_replm.cli._terminal import say
from langchain_replm.errors import ConfigurationError, RLMError

if TYPE_CHECKING:
    from collections.abc import Sequence

OK, FAILED, USAGE, LIMIT, INTERRUPTED, CLOSED_PIPE = 0, 1, 2, 3, 130, 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    Args:
        arguments: What stands after the name of the program; `sys.argv` if None.

    Example:
        ```python
        from langchain_replm.cli import main

        assert main(["completion", "bash"]) == 0
        ```
    """
    options = make_parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal that knows no UTF-8
    try:
        command = import_module(f"langchain_replm.cli._{options.command}")
        status: int = command.run(options)
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter would complain again when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED_PIPE
    except KeyboardInterrupt:
        say("interrupted")
        return INTERRUPTED
    except ConfigurationError as error:
        say(f"error: {error}")
        return USAGE
    except Exception as error:
        if options.debug:
            raise
        kind = "" if isinstance(error, RLMError) else f"{type(error).__name__}: "
        say(f"error: {kind}{error}", "(--debug shows where it comes from)")
        return FAILED
    return status
