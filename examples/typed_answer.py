"""An answer of a type: pydantic checks it, and what does not fit goes back to the root model.

Replace the scripted model by any LangChain chat model, for example `ChatOpenAI(model="gpt-5.2")`.
"""

from pydantic import BaseModel, Field

from langchain_replm import RLM
from langchain_replm.testing import ScriptedChatModel


class Sighting(BaseModel):
    """What was seen."""

    bird: str
    times: int = Field(gt=0)


wrong = "```repl\nFINAL({'bird': 'heron', 'times': 'often'})\n```"
right = "```repl\nFINAL({'bird': 'heron', 'times': context.count('heron')})\n```"
rlm = RLM(ScriptedChatModel(replies=[wrong, right]), response_format=Sighting)
response = rlm.generate("Which bird, and how often?", "A heron! " * 20_000)
print(repr(response.structured_response), "after", response.iterations, "iterations")
