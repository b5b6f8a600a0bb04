"""What the models say to every RLM: the same cells, in the dialect that it reads.

Serve it with `python -m tests.openai_server --responder benchmarks.peers._script:respond`. The name
of a model says what is to be done, how often, and by whom: `loop_25_rlms`. A query holds a tag
`run-17`; a request with such a tag comes from a root, any other one is a sub-call. How far a
run is, is counted by tag: the conversations of the systems have too little in common to tell.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from tests.openai_server import Reply

SUB_SECONDS = 0.05
"""What a sub-call of the fan-out takes."""
TURN_SECONDS = 0.2
"""What every call takes where many runs go on at once."""
RUNS_SUB_CALLS = 4
LINE_CHARS = 1_000
NEEDLE = "osprey"
SAID_TIMES = 10


@dataclass(frozen=True)
class Dialect:
    """How one system is spoken to."""

    final: str
    """The reply that submits the variable `result`."""
    batch: str = "llm_query_batched(prompts)"
    """The expression that answers the list `prompts`."""
    context: str = "context"
    reply: str = "```repl\n{code}\n```"
    sub_reply: str = "{text}"
    first: str = ""
    """A line that its rules want before an answer may be given."""

    is_json: bool = False
    """Its replies are JSON, so the code is a JSON string."""

    def cell(self, code: str) -> str:
        return self.reply.replace("{code}", json.dumps(code)[1:-1] if self.is_json else code)


_DSPY = """[[ ## reasoning ## ]]
Next.

[[ ## code ## ]]
```python
{code}
```

[[ ## completed ## ]]"""
_PREDICT = '{"plan": "Next.", "code": "```repl\\n{code}\\n```"}'

DIALECTS = {
    "ours": Dialect(final="```repl\nFINAL(result)\n```", batch="llm_query_batch(prompts)"),
    "replm": Dialect(final="FINAL_VAR(result)", batch="llm_query_batch(prompts)"),
    "rlms": Dialect(
        final="```repl\nanswer['content'] = result\nanswer['ready'] = True\n```",
    ),
    "dspy": Dialect(final=_DSPY.replace("{code}", "SUBMIT(answer=result)"), reply=_DSPY),
    "predictrlm": Dialect(
        final=_PREDICT.replace("{code}", "SUBMIT(answer=result)"),
        reply=_PREDICT,
        batch="[found['reply'] for found in await asyncio.gather(*["
        "predict('prompt: str -> reply: str', prompt=prompt) for prompt in prompts])]",
        sub_reply='{"reply": "{text}"}',
        first="import asyncio\n",
        is_json=True,
    ),
    "minrlm": Dialect(
        final="```python\nFINAL(result)\n```",
        batch="sub_llm_batch([(prompt, '') for prompt in prompts])",
        context="input_0",
        reply="```python\n{code}\n```",
        first="seen = input_0[:1]\n",
    ),
    "rlmness": Dialect(
        final="```python\nFINAL(result)\n```",
        batch="await gather_rlm(prompts)",
        context="PROMPT",
        reply="```python\n{code}\n```",
        sub_reply="```python\nFINAL('{text}')\n```",
    ),
    "recursiveflow": Dialect(final="```repl\ndone(result)\n```", context="INPUTS['context']"),
    "recursivellm": Dialect(final="FINAL_VAR(result)", reply="{code}"),
}


def respond(request: Any) -> Reply:
    """The reply of root or sub-model; for the server."""
    case, times, who = request.model.rpartition("/")[2].split("_")
    dialect = DIALECTS[who]
    text = "\n".join(_texts(request.messages))
    tag = re.search(r"run-(\d+)", text)
    slow = TURN_SECONDS if case == "own" else 0.0
    if tag is None:
        jobs = re.findall(r"job-\d+", text)
        said = f"ok, seen by {jobs[-1]}" if jobs else "ok"
        delay = SUB_SECONDS if case == "fanout" else slow
        return Reply(dialect.sub_reply.replace("{text}", said), delay_seconds=delay)
    asked[request.model, tag[1]] += 1
    turn = asked[request.model, tag[1]]
    cells = CASES[case](int(times), dialect, tag[1])
    if case == "own" and turn == 2:
        seen = " ".join(sorted(set(re.findall(r"seen by (job-\d+)", text))))
        code = f"result = {seen or 'nothing'!r}\nprint(result)"
        return Reply(dialect.cell(code), delay_seconds=slow)
    if turn <= len(cells):
        first = dialect.first if turn == 1 else ""
        return Reply(dialect.cell(first + cells[turn - 1]), delay_seconds=slow)
    return Reply(dialect.final, delay_seconds=slow)


asked: Counter[tuple[str, str]] = Counter()


def _loop(times: int, _dialect: Dialect, _tag: str) -> list[str]:
    return [f"result = 'step {n}'\nprint(result)" for n in range(1, times)]


def _fanout(times: int, dialect: Dialect, _tag: str) -> list[str]:
    prompts = f"prompts = [f'question {{i}}' for i in range({times})]"
    count = "result = str(sum(['ok' in str(reply) for reply in replies]))\nprint(result)"
    return [f"{prompts}\nreplies = {dialect.batch}\n{count}"]


def _read(_times: int, dialect: Dialect, _tag: str) -> list[str]:
    text = dialect.context
    return [f"result = f\"{{len({text})}} {{{text}.count('{NEEDLE}')}}\"\nprint(result)"]


def _flood(times: int, _dialect: Dialect, _tag: str) -> list[str]:
    line = f"line = 'x' * {LINE_CHARS - 1}"
    return [f"{line}\nfor _ in range({times}):\n    print(line)\nresult = 'done'"]


def _endless(_times: int, _dialect: Dialect, _tag: str) -> list[str]:
    return ["kept = 41", "while True:\n    pass", "result = str(kept + 1)\nprint(result)"]


def _own(_times: int, dialect: Dialect, tag: str) -> list[str]:
    prompts = f"prompts = [f'part {{i}} of job-{tag}' for i in range({RUNS_SUB_CALLS})]"
    return [f"{prompts}\nreplies = {dialect.batch}\nprint(replies)", ""]


def _say(chars: int, _dialect: Dialect, _tag: str) -> list[str]:
    words = f"' '.join([f'heron {{i * 7919 % 1000}} stork' for i in range({chars // 10})])"
    return [f"result = 'step {n}'\nprint({words}[:{chars}])" for n in range(SAID_TIMES)]


CASES = {
    "loop": _loop,
    "fanout": _fanout,
    "read": _read,
    "flood": _flood,
    "endless": _endless,
    "own": _own,
    "say": _say,
}


def _texts(messages: list[dict[str, Any]]) -> list[str]:
    found = []
    for message in messages:
        content = message.get("content") or ""
        if not isinstance(content, str):
            content = "\n".join(str(part.get("text", "")) for part in content)
        found.append(content)
    return found
