"""The extractive model in both roles, on small texts.

`run` below is a test double of the REPL only: it executes cells in a dict, so that these tests need
neither the engine nor a sandbox.
"""

from __future__ import annotations

import contextlib
import io
import re
from itertools import pairwise
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

from langchain_replm.extractive import ExtractiveChatModel
from langchain_replm.extractive.planner import INTRODUCTION, find_query
from langchain_replm.extractive.questions import read_question
from langchain_replm.extractive.reader import NOT_FOUND, read_passage, split_prompt
from langchain_replm.extractive.tallies import find_tally

SYSTEM = SystemMessage("Write Python in fences:\n```repl\nprint(1)\n```")

FILES = {
    "boats/__init__.py": '"""Boats."""\nfrom boats.hull import Hull\n',
    "boats/hull.py": (
        "import os\n\n\nclass LeakError(Exception):\n    pass\n\n\n"
        "class Hull:\n    def __init__(self, length, *, planks=40):\n        self.length = length\n\n"
        "    def sink(self, depth):\n"
        '        """Return the time to sink, in seconds."""\n'
        "        if depth < 0:\n            raise ValueError('depth is negative')\n"
        "        if depth > 9000:\n            raise LeakError('too deep')\n"
        "        return depth / self.length\n"
    ),
    "boats/launch.py": (
        "import os, sys\n\n\ndef main():\n    '''\ndef main():\n    '''\n    launch()\n\n\n"
        "def launch(slope=7, angle=(1, 2)):\n    return slope\n"
    ),
    "tools/run.py": "# The patron saint of runners is Mercury Swift.\n\ndef main():\n    pass\n",
    "notes.txt": (
        "General notes on the Great Tidal wheel:\n\n* The period is 12 hours.\n* It never stops.\n"
    ),
}
DOCUMENTS = list(FILES.values())
METADATA = [{"source": name} for name in FILES]


class Finished(BaseException):
    pass


class Repl:
    """A test double of the REPL: runs cells in a dict and counts sub-calls."""

    def __init__(self, context: Any, metadata: list[dict[str, str]] | None = None) -> None:
        self.calls: list[str] = []
        self.answer: Any = None
        sub = ExtractiveChatModel(role="sub")

        def batch(prompts: list[str]) -> list[str]:
            self.calls += prompts
            return [sub.invoke(prompt).text for prompt in prompts]

        self.names: dict[str, Any] = {"context": context, "llm_query_batch": batch}
        self.names["FINAL"] = self.final
        if metadata is not None:
            self.names["context_metadata"] = metadata

    def final(self, value: Any) -> None:
        self.answer = value
        raise Finished

    def run(self, code: str) -> str:
        out = io.StringIO()
        try:
            with contextlib.redirect_stdout(out):
                exec(compile(code, "<cell>", "exec"), self.names)  # noqa: S102
        except Finished:
            pass
        except Exception as error:
            return f"{out.getvalue()}\n{error!r}"
        return f"The cell printed:\n<output 00>\n{out.getvalue()}</output 00>"


def cell_of(reply: AIMessage) -> str:
    found = re.findall(r"^```repl\n(.*?)^```$", reply.text, re.DOTALL | re.MULTILINE)
    assert len(found) == 1, reply.text
    return str(found[0])


def step_of(reply: AIMessage) -> str:
    return cell_of(reply).splitlines()[0].removeprefix("# step: ")


def run(
    query: str, context: Any = None, metadata: Any = None, limit: int = 12
) -> tuple[str, list[str], Repl]:
    """Answer, the steps that led to it, the REPL."""
    context, metadata = (DOCUMENTS, METADATA) if context is None else (context, metadata)
    repl, root = Repl(context, metadata), ExtractiveChatModel(role="root", passage_chars=400)
    messages: list[Any] = [SYSTEM, HumanMessage(f"Query:\n{query}\n\n`context` is a list.")]
    steps = []
    for _ in range(limit):
        reply = root.invoke(messages)
        steps.append(step_of(reply))
        observation = repl.run(cell_of(reply))
        if repl.answer is not None:
            return repl.answer, steps, repl
        messages += [reply, HumanMessage(observation)]
    pytest.fail(f"no answer after {steps}: {messages[-1].text}")


class TestQuestions:
    @pytest.mark.parametrize(
        ("text", "kind", "name", "parameter"),
        [
            ("What is the default of the parameter n of a.f?", "default", "f", "n"),
            (
                "What is the default value of timeout in subprocess.run()?",
                "default",
                "run",
                "timeout",
            ),
            ("What is the default timeout of `run`?", "default", "run", "timeout"),
            ("Which exception does json.loads raise when x?", "raises", "loads", ""),
            ("What error is raised by int?", "raises", "int", ""),
            ("What does the function os.getcwd return?", "returns", "getcwd", ""),
            ("In which module is the class OrderedDict defined?", "where", "OrderedDict", ""),
            ("Where is partial defined?", "where", "partial", ""),
            ("Which file defines the function spam?", "where", "spam", ""),
            ("Who wrote the code?", "free", "", ""),
            ("What is the period of the wheel?", "free", "", ""),
        ],
    )
    def test_kind(self, text: str, kind: str, name: str, parameter: str) -> None:
        question = read_question(text)
        assert (question.kind, question.name, question.parameter) == (kind, name, parameter)

    def test_qualifiers_are_what_stands_before_the_last_dot(self) -> None:
        assert read_question("Where is os.path.join defined?").qualifiers == ("os", "path")

    @pytest.mark.parametrize(
        ("text", "per", "what"),
        [
            ("How many modules define a function named main?", "documents", "function named main"),
            ("How many classes derive directly from Exception?", "matches", "from Exception"),
            ("How many files import re?", "documents", "import re"),
            ("How often does the word 'whale' occur?", "matches", "'whale'"),
            ("How many times does whale appear in the text?", "matches", "'whale'"),
            ("How many lines contain 'sea'?", "matches", "lines that contain 'sea'"),
            ("How many documents mention the word sea?", "documents", "'sea'"),
            ("Which module has the most lines?", "most", "lines"),
            ("Which file has the fewest functions?", "fewest", "functions"),
            ("Which is the longest document?", "most", "characters"),
            ("How many classes are there?", "matches", "classes"),
            ("How many documents are there?", "documents", "documents"),
        ],
    )
    def test_tally(self, text: str, per: str, what: str) -> None:
        tally = find_tally(text)
        assert tally is not None
        assert tally.per == per
        assert what in tally.what
        re.compile(tally.pattern)

    def test_how_many_of_something_else_is_no_tally(self) -> None:
        assert find_tally("How many planks does a hull have?") is None


class TestRoot:
    def test_default(self) -> None:
        answer, steps, repl = run("What is the default of planks of boats.Hull?")
        assert answer.startswith("The default of planks of Hull is 40\n")
        assert "boats/hull.py:9: def __init__(self, length, *, planks=40):" in answer
        assert [step.split(",")[0] for step in steps] == ["peek", "define", "read", "decide"]
        assert repl.calls

    def test_default_in_brackets_is_whole(self) -> None:
        assert "is (1, 2)\n" in run("What is the default of angle of launch?")[0]

    def test_raises_the_one_that_fits_the_condition(self) -> None:
        shallow = run("Which exception does Hull.sink raise when the depth is negative?")[0]
        deep = run("Which exception does Hull.sink raise when it is too deep?")[0]
        assert shallow.startswith("sink raises ValueError")
        assert deep.startswith("sink raises LeakError")

    def test_returns(self) -> None:
        assert "boats/hull.py:" in run("What does Hull.sink return?")[0]

    def test_where_needs_no_sub_call(self) -> None:
        answer, _, repl = run("In which module is the class LeakError defined?")
        assert answer == (
            "LeakError is defined in boats/hull.py\n\nboats/hull.py:4: class LeakError(Exception):"
        )
        assert not repl.calls

    def test_free(self) -> None:
        answer = run("What is the period of the Great Tidal wheel?")[0]
        assert answer == "notes.txt:3: * The period is 12 hours."

    def test_who_wants_a_name(self) -> None:
        assert "Mercury Swift" in run("Who is the patron saint of runners?")[0]

    def test_tally_leaves_strings_out(self) -> None:
        answer, steps, _ = run("How many modules define a function named main?")
        assert answer.startswith("2 documents that define a function named main")
        assert "tools/run.py:3: def main():" in answer
        assert len(steps) == 3

    @pytest.mark.parametrize(
        ("question", "begins"),
        [
            ("How many classes derive from Exception?", "1 classes"),
            ("How many modules import sys?", "1 documents"),
            ("How many modules import os?", "2 documents"),
            ("Which module has the most lines?", "boats/hull.py has the most lines: 18"),
            ("Which file has the fewest lines?", "boats/__init__.py has the fewest lines: 2"),
            ("How often does the word depth occur?", "5 occurrences"),
            ("How many documents are there?", "5 documents"),
            ("How many functions named main?", "2 functions"),
        ],
    )
    def test_tallies(self, question: str, begins: str) -> None:
        answer = run(question)[0]
        assert answer.startswith(begins), answer

    def test_a_count_of_nothing_is_counted_again_more_widely(self) -> None:
        answer, steps, _ = run("How often does the word DEPTH occur?")
        assert steps[1:3] == ["tally, try 1", "tally, try 2"]
        assert answer.startswith("5 occurrences")

    def test_nothing_found_is_said_after_three_fruitless_tries(self) -> None:
        answer, steps, _ = run("Which flavour does the blue zebra prefer?")
        assert answer.startswith("Nothing in the text was found")
        assert [step.split(",")[0] for step in steps][-1] == "give_up"

    def test_the_search_widens_from_try_to_try(self) -> None:
        _, steps, _ = run("What is the default of planks of nowhere.Missing?")
        assert steps[1:3] == ["define, try 1", "define, try 2"]
        assert any(step.startswith("search") for step in steps)

    def test_a_call_is_not_a_default(self) -> None:
        text = "from x import go\n\ngo(speed=9)\nprint('speed')\n"
        answer, _, _ = run("What is the default of speed of go?", text)
        assert answer.startswith("Nothing in the text was found")

    def test_one_string_is_a_context_too(self) -> None:
        answer, _, _ = run("What is the period of the Great Tidal wheel?", FILES["notes.txt"])
        assert answer == "context:3: * The period is 12 hours."

    def test_a_text_without_line_breaks_is_read_in_sentences(self) -> None:
        filler = "Waves came and went, and nobody counted them. " * 400
        text = f"{filler}The captain of the Pequod is Ahab Starbuck. {filler}"
        assert run("Who is the captain of the Pequod?", text)[0] == (
            "context:1: The captain of the Pequod is Ahab Starbuck."
        )

    def test_an_empty_context_is_no_error(self) -> None:
        assert run("Who is the captain?", [], [])[0].startswith("Nothing in the text")

    def test_failing_cells_end_too(self) -> None:
        messages: list[Any] = [SYSTEM, HumanMessage("Query: Where is f defined?\n\n")]
        root = ExtractiveChatModel(role="root")
        steps = []
        for _ in range(6):
            messages.append(root.invoke(messages))
            messages.append(HumanMessage("The cell failed: MemoryError"))
            steps.append(step_of(messages[-2]))
        assert "give_up, try 1" in steps

    def test_failed_sub_calls_are_not_answers(self) -> None:
        repl = Repl(DOCUMENTS, METADATA)
        repl.names["llm_query_batch"] = lambda prompts: [ValueError("refused") for _ in prompts]
        root, messages = (
            ExtractiveChatModel(role="root"),
            [SYSTEM, HumanMessage("Query: wheel period")],
        )
        for _ in range(12):
            reply = root.invoke(messages)
            messages += [reply, HumanMessage(repl.run(cell_of(reply)))]
            if repl.answer:
                break
        assert repl.answer.startswith("Nothing in the text was found")

    def test_it_says_what_it_is_first(self) -> None:
        reply = ExtractiveChatModel(role="root").invoke([SYSTEM, HumanMessage("Query: who?\n\n")])
        assert reply.text.startswith(INTRODUCTION)
        assert "without a neural network" in INTRODUCTION

    @pytest.mark.parametrize(
        "text",
        ["Query: who is it?\n\nMore.", "Hello.\n\nQuery:\nwho is it?\n\nMore.", "who is it?"],
    )
    def test_finds_the_query(self, text: str) -> None:
        assert find_query([SYSTEM, HumanMessage(text)]) == "who is it?"


class TestSub:
    @pytest.mark.parametrize(
        ("question", "passage", "line"),
        [
            ("What is the default of n of f?", "def g(n):\ndef f(a, n=3):\n    n == 4", "def f(a, n=3):"),
            ("What is the default of n of f?", "def f(a, n):\n    return n", NOT_FOUND),
            (
                "Which exception does f raise when the key is missing?",
                "if bad:\n    raise TypeError('wrong type')\nif key is missing:\n    raise KeyError(key)",
                "raise KeyError(key)",
            ),
            ("Which exception does f raise when x is big?", "x = big\nreturn x", NOT_FOUND),
            ("Where is Hull defined?", "Hull()\nclass Hull:\n    pass", "class Hull:"),
            ("Who sailed the ship?", "The ship was old.\nAda Byron sailed the ship.", "Ada Byron sailed the ship."),
            ("Who sailed the ship?", "It rained.\nNobody came.", NOT_FOUND),
            ("When was the ship built?", "The ship was built well.\nThe ship was built in 1852.", "The ship was built in 1852."),
            ("What is the capital of France?", "Francois wrote this.", NOT_FOUND),
            ("What does area return?", "def area(r):\n    return 3 * r * r", "return 3 * r * r"),
            ("What?", "anything", NOT_FOUND),
        ],
    )  # fmt: skip
    def test_reads(self, question: str, passage: str, line: str) -> None:
        assert read_passage(f"Question: {question}\nPassage:\n{passage}") == line

    @pytest.mark.parametrize(
        "prompt",
        [
            "Question: who sailed?\nPassage:\nAda sailed.",
            '<passage from="x">\nAda sailed.\n</passage>\n\nQuestion: who sailed?\nQuote.',
            "Answer: who sailed?\n```text\nAda sailed.\n```",
            'Answer this: who sailed?\n"""Ada sailed."""',
            "Answer. who sailed?\nAda sailed.",
        ],
    )
    def test_splits_any_usual_prompt(self, prompt: str) -> None:
        question, passage = split_prompt(prompt)
        assert question.endswith("who sailed?")
        assert "Ada sailed." in passage

    def test_a_very_long_line_is_read_as_sentences(self) -> None:
        passage = "It rained for days. " * 30 + "Ada Byron sailed the ship. " + "It rained. " * 30
        assert read_passage(f"Question: Who sailed the ship?\nPassage:\n{passage}") == (
            "Ada Byron sailed the ship."
        )


class TestChatModel:
    PROMPT = "Question: Who sailed the ship?\nPassage:\nAda Byron sailed the ship."

    def test_equal_conversations_get_equal_replies(self) -> None:
        messages = [SYSTEM, HumanMessage("Query: How many documents are there?\n\n")]
        first, second = (ExtractiveChatModel().invoke(messages) for _ in range(2))
        assert first.text == second.text
        assert first.usage_metadata == second.usage_metadata

    @pytest.mark.parametrize(
        "messages", [[HumanMessage(PROMPT)], [SYSTEM, HumanMessage("Query: wheel?\n\n")]]
    )
    def test_streaming_adds_up_to_invoke(self, messages: list[Any]) -> None:
        model = ExtractiveChatModel()
        whole = model.invoke(messages)
        chunks = list(model.stream(messages))
        total = chunks[0]
        for chunk in chunks[1:]:
            total += chunk
        assert len(chunks) > 3
        assert total.text == whole.text
        assert total.usage_metadata == whole.usage_metadata
        assert total.response_metadata["model_name"] == "extractive"

    def test_the_role_follows_from_the_conversation(self) -> None:
        model = ExtractiveChatModel()
        assert "```repl" in model.invoke([SYSTEM, HumanMessage("Query: who?\n\n")]).text
        assert model.invoke(self.PROMPT).text == "Ada Byron sailed the ship."
        other = [SystemMessage("Be brief."), HumanMessage(self.PROMPT)]
        assert model.invoke(other).text == "Ada Byron sailed the ship."

    def test_usage_is_a_token_for_four_characters(self) -> None:
        reply = ExtractiveChatModel(role="sub").invoke(self.PROMPT)
        assert reply.usage_metadata == {
            "input_tokens": -(-len(self.PROMPT) // 4),
            "output_tokens": -(-len(reply.text) // 4),
            "total_tokens": -(-len(self.PROMPT) // 4) + -(-len(reply.text) // 4),
        }
        assert reply.response_metadata["model_name"] == "extractive"

    def test_stop_ends_the_text(self) -> None:
        model = ExtractiveChatModel(role="sub")
        assert model.invoke(self.PROMPT, stop=["the", "zzz"]).text == "Ada Byron sailed "

    def test_sampling_parameters_mean_nothing(self) -> None:
        model = ExtractiveChatModel(role="sub", temperature=2.0)  # type: ignore[call-arg]
        bound = model.bind(temperature=1.5, max_tokens=1, seed=3)
        assert bound.invoke(self.PROMPT).text == "Ada Byron sailed the ship."

    async def test_async_is_the_same(self) -> None:
        reply = await ExtractiveChatModel().ainvoke(self.PROMPT)
        assert reply.text == "Ada Byron sailed the ship."

    def test_names(self) -> None:
        model = ExtractiveChatModel(role="sub")
        assert model._llm_type == "extractive"
        assert model._identifying_params["role"] == "sub"


def test_each_observation_decides_the_next_cell() -> None:
    """Equal conversations but for one number in the observation go on differently."""
    root = ExtractiveChatModel(role="root")
    start: list[Any] = [SYSTEM, HumanMessage("Query: Where is f defined?\n\n")]
    start += [root.invoke(start), HumanMessage("plan> documents=3")]
    start += [root.invoke(start)]
    replies = [
        step_of(root.invoke([*start, HumanMessage(f"plan> hits={n} passages={n}")])) for n in (0, 2)
    ]
    assert all(a != b for a, b in pairwise(replies))
    assert replies == ["define, try 2", "places, try 1"]
