"""The evaluation with a small real model on this machine: `make eval-local`.

SmolLM2-135M over the OpenAI protocol, as the model of every runner; and once more as the sub-model
of an RLM whose root is the rule-based planner that ships with the package, because 135 million
parameters do not write cells. Results are what they are; they go to `.eval-local/`.
"""

from __future__ import annotations

import argparse
import datetime as dt
import importlib.metadata
import platform
import sys
from pathlib import Path

from langchain_openai import ChatOpenAI

from examples.demo_local import WEIGHTS, serve, weights
from langchain_replm import RLM, ExtractiveChatModel, RLMConfig
from langchain_replm.evals import Experiment, runner, task

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / ".eval-local"
WINDOW_TOKENS = 4_000
BASELINES = ("base", "truncation", "map-reduce", "search")
CONFIG = RLMConfig(max_iterations=4, root_max_tokens=300, sub_max_tokens=100, max_seconds=120)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.eval_local", description=__doc__)
    parser.add_argument("--count", type=int, default=4)
    parser.add_argument("--size", type=int, nargs="+", default=[1024, 8192])
    options = parser.parse_args()
    with serve(weights(say), say) as url:
        model = ChatOpenAI(
            model="SmolLM2-135M", base_url=url, api_key="none", temperature=0, timeout=120,
            max_retries=0,
        )  # fmt: skip
        runners = {
            name: runner(name, root_model=model, config=CONFIG, window_tokens=WINDOW_TOKENS)
            for name in BASELINES
        }
        runners["rlm"] = runner("rlm", root_model=model, config=CONFIG)
        runners["rlm, root by rules"] = RLM(ExtractiveChatModel(), sub_model=model, config=CONFIG)
        results = Experiment(
            [task("s-niah"), task("oolong")], runners, context_tokens=options.size,
            count=options.count, results=OUT / "runs.jsonl", max_concurrency=1,
        ).run()  # fmt: skip
    print(results.table("markdown"))
    version = importlib.metadata.version
    today = dt.datetime.now(tz=dt.UTC).date()
    print(f"\n{today}, {WEIGHTS}, xllamacpp {version('xllamacpp')} with one thread,")
    print(f"Python {platform.python_version()}, langchain-core {version('langchain-core')}.")


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    main()
