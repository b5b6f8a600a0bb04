"""How sure a mean is."""

from __future__ import annotations

import math
from statistics import NormalDist, fmean, stdev
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

CONFIDENCE = 0.95

_Z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)

# fmt: off
_T = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
)
# fmt: on
"""Student's t for 95 % by degrees of freedom, from 1 to 30; past that, the first term of its series
is right to three digits."""


def t_interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the mean of some measurements; of one it is the value itself.

    Example:
        ```python
        from langchain_replm.evals._spread import t_interval

        low, high = t_interval([1.0, 2.0, 3.0])
        assert (round(low, 2), round(high, 2)) == (-0.48, 4.48)
        ```
    """
    mean, count = fmean(values), len(values)
    if count < 2:  # noqa: PLR2004 - one value has no spread
        return mean, mean
    free = count - 1
    t = _T[free - 1] if free <= len(_T) else _Z + (_Z**3 + _Z) / (4 * free)
    half = t * stdev(values) / math.sqrt(count)
    return mean - half, mean + half


def score_interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of a mean score, by Wilson's formula for proportions.

    A t-interval or a bootstrap of five right answers out of five says "exactly 1", which five
    examples cannot show. Wilson's says 0.57 to 1. For scores between 0 and 1 the interval is rather
    too wide, since no such score varies more than one of 0 and 1 with the same mean.

    Example:
        ```python
        from langchain_replm.evals._spread import score_interval

        low, high = score_interval([1.0] * 5)
        assert (round(low, 2), high) == (0.57, 1.0)
        ```
    """
    mean, count = fmean(values), len(values)
    squared = _Z**2 / count
    middle = (mean + squared / 2) / (1 + squared)
    half = math.sqrt(mean * (1 - mean) * squared + squared**2 / 4) / (1 + squared)
    return max(0.0, middle - half), min(1.0, middle + half)


def deviation(values: Sequence[float]) -> float:
    """Standard deviation; 0 for fewer than two values."""
    return stdev(values) if len(values) > 1 else 0.0
