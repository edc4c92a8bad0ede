"""Percentiles are those of definition 7, as numpy and `statistics` compute them."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudmig.cloud.percentiles import Percentiles, percentile, percentiles

TIMES = st.lists(st.floats(min_value=0, max_value=1e6), min_size=2, max_size=300)


@given(TIMES)
def test_they_are_those_of_the_standard_library_and_of_numpy(values: list[float]) -> None:
    hundredths = statistics.quantiles(values, n=100, method="inclusive")

    for percent in (50, 95, 99):
        ours = percentile(values, percent)
        assert ours == pytest.approx(hundredths[percent - 1], rel=1e-9, abs=1e-12)
        assert ours == pytest.approx(float(np.percentile(values, percent)), rel=1e-9, abs=1e-12)


@given(TIMES)
def test_they_lie_in_order_between_the_least_and_the_most(values: list[float]) -> None:
    found = percentiles(values)

    assert found is not None
    assert min(values) <= found.p50 <= found.p95 <= found.p99 <= max(values)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3.0], Percentiles(3.0, 3.0, 3.0)),
        ([1.0, 2.0], Percentiles(1.5, 1.95, 1.99)),
        ([float(each) for each in range(101)], Percentiles(50.0, 95.0, 99.0)),
    ],
)
def test_small_samples_by_hand(values: list[float], expected: Percentiles) -> None:
    found = percentiles(values)

    assert found is not None
    assert (found.p50, found.p95, found.p99) == pytest.approx(
        (expected.p50, expected.p95, expected.p99)
    )


def test_no_values_have_no_percentiles() -> None:
    assert percentiles([]) is None
