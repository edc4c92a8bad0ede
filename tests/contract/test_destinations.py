"""Every destination and every wrapper keeps the promises of the port."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cloudmig.destinations.opening import StoreSettings, open_object_store
from cloudmig.ports import Destination
from tests.contract.destination_contract import ARCHIVE, DestinationContract
from tests.contract.moto_bucket import Bucket, moto_endpoint


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with moto_endpoint() as address:
        yield address


def in_memory() -> Destination:
    settings = StoreSettings(url=f"memory://{uuid.uuid4().hex}")
    return open_object_store("memory", settings, archive=ARCHIVE)


class TestMemory(DestinationContract):
    @pytest.fixture
    def destination(self) -> Destination:
        return in_memory()


class TestFile(DestinationContract):
    @pytest.fixture
    def destination(self, tmp_path: Path) -> Destination:
        settings = StoreSettings(url=f"file://{tmp_path}/images")
        return open_object_store("file", settings, archive=ARCHIVE)


class TestS3Versioned(DestinationContract):
    has_storage_classes = True

    @pytest.fixture
    def bucket(self, endpoint: str) -> Bucket:
        return Bucket.create(endpoint, versioned=True)

    @pytest.fixture
    def destination(self, bucket: Bucket) -> Destination:
        return open_object_store("s3", bucket.settings, archive=ARCHIVE)

    @pytest.fixture
    def versions_of(self, bucket: Bucket) -> Callable[[str], int]:
        return bucket.counter()


class TestS3Unversioned(TestS3Versioned):
    @pytest.fixture
    def bucket(self, endpoint: str) -> Bucket:
        return Bucket.create(endpoint, versioned=False)
