"""What the real destination writes, in parts and whole, is what the functions read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace

import pytest

from cloudmig.cloud.expectations import Expectations
from cloudmig.cloud.verdict_table import MemoryTable
from cloudmig.destinations.opening import open_object_store
from cloudmig.model.instance import Location, Slot, StagedInstance
from cloudmig.model.outcome import Stored
from cloudmig.model.references import InstanceRef
from tests.contract.moto_bucket import Bucket, moto_endpoint
from tests.integration.cloud_world import PREFIX, CloudWorld, a_file, data_set_of

INSTANCE = InstanceRef("1.2.3", "1.2.3.1", "1.2.3.1.1")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with moto_endpoint() as address:
        yield address


def staged(file: bytes, instance: InstanceRef | None = INSTANCE) -> StagedInstance:
    return StagedInstance(
        instance, "1.2", "1.2.840.10008.1.2.1", len(file), hashlib.sha256(file).hexdigest(),
        hashlib.sha256(data_set_of(file)).hexdigest(), body=file,
    )  # fmt: skip


@pytest.mark.parametrize("read", ["checksum", "stream"])
@pytest.mark.parametrize("in_parts", [False, True])
@pytest.mark.parametrize("slot", Slot)
async def test_an_object_of_the_agent_is_what_it_says(
    endpoint: str, read: str, in_parts: bool, slot: Slot
) -> None:
    bucket = Bucket.create(endpoint)
    large_bytes_min = 1 if in_parts else 64 << 20
    store = open_object_store(
        "s3", bucket.settings, archive="main", large_bytes_min=large_bytes_min
    )
    expected = Expectations(prefix=PREFIX, read=read)
    world = CloudWorld(bucket, MemoryTable(), expected)
    file = a_file(INSTANCE, pixels=bytes(range(256)) * 40_000)

    outcome = await store.store(staged(file), slot=slot, storage_class="STANDARD_IA")

    assert isinstance(outcome, Stored)
    place = outcome.receipt.location
    assert outcome.receipt.etag.strip('"').endswith("-2") is in_parts
    verdict = world.see(place.key)
    assert verdict is not None
    assert (verdict.finding, verdict.storage_class) == ("", "STANDARD_IA")
    assert verdict.file_sha256 == outcome.receipt.file_sha256
    assert verdict.dataset_sha256 == outcome.receipt.dataset_sha256
    assert (verdict.etag, verdict.version_id) == (outcome.receipt.etag, place.version_id)


async def test_a_repair_of_the_agent_is_what_it_says(endpoint: str) -> None:
    bucket = Bucket.create(endpoint, versioned=False)
    store = open_object_store("s3", bucket.settings, archive="main")
    world = CloudWorld(bucket, MemoryTable())
    file = a_file(INSTANCE)
    outcome = await store.store(staged(file))
    assert isinstance(outcome, Stored)
    world.overwrite(outcome.receipt.location.key, file[:-2])
    bad = await store.find(Location(outcome.receipt.location.key))
    assert bad is not None

    receipt = await store.replace(staged(file), replace(bad, file_sha256="ab" * 32))

    assert receipt.location.key.endswith("~r1")
    verdict = world.see(receipt.location.key)
    assert verdict is not None
    assert verdict.finding == ""


async def test_the_evidence_of_the_agent_is_believed(endpoint: str) -> None:
    bucket = Bucket.create(endpoint)
    store = open_object_store("s3", bucket.settings, archive="main")
    world = CloudWorld(bucket, MemoryTable())
    study = world.put_study(2)
    body = bucket.client.get_object(Bucket=bucket.name, Key=PREFIX + study.manifest_key())
    world.delete(study.manifest_key())

    assert await store.put_evidence(study.manifest_key(), body["Body"].read())

    assert world.judge(study).agreed
