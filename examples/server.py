"""A graph factory for LangGraph servers; `langgraph.json` names it.

`langgraph dev` serves it, Studio draws it. Models are named by environment variables, as
`init_chat_model` knows them; without any the deterministic demo model answers, so that it runs
without a key. `RLM_APPROVE=cells` stops before each reply's cells and waits for a person.
"""

import os

from langchain_replm import ExtractiveChatModel, RLMConfig, RLMGraph, create_rlm_graph


def make_graph() -> RLMGraph:
    """The loop. The server brings its own checkpointer, which keeps contexts and sub-calls too."""
    config = RLMConfig(approve=tuple(os.environ.get("RLM_APPROVE", "").split()))
    return create_rlm_graph(
        os.environ.get("RLM_ROOT_MODEL") or ExtractiveChatModel(),
        sub_model=os.environ.get("RLM_SUB_MODEL") or ExtractiveChatModel(),
        config=config,
    )


if __name__ == "__main__":
    # The same graph without a server.
    given = {"query": "How many times does the word heron occur?", "context": "heron, stork, heron"}
    print(make_graph().invoke(given)["answer"])
