"""Other RLMs over the same server, with the same scripted root: `python -m benchmarks peers`."""

from __future__ import annotations

import subprocess
from typing import Any

from benchmarks._measure import Plan, progress
from benchmarks._results import machine


def compare_peers(plan: Plan) -> dict[str, Any]:
    """Install what is missing, measure everybody, and give it as data for `results.json`.

    A peer that cannot be installed here is named with the reason, and the others go on.
    """
    from benchmarks.peers._cases import Runner, measure_all
    from benchmarks.peers._systems import NOT_RUN, systems
    from benchmarks.peers._tokens import Counter, measure_tokens
    from tests.openai_server import OpenAIServerProcess

    able, not_run = [], dict(NOT_RUN)
    for system in systems():
        try:
            system.python()
            able.append(system)
        except (OSError, subprocess.CalledProcessError) as error:
            not_run[system.title] = f"could not be installed here ({type(error).__name__})"
    with (
        OpenAIServerProcess("benchmarks.peers._script:respond") as server,
        Runner(able, server.base_url, plan) as runner,
    ):
        cases = list(measure_all(runner))
    progress("peers: tokens")
    counter = Counter(able)
    cases += measure_tokens(able, counter)
    told = ("name", "title", "version", "setting")
    return {
        "machine": machine(),
        "rounds": plan.rounds,
        "tokenizer": counter.name,
        "systems": [{name: getattr(system, name) for name in told} for system in able],
        "not_run": not_run,
        "cases": [case.to_dict() for case in cases],
    }
