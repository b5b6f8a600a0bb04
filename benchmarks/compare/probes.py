"""Cases that show what a peer does, and a server that plays its models.

A case is a list of replies of the root model, told in the dialect of the peer. Nothing is judged
by what a package says about itself, only by the answer that comes out.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from tests.openai_server import Fault, OpenAIServer, Reply, Request

DRIVERS = Path(__file__).with_name("drivers.py")
TASK = re.compile(r"task-(\d+)-of")
MARK = re.compile(r"mark-(\d+)-")
PATIENCE_SECONDS = 40
CELL_SECONDS = 5
IDLE_SECONDS = 0.1
"""A process that uses more in a second, after its run has ended, is still running the cell."""
COPIES = 20
COMPUTED = "head[:5]"
"""An answer that is no literal: some peers hold those."""


@dataclass(frozen=True)
class Dialect:
    """How the root model of a peer writes.

    Every cell looks at the context first: some peers take no answer from a run that has not.
    """

    context: str = "context"
    ask: str = "llm_query"
    batch: str = "llm_query_batch({})"
    fence: str = "```repl\n{}\n```"
    finish: tuple[str, ...] = ("FINAL({})",)
    """Replies that submit an expression; the first one is a cell, a second one is text."""
    sub_reply: str = "pong"
    skips: tuple[str, ...] = ()
    """What the set-up that is run here does not show of the default one."""

    def cell(self, code: str) -> str:
        return self.fence.replace("{}", f"head = {self.context}[:9]\n{code}")

    def submit(self, expression: str) -> list[str]:
        first, *rest = (part.replace("{}", expression) for part in self.finish)
        return [self.cell(first), *rest]


DIALECTS = {
    "langchain_replm": Dialect(),
    "replm": Dialect(finish=("found = {}", "FINAL_VAR(found)"), skips=("batch_survives",)),
    "rlms": Dialect(
        batch="llm_query_batched({})",
        finish=('answer["content"] = {}\nanswer["ready"] = True',),
    ),
    "minrlm": Dialect(
        context="input_0", ask="sub_llm", batch="sub_llm_batch([(p, p) for p in {}])",
        fence="```python\n{}\n```",
    ),
    "rlmness": Dialect(
        context="PROMPT", ask="await rlm", batch="await gather_rlm({}, instruction='say')",
        fence="```python\n{}\n```",
        sub_reply="```python\nhead = PROMPT[:9]\nFINAL(head[:0] + 'pong')\n```",
        skips=("files_closed",),
    ),
    "recursive-llm": Dialect(
        batch="llm_query_batched({})", fence="{}", finish=("found = {}", "FINAL_VAR(found)")
    ),
}  # fmt: skip


class Models:
    """The models of one probe: the root model answers by task, the sub-model the same to all."""

    def __init__(self, dialect: Dialect, script: Callable[[str], list[str]]) -> None:
        self.dialect = dialect
        self.script = script
        self.asked: defaultdict[str, int] = defaultdict(int)
        self.seen: defaultdict[str, str] = defaultdict(str)
        """Of each task the messages of its last root request, but those of the model itself."""
        self.lock = Lock()

    def respond(self, request: Request) -> Reply | Fault:
        text = json.dumps(request.messages)
        task = TASK.search(text)
        if task is None:
            bad = "bad" in request.last_text
            return Fault("status", status=400) if bad else Reply(self.dialect.sub_reply)
        theirs = [message for message in request.messages if message["role"] != "assistant"]
        with self.lock:
            number = self.asked[task[1]]
            self.asked[task[1]] += 1
            self.seen[task[1]] = json.dumps(theirs)
        replies = self.script(task[1])
        return Reply(replies[min(number, len(replies) - 1)])


@dataclass(frozen=True)
class Outcome:
    answers: list[str]
    busy: float
    models: Models

    @property
    def answer(self) -> str:
        return self.answers[0] if self.answers else ""


def run(
    python: Path, name: str, script: Callable[[Dialect, str], list[str]], *, copies: int = 1
) -> Outcome:
    """Let a peer run a case; no answer means that it did not come back."""
    dialect = DIALECTS[name]
    models = Models(dialect, lambda task: script(dialect, task))
    with OpenAIServer(models.respond) as server, tempfile.TemporaryDirectory() as folder:
        case = {
            "base_url": server.base_url, "query": "task-{n}-of how many herons?", "copies": copies,
            "context": "heron, stork, heron. " * 50, "cell_seconds": CELL_SECONDS,
        }  # fmt: skip
        try:
            done = subprocess.run(
                [python, DRIVERS, name], input=json.dumps(case), capture_output=True, text=True,
                timeout=PATIENCE_SECONDS, check=False, cwd=folder,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return Outcome([], 0.0, models)
    if done.returncode or not done.stdout.strip():
        return Outcome([f"raised: {done.stderr[-300:]}"], 0.0, models)
    told = json.loads(done.stdout.strip().splitlines()[-1])
    return Outcome(told["answers"], told["busy"], models)


def verdict(good: bool, seen: str) -> dict[str, str]:
    """What goes into the file, without a path of this machine."""
    seen = seen.replace(tempfile.gettempdir(), "...")[:120]
    return {"is": "yes" if good else "no", "seen": seen}


Part = Callable[[Dialect], list[str]]
READ_FILE = """\
got = 'refused'
try:
    got = open({!r}).read()
except Exception as error:
    got = 'refused: ' + str(error)"""


def cell(code: str) -> Part:
    """A reply with a cell; ASK is the name of the sub-call."""
    return lambda d: [d.cell(code.replace("ASK", d.ask.removeprefix("await ")))]


def submit(expression: str) -> Part:
    """What submits an expression; ASK calls the sub-model, CONTEXT is the text."""
    return lambda d: d.submit(expression.replace("ASK", d.ask).replace("CONTEXT", d.context))


def count_pongs(*prompts: str) -> Part:
    """Submit how many items of a batch the sub-model has answered."""
    return lambda d: d.submit(
        "str([str(r) for r in " + d.batch.replace("{}", str(list(prompts))) + "].count('pong'))"
    )


def say(text: str) -> Part:
    return lambda _: [text]


LOOK = cell("print('looking')")
CASES: dict[str, tuple[tuple[Part, ...], str]] = {
    "keeps_variables": ((cell("kept = 41\nnothing = 1 / 0"), submit("str(kept + 1)")), "42"),
    "restores_names": ((cell("ASK = None"), submit("str(ASK('say'))")), "pong"),
    "batch_survives": ((LOOK, count_pongs("one", "bad", "two")), "2"),
    "plan_is_no_answer": (
        (say("Plan: look at the text, then answer with FINAL(the plan)"), LOOK, submit(COMPUTED)),
        "heron",
    ),
    "beside_is_no_answer": (
        (lambda d: [LOOK(d)[0] + "\n\nFINAL(invented)"], submit(COMPUTED)),
        "heron",
    ),
}
"""What the root model says, and the answer of a peer that does the right thing."""


def one(python: Path, name: str, *parts: Part) -> Outcome:
    """One run in which the root model says these parts, one after the other."""
    return run(python, name, lambda dialect, _: [r for part in parts for r in part(dialect)])


def probe(python: Path, name: str) -> dict[str, dict[str, str]]:
    """What a peer does in every case.

    Raises:
        RuntimeError: Not even the plainest run gives the right answer.
    """
    basic = one(python, name, LOOK, submit("str(CONTEXT.count('heron'))"))
    if basic.answer != "100":
        msg = f"{name} cannot be probed here: {basic.answer}"
        raise RuntimeError(msg)
    found = {}
    for key, (parts, right) in CASES.items():
        outcome = one(python, name, *parts)
        found[key] = verdict(outcome.answer == right, outcome.answer)
    found["files_closed"] = closed(python, name)
    found["runaway_ends"] = endless(python, name)
    found["runs_apart"] = twenty(python, name)
    return {key: seen for key, seen in found.items() if key not in DIALECTS[name].skips}


def closed(python: Path, name: str) -> dict[str, str]:
    """Does a plain `open` reach a file of ours?"""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as secret:
        secret.write("the-secret")
        secret.flush()
        outcome = one(python, name, cell(READ_FILE.format(secret.name)), submit("got"))
    return verdict("the-secret" not in outcome.answer, outcome.answer)


def endless(python: Path, name: str) -> dict[str, str]:
    """Is an endless cell ended, does the run go on, and is the processor free again?"""
    outcome = one(python, name, cell("while True:\n    pass"), submit(COMPUTED))
    answer = outcome.answer or "did not come back"
    seen = f"{answer}; processor {outcome.busy:.1f} s in the second after"
    return verdict(outcome.answer == "heron" and outcome.busy < IDLE_SECONDS, seen)


def twenty(python: Path, name: str) -> dict[str, str]:
    """Twenty runs at once, each of which prints its own number, before and after a sub-call."""

    def script(dialect: Dialect, task: str) -> list[str]:
        code = f"print('mark-{task}-')\nreply = {dialect.ask}('say')\nprint('mark-{task}-')"
        return [dialect.cell(code), *dialect.submit(f"head[:5] + '-{task}'")]

    many = run(python, name, script, copies=COPIES)
    right = sum(
        set(MARK.findall(many.models.seen[str(n)])) == {str(n)} and answer == f"heron-{n}"
        for n, answer in enumerate(many.answers)
    )
    return verdict(right == COPIES, f"{right} of {COPIES} runs saw their own output only")
