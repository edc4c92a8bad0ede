"""Exact percentiles of all values there are: one definition, used everywhere.

Linear interpolation between the two closest values: definition 7 of Hyndman and Fan, "Sample
Quantiles in Statistical Packages", The American Statistician 50 (1996) 361-365. It is the default
of numpy and `statistics.quantiles(method="inclusive")`, so anybody can check ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Percentiles", "percentile", "percentiles"]


@dataclass(frozen=True, slots=True)
class Percentiles:
    """What half, nearly all and all but the worst of the values stay within."""

    p50: float
    p95: float
    p99: float


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value below which `percent` of the values lie."""
    return _of_sorted(sorted(values), percent)


def percentiles(values: Sequence[float]) -> Percentiles | None:
    """Return the three that are reported, or None where there are no values."""
    if not values:
        return None
    ordered = sorted(values)
    return Percentiles(*(_of_sorted(ordered, percent) for percent in (50, 95, 99)))


def _of_sorted(ordered: Sequence[float], percent: float) -> float:
    assert ordered, "no values have no percentile"
    assert 0 <= percent <= 100
    place = percent / 100 * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    share = place - below
    lower, upper = ordered[below], ordered[above]
    # From the nearer end, so that equal neighbours give exactly themselves.
    if share < 0.5:
        return lower + (upper - lower) * share
    return upper - (upper - lower) * (1 - share)
