"""From an OpenAI client that you have, as replm takes it. It needs a key, or a server like it.

`OPENAI_API_KEY` and `OPENAI_BASE_URL` say where it asks.
"""

import os
import sys

from openai import OpenAI

from langchain_replm import RLM

if "OPENAI_API_KEY" not in os.environ:
    print("Set OPENAI_API_KEY; quickstart.py needs none.")
    sys.exit()

with OpenAI() as client:
    rlm = RLM.from_openai(client, root_model="gpt-5.2", sub_model="gpt-5-mini")
    response = rlm.generate("How often does the heron stand?", "The heron stands. " * 50_000)
    print(response.answer, list(response.usage_by_model))
