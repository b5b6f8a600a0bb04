"""From the text of a root reply to what it asks for: cells to run, or an answer.

Pure functions over a string: no I/O, no model, no state between calls. The rules follow what real
root models write; each one is a row in ``tests/unit_tests/test_reply.py``.
"""

from langchain_replm._reply._finals import Final
from langchain_replm._reply._scan import ParsedReply, Problem, parse_reply
from langchain_replm._reply._text import without_thinking

__all__ = ["Final", "ParsedReply", "Problem", "parse_reply", "without_thinking"]
