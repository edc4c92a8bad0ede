"""What the real destination writes, in parts and whole, is what the functions read."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from cloudmig.cloud.expectations import Expectations
from cloudmig.cloud.verdict_table import MemoryTable
from cloudmig.cloud.verify_object import verify_object
from cloudmig.destinations.opening import open_object_store
from cloudmig.model.instance import Location, Receipt, Slot, StagedInstance
from cloudmig.model.outcome import Stored
from cloudmig.model.references import InstanceRef
from tests.contract.moto_bucket import Bucket
from tests.integration.cloud_world import (
    PREFIX,
    CloudWorld,
    PutStudy,
    Through,
    a_file,
    base64_of,
    data_set_of,
)

pytest_plugins = ["tests.contract.store_fixtures"]

INSTANCE = InstanceRef("1.2.3", "1.2.3.1", "1.2.3.1.1")


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


def manifest_over(world: CloudWorld, study: PutStudy, receipt: Receipt) -> PutStudy:
    """Write the manifest of the study's one object, as it was put in parts."""
    record = replace(
        study.records[0], location=receipt.location, etag=receipt.etag,
        size_bytes=receipt.size_bytes, file_sha256=receipt.file_sha256,
        dataset_sha256=receipt.dataset_sha256, storage_class=receipt.storage_class,
    )  # fmt: skip
    world.put_manifest(study, [record])
    return replace(study, records=(record,))


def forge_in_parts(
    world: CloudWorld, key: str, forged: bytes, storage_class: str, *, owned: bool = True
) -> None:
    """Upload other bytes in parts, with metadata that claim the right ones and own these parts."""
    where = {"Bucket": world.bucket.name, "Key": PREFIX + key}
    parts = [forged[: 8 << 20], forged[8 << 20 :]]
    cut = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
    claims = world.head(key)["Metadata"]
    claims.pop("cloudmig-parts-sha256", None)
    if owned:
        claims["cloudmig-parts-sha256"] = f"{cut}-2"
    made = world.s3.create_multipart_upload(
        **where, ChecksumAlgorithm="SHA256", Metadata=claims, StorageClass=storage_class
    )
    done = []
    for number, part in enumerate(parts, 1):
        checksum = base64_of(hashlib.sha256(part).digest())
        answer = world.s3.upload_part(
            **where, UploadId=made["UploadId"], PartNumber=number, Body=part,
            ChecksumSHA256=checksum,
        )  # fmt: skip
        done.append({"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": checksum})
    world.s3.complete_multipart_upload(
        **where, UploadId=made["UploadId"], MultipartUpload={"Parts": done}
    )


@pytest.mark.parametrize("storage_class", ["STANDARD", "DEEP_ARCHIVE"])
@pytest.mark.parametrize("seen_before", [False, True])
async def test_parts_prove_a_file_only_with_the_etag_of_its_record(
    endpoint: str, storage_class: str, seen_before: bool
) -> None:
    """Who forges an object can forge all it says about itself."""
    bucket = Bucket.create(endpoint)
    store = open_object_store("s3", bucket.settings, archive="main", large_bytes_min=1)
    world = CloudWorld(bucket, MemoryTable())
    study = world.put_study(1, manifested=False)
    world.delete(study.keys[0])
    file = a_file(study.instances[0], pixels=bytes(range(256)) * 40_000)
    outcome = await store.store(staged(file, study.instances[0]), storage_class=storage_class)
    assert isinstance(outcome, Stored)
    study = manifest_over(world, study, outcome.receipt)

    verdict = world.judge(study)
    assert (verdict.agreed, verdict.how) == (True, "STORE_CHECKSUM")

    forge_in_parts(world, study.keys[0], file[:-1] + b"x", storage_class)
    if seen_before:
        seen = world.see(study.keys[0])
        assert seen is not None
        assert seen.finding == "", "nothing it says contradicts itself"
    verdict = world.judge(study)

    assert not verdict.agreed
    if storage_class == "STANDARD":
        assert [each.finding for each in verdict.findings] == ["altered"]
    else:
        assert (verdict.how, verdict.findings) == ("UNDECIDED", ())


@pytest.mark.parametrize("says_so", [False, True])
def test_parts_that_nobody_wrote_down_prove_nothing(endpoint: str, says_so: bool) -> None:
    """The store's checksum is over digests we do not know: the object is read."""
    world = CloudWorld(Bucket.create(endpoint), MemoryTable())
    study = world.put_study(1, manifested=False)
    file = a_file(study.instances[0], pixels=bytes(range(256)) * 40_000)
    world.put(study.keys[0], file)
    forge_in_parts(world, study.keys[0], file, "STANDARD", owned=False)

    def head(**arguments: str) -> dict[str, object]:
        answer: dict[str, object] = world.s3.head_object(**arguments)
        if says_so:  # As S3 does, and moto does not.
            answer["ChecksumSHA256"] = f"{answer['ChecksumSHA256']}-2"
            answer["ChecksumType"] = "COMPOSITE"
        return answer

    desk = replace(world.desk, s3=Through(world.s3, "head_object", head))
    verdict = verify_object(desk, world.bucket.name, PREFIX + study.keys[0])

    assert verdict is not None
    assert (verdict.finding, verdict.how) == ("", "STREAMED")


async def test_a_whole_put_cannot_pass_for_parts(endpoint: str) -> None:
    bucket = Bucket.create(endpoint)
    world = CloudWorld(bucket, MemoryTable())
    study = world.put_study(1, manifested=False)
    forged = study.files[0][:-1] + b"x"
    claims = world.head(study.keys[0])["Metadata"]
    claims |= {"cloudmig-parts-sha256": f"{hashlib.sha256(forged).hexdigest()}-1"}
    world.put(study.keys[0], forged, Metadata=claims)

    verdict = world.see(study.keys[0])

    assert verdict is not None
    assert verdict.finding == "altered"
