"""A moto server for a test module, a versioned bucket in it and a proxy before it.

A test module says `pytest_plugins = ["tests.contract.store_fixtures"]`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.contract.faulty_proxy import FaultyProxy
from tests.contract.moto_bucket import Bucket, moto_endpoint

__all__ = ["bucket", "endpoint", "proxy"]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with moto_endpoint() as url:
        yield url


@pytest.fixture
def bucket(endpoint: str) -> Bucket:
    return Bucket.create(endpoint)


@pytest.fixture
async def proxy(endpoint: str) -> AsyncIterator[FaultyProxy]:
    async with FaultyProxy(endpoint).running() as running:
        yield running
