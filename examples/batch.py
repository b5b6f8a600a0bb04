"""Many questions about one text with `batch`: answers in order, so many runs at once as you say.

Replace the scripted model by any LangChain chat model, for example `ChatOpenAI(model="gpt-5.2")`.
"""

import re

from langchain_core.messages import BaseMessage

from langchain_replm import RLM
from langchain_replm.testing import ScriptedChatModel


def cell(messages: list[BaseMessage]) -> str:
    """What a model would write for the question that it is asked."""
    [bird] = set(re.findall(r"How many (\w+)s\?", str(messages)))
    return f"```repl\nFINAL(context.count({bird!r}))\n```"


text = "heron, stork, heron, teal. " * 5_000
questions = [f"How many {bird}s?" for bird in ("heron", "stork", "teal")]
given = [{"query": question, "context": text} for question in questions]
responses = RLM(ScriptedChatModel(respond=cell)).batch(given, {"max_concurrency": 2})
for question, response in zip(questions, responses, strict=True):
    print(question, response.answer)
