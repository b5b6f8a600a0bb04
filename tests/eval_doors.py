"""A small task and the models that play it: doors with codes, one of them asked for."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage

from langchain_replm.evals.types import Example, Score
from langchain_replm.testing import ScriptedChatModel
from tests.scenarios import cell

CHARS_PER_TOKEN = 4


@dataclass(frozen=True)
class Doors:
    """Which code has a door? One line has it."""

    name: str = "doors"
    colour: str = "red"

    def examples(self, *, context_tokens: int, count: int, seed: int) -> Iterator[Example]:
        for index in range(count):
            rng = random.Random(f"{context_tokens}/{seed}/{index}")
            lines, chars = [], 0
            while chars < context_tokens * CHARS_PER_TOKEN:
                number = len(lines)
                lines.append(
                    f"The code of the {self.colour} door {number:04} is {rng.randrange(10**6):06}."
                )
                chars += len(lines[-1]) + 1
            asked = rng.randrange(len(lines))
            yield Example(
                id=f"{self.name}-{context_tokens}-{seed}-{index}",
                task=self.name,
                query=f"What is the code of the {self.colour} door {asked:04}?",
                context="\n".join(lines),
                expected=lines[asked][-7:-1],
                context_tokens=context_tokens,
            )

    def score(self, example: Example, answer: str) -> Score:
        right = example.expected in answer
        return Score(1.0) if right else Score(0.0, f"{example.expected} is not in the answer")


class Player(ScriptedChatModel):
    """Knows how to play each part: reads what it is shown, and finds the line by its number."""

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self.bind(**kwargs)

    def _next(self, messages: Any, kwargs: Any) -> AIMessage:
        self.respond = play
        return super()._next(messages, kwargs)


def play(messages: list[Any]) -> Any:
    first, last = messages[0].text, messages[-1].text
    if "```repl" in first:
        return play_root(messages)
    if "Look with the tools" in first:
        return play_agent(messages)
    door = last.split("door ")[1][:4]
    found = [line for line in last.splitlines() if f"door {door} is" in line]
    return found[-1] if found else "NOTHING"


def play_root(messages: list[Any]) -> str:
    """Looks first, then asks the sub-model about the lines, if there is one."""
    if sum(isinstance(message, AIMessage) for message in messages) == 0:
        return cell("print(len(context))")
    asked = "\n".join(message.text for message in messages)
    door = asked.split("door ")[1][:4]
    find = f"found = [line for line in context.splitlines() if 'door {door} is' in line][0]"
    if "llm_query" in messages[0].text:
        return cell(
            find, f"FINAL(llm_query('What is the code of the door {door}?' + chr(10) + found))"
        )
    return cell(find, "FINAL(found)")


def play_agent(messages: list[Any]) -> Any:
    if not any(message.type == "tool" for message in messages):
        door = messages[-1].text.split("door ")[1][:4]
        call = {"name": "search", "args": {"words": f"door {door} is"}, "id": "call_1"}
        return AIMessage("", tool_calls=[call])
    return [message for message in messages if message.type == "tool"][-1].text
