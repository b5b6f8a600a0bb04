"""Rules that say how right an answer is: pure functions over text."""

from __future__ import annotations

import re

_GROUPED = re.compile(r"(?<=\d)[,_\u00a0\u202f' ](?=\d{3}(?!\d))")
_DIGITS = re.compile(r"\d+")


def digits_in(answer: str) -> set[str]:
    """Every run of digits of the answer; `1,234,567` is read as one, too.

    Example:
        ```python
        from langchain_replm.evals.scoring import digits_in

        assert digits_in("It is 1,234,567, not 89.") == {"1", "234", "567", "1234567", "89"}
        ```
    """
    return {*_DIGITS.findall(answer), *_DIGITS.findall(_GROUPED.sub("", answer))}
