"""Two questions at once with `agenerate`; cancelling the task stops the run.

Replace the scripted model by any LangChain chat model, for example `ChatOpenAI(model="gpt-5.2")`.
"""

import asyncio

from langchain_replm import RLM
from langchain_replm.testing import ScriptedChatModel

rlm = RLM(ScriptedChatModel(replies=["```repl\nFINAL(context.count('heron'))\n```"]))


async def main() -> None:
    """Ask about two texts."""
    responses = await asyncio.gather(
        rlm.agenerate("How many herons?", "heron " * 1_000),
        rlm.agenerate("How many herons?", "heron " * 2_000),
    )
    print([response.answer for response in responses])


asyncio.run(main())
