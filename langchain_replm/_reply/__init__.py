"""From the text of a root reply to what it asks for: cells to run, or an answer.

Pure functions over a string: no I/O, no model, no state between calls. The rules follow what real
root models write; each one is a row in ``tests/unit_tests/test_reply.py``.
"""

from langchain_replm._reply._finals import Final
from langchain_replm._reply._scan import ParsedReply, Problem, parse_reply
from langchain_replm._reply._submits import may_submit, submission_of, touched_by
from langchain_replm._reply._text import without_thinking

__all__ = [
    "Final",
    "ParsedReply",
    "Problem",
    "may_submit",
    "parse_reply",
    "submission_of",
    "touched_by",
    "without_thinking",
]
