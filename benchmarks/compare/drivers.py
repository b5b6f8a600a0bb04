"""One run of a peer: `python drivers.py NAME < case.json`, inside the peer's own environment.

Standard library and the peer only. A driver is a function of a case that returns the answer; the
models are on a loopback server that speaks the OpenAI protocol.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

Case = dict[str, Any]


def langchain_replm(case: Case) -> str:
    from langchain_openai import ChatOpenAI

    from langchain_replm import RLM, RLMConfig

    options = {"base_url": case["base_url"], "api_key": "x", "max_retries": 0}
    config = RLMConfig(sandbox_timeout=case["cell_seconds"], max_iterations=4)
    rlm = RLM(ChatOpenAI(model="m", **options), config=config)
    return rlm.generate(case["query"], case["context"]).answer


def replm(case: Case) -> str:
    from openai import OpenAI
    from replm import RLMConfig, RLMWrapper

    client = OpenAI(base_url=case["base_url"], api_key="x", max_retries=0)
    config = RLMConfig(sandbox_timeout=case["cell_seconds"], max_iterations=4)
    wrapper = RLMWrapper(client, root_model="m", config=config)
    return wrapper.generate(case["query"], case["context"]).answer


def rlms(case: Case) -> str:
    from rlm import RLM

    options = {"base_url": case["base_url"], "api_key": "x", "model_name": "m"}
    rlm = RLM(backend="openai", backend_kwargs=options, max_iterations=4, max_timeout=30)
    return rlm.completion(case["context"], root_prompt=case["query"]).response


def minrlm(case: Case) -> str:
    from minrlm import RLM

    rlm = RLM(
        model="m", base_url=case["base_url"], api_key="x", max_iterations=4, max_time_seconds=30
    )
    return str(rlm.completion(case["query"], case["context"]).response)


def rlmness(case: Case) -> str:
    from rlmness import ChatClient, Config, solve
    from rlmness.providers import Provider

    there = Provider("loopback", case["base_url"] + "/chat/completions", "NONE")
    client = ChatClient("x", provider=there, max_retries=0)
    config = Config(
        "m", sub_agent="m", max_steps=8, timeout=case["cell_seconds"], runtime="subprocess"
    )
    return str(solve(case["context"], client, instruction=case["query"], config=config).output)


def recursive_llm(case: Case) -> str:
    from rlm import RLM

    rlm = RLM(
        "openai/m", api_base=case["base_url"], api_key="x", max_iterations=4,
        repl_timeout=case["cell_seconds"],
    )  # fmt: skip
    return rlm.complete(case["query"], case["context"])


def answer_of(name: str, case: Case) -> str:
    try:
        return str(globals()[name.replace("-", "_")](case))
    except BaseException as error:  # what a peer raises is its answer here
        return f"raised {type(error).__name__}: {error}"[:300]


def main() -> None:
    """Run the copies of a case side by side; tell the answers, and who is still burning time."""
    name, case = sys.argv[1], json.load(sys.stdin)
    out, sys.stdout = sys.stdout, sys.stderr
    cases = [{**case, "query": case["query"].format(n=n)} for n in range(case["copies"])]
    answers = [""] * len(cases)
    with ThreadPoolExecutor(len(cases)) as pool:
        for n, answer in enumerate(pool.map(lambda one: answer_of(name, one), cases)):
            answers[n] = answer
    time.sleep(0.5)
    before = time.process_time()
    time.sleep(1.0)
    busy = time.process_time() - before
    print(
        json.dumps({"answers": answers, "busy": busy, "threads": threading.active_count()}),
        file=out,
        flush=True,
    )


if __name__ == "__main__":
    main()
