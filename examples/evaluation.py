"""Is an RLM worth it for your texts? Your own questions, two ways to answer them, one table.

Needs `pip install "langchain-replm[evals]"`. Replace `ExtractiveChatModel()`, which needs no key,
by any LangChain chat model, and add the runners `"base"` and `"map-reduce"`.
"""

import json
import tempfile
from pathlib import Path

from langchain_replm import ExtractiveChatModel
from langchain_replm.evals import Experiment, runner, task

text = "\n".join(f"def function_{n}(size={n}):\n    return size" for n in range(2_000))
right = ["2,000", "2000"]  # any of them
questions = [
    {"query": "How many functions are defined?", "expected": right, "context": text},
    {"query": "How many times does the word return occur?", "expected": right, "context": text},
]
with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "questions.jsonl"
    file.write_text("\n".join(json.dumps(question) for question in questions))
    runners = {name: runner(name, root_model=ExtractiveChatModel()) for name in ("search", "rlm")}
    mine = task("questions", path=file, scorer="contains")
    results = Experiment([mine], runners, count=2, progress=False).run()
for one in results.runs:
    print(f"{one.runner:6}  score {one.score:.0f}  {one.answer[:40]!r}")
