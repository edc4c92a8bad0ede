"""The functions' desk over a moto server, as fixtures.

A test module says `pytest_plugins = ["tests.integration.cloud_fixtures"]`.
"""

from __future__ import annotations

import uuid

import pytest

from cloudmig.cloud.verdict_table import MemoryTable, VerdictTable
from tests.contract.moto_bucket import Bucket
from tests.integration.cloud_world import CloudWorld, dynamo_table

__all__ = ["quick", "world"]

pytest_plugins = ["tests.contract.store_fixtures"]


@pytest.fixture(params=["memory", "dynamo"])
def world(endpoint: str, request: pytest.FixtureRequest) -> CloudWorld:
    """Both tables. Pages are small: more than one of everything."""
    table: VerdictTable = MemoryTable()
    if request.param == "dynamo":
        table = dynamo_table(endpoint, f"verdicts-{uuid.uuid4().hex}", page_items=2)
    return CloudWorld(Bucket.create(endpoint), table, page_keys=3)


@pytest.fixture
def quick(endpoint: str) -> CloudWorld:
    return CloudWorld(Bucket.create(endpoint), MemoryTable())
