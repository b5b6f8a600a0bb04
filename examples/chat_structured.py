"""A typed answer about a long text; what does not fit the model goes back to the root model."""

from pydantic import BaseModel, Field

from langchain_replm import RLMChatModel
from langchain_replm.testing import ScriptedChatModel


class Sighting(BaseModel):
    """What was seen."""

    bird: str
    times: int = Field(gt=0)


wrong = "```repl\nFINAL({'bird': 'heron', 'times': 'often'})\n```"
right = "```repl\nFINAL({'bird': 'heron', 'times': context.count('heron')})\n```"
model = RLMChatModel(root_model=ScriptedChatModel(replies=[wrong, right]))

typed = model.with_structured_output(Sighting)
print(typed.invoke("What was seen, and how often?\n\n" + "A heron! " * 20_000))
