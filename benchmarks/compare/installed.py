"""What an installed package shows: `python installed.py module:Name package`, in its environment.

Standard library only. Prints JSON.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import json
import sys
from pathlib import Path


def coroutines(thing: object) -> list[str]:
    """Public coroutine functions of a class, or of a module."""
    found = []
    for name in dir(thing):
        member = None if name.startswith("_") else inspect.getattr_static(thing, name)
        function = getattr(member, "__func__", member)
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            found.append(name)
    return found


def main() -> None:
    module_name, _, name = sys.argv[1].partition(":")
    out, sys.stdout = sys.stdout, sys.stderr
    module = importlib.import_module(module_name)
    package = importlib.metadata.distribution(sys.argv[2])
    about = package.metadata
    scripts = [point.name for point in package.entry_points if point.group == "console_scripts"]
    found = coroutines(getattr(module, name) if name else module)
    typed = (Path(str(module.__file__)).parent / "py.typed").exists()
    told = {
        "version": package.version,
        "licence": about.get("License-Expression") or about.get("License", ""),
        "python": about["Requires-Python"],
        "found": {
            "async": {"is": "yes" if found else "no", "seen": ", ".join(found)[:120]},
            "cli": {"is": "yes" if scripts else "no", "seen": ", ".join(scripts)},
            "py_typed": {"is": "yes" if typed else "no", "seen": ""},
        },
    }
    print(json.dumps(told), file=out, flush=True)


if __name__ == "__main__":
    main()
