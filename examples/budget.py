"""Prices by model, and a limit for the whole run. At a limit the run is closed, not lost.

Replace the scripted models by any LangChain chat models, and state the prices of theirs.
"""

from langchain_replm import RLM, ModelPrice, RLMConfig
from langchain_replm.testing import ScriptedChatModel

root = ScriptedChatModel(
    replies=[
        "```repl\nread = llm_query_batch(context.split('\\n'))\n```",
        "```repl\nFINAL(f'{sum(isinstance(r, str) for r in read)} lines were read')\n```",
    ],
    model_name="large",
)
sub = ScriptedChatModel(replies=["read"], model_name="small")
config = RLMConfig(
    max_cost_usd=0.03,
    root_max_tokens=300,
    sub_max_tokens=50,
    prices={
        "large": ModelPrice(input_usd_per_million=1.25, output_usd_per_million=10.0),
        "small": ModelPrice(input_usd_per_million=0.25, output_usd_per_million=2.0),
    },
)
text = "\n".join(f"line {n} " + "about herons " * 100 for n in range(400))
response = RLM(root, sub_model=sub, config=config).generate("What do they say?", text)
print(response.answer)
print(response.stop_reason, f"${response.cost:.4f} of ${config.max_cost_usd}")
