"""`on_event` hears what happens in a run: here, each sub-call and what the run has spent.

Replace the scripted models by any LangChain chat models.
"""

from langchain_replm import RLM, RLMEvent
from langchain_replm.testing import ScriptedChatModel

root = ScriptedChatModel(
    replies=["```repl\nreplies = llm_query_batch(context.split('. '))\nFINAL(replies[-1])\n```"]
)
sub = ScriptedChatModel(respond=lambda messages: messages[-1].text.upper())


def hear(event: RLMEvent) -> None:
    """Say what happened; `event.depth` is 0 for the run itself, more for its children."""
    detail = event.detail
    if event.type == "sub_call_end":
        print("sub-call:", detail["prompt_chars"], "characters,", detail["status"])
    elif event.type == "final_answer":
        print("spent:", detail["input_tokens"] + detail["output_tokens"], "tokens")


text = "A heron fishes. A stork walked. A teal is here"
print(RLM(root, sub_model=sub).generate("What is last?", text, on_event=hear).answer)
