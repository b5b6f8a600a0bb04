"""A chat model without a neural network: it plans searches and quotes what it reads.

It exists so that `make demo`, the examples and the tests can show a real Recursive Language Model
run on a machine with no key, no network and no weights. It is honest work, only narrow: nothing
about any text or answer is built in, and it says what it is in its first line.

Example:
    ```python
    from langchain_replm import RLM
    from langchain_replm.extractive import ExtractiveChatModel

    rlm = RLM(ExtractiveChatModel())
    response = rlm.generate("How many times does the word 'whale' occur?", "a whale. " * 100)
    assert "100" in response.answer
    ```
"""

from __future__ import annotations

from langchain_replm.extractive.model import ExtractiveChatModel

__all__ = ["ExtractiveChatModel"]
