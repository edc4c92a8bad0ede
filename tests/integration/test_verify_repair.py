"""What is altered, truncated, deleted or swapped behind the agent's back is named and repaired."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cloudmig import manifest
from cloudmig.catalog import Catalog
from cloudmig.catalog.records import BadInstance, CopyToVerify
from cloudmig.demo.oddities import conflicting
from cloudmig.demo.pacs import ScriptedPacs
from cloudmig.manifest import Manifest
from cloudmig.model.references import StudyRef
from cloudmig.model.states import TransferState
from tests.integration.migration_world import World, a_study
from tests.peers.launch.moto import s3_client
from tests.peers.part10 import dataset_sha256

pytest_plugins = ["tests.contract.store_fixtures"]

STUDIES = tuple(a_study(number, series=(3, 2)) for number in range(1, 7))


class Bucket:
    """A bucket, looked at and tampered with behind the agent's back."""

    def __init__(self, endpoint: str, name: str, *, versioned: bool) -> None:
        self.name = name
        self.client: Any = s3_client(endpoint, "testing", "testing")
        self.client.create_bucket(Bucket=name)
        if versioned:
            self.client.put_bucket_versioning(
                Bucket=name, VersioningConfiguration={"Status": "Enabled"}
            )
        self.settings = {
            "url": f"s3://{name}", "endpoint": endpoint, "profile": "moto",
            "access_key_id": "testing", "secret_access_key": "testing",
        }  # fmt: skip

    def listed(self, ending: str = ".dcm") -> list[str]:
        found = self.client.list_objects_v2(Bucket=self.name).get("Contents", [])
        return [each["Key"] for each in found if each["Key"].endswith(ending)]

    def body(self, key: str) -> bytes:
        body: bytes = self.client.get_object(Bucket=self.name, Key=key)["Body"].read()
        return body

    def put(self, key: str, body: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=body)

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=self.name, Key=key)

    def manifests(self, study: StudyRef) -> list[Manifest]:
        """Return every revision of a study's manifest."""
        keys = [key for key in self.listed(".json.gz") if study.study_instance_uid in key]
        return [manifest.decode(self.body(key)) for key in keys]

    def held(self) -> dict[str, set[str]]:
        """Return the digests of each instance's newest object, repairs included."""
        found: dict[str, set[str]] = {}
        for key in self.listed(""):
            if ".dcm" in key:
                sop_instance_uid = key.rsplit("/", 1)[-1].split(".dcm")[0]
                found.setdefault(sop_instance_uid, set()).add(dataset_sha256(self.body(key)))
        return found


def tamper(bucket: Bucket) -> dict[str, str]:
    """Spoil ten objects, a manifest among them; return what each must be called by key."""
    keys = bucket.listed()
    assert len(keys) >= 10
    spoiled: dict[str, str] = {}
    for key in keys[:3]:
        body = bytearray(bucket.body(key))
        body[-1] ^= 0xFF
        bucket.put(key, bytes(body))
        spoiled[key] = "altered"
    for key in keys[3:5]:
        bucket.put(key, bucket.body(key)[:-10])
        spoiled[key] = "truncated"
    for key in keys[5:7]:
        bucket.delete(key)
        spoiled[key] = "missing"
    # Two objects of one study, each under the other's name.
    last = [key for key in keys[7:] if key.split("/")[3] == keys[-1].split("/")[3]]
    one, other = last[-2:]
    first, second = bucket.body(one), bucket.body(other)
    bucket.put(one, second)
    bucket.put(other, first)
    spoiled |= {one: "swapped", other: "swapped"}
    clean_study = next(
        key for key in bucket.listed(".json.gz")
        if key.split("/")[3] not in {each.split("/")[3] for each in spoiled}
    )  # fmt: skip
    bucket.put(clean_study, bucket.body(clean_study)[:-1] + b"x")
    spoiled[clean_study] = "manifest altered"
    return spoiled


@pytest.mark.parametrize("versioned", [True, False], ids=["versioned", "unversioned"])
async def test_ten_of_ten_spoiled_objects_are_named_and_repaired(
    versioned: bool, endpoint: str, tmp_path: Path
) -> None:
    bucket = Bucket(endpoint, f"spoiled-{versioned}".lower(), versioned=versioned)
    world = World(tmp_path, STUDIES, destinations={"store": bucket.settings})
    with world.serving():
        await world.migrate()
        assert not (await world.verify()).findings
        spoiled = tamper(bucket)
        assert len(spoiled) == 10
        found = await world.verify(again=True)

        named = {
            (each.study_instance_uid, each.sop_instance_uid): each.finding
            for each in found.findings
        }
        wanted = {}
        for key, finding in spoiled.items():
            study = key.split("/")[3]
            is_image = key.endswith(".dcm")
            sop = key.rsplit("/", 1)[-1].removesuffix(".dcm") if is_image else ""
            wanted[study, sop] = finding
        assert named == wanted
        refused = await world.close()
        assert refused.refused, "nothing closes while a copy is known to be bad"

        repaired = await world.run()
        assert not repaired.quarantined
        await world.explain_everything()

    truth = world.truth()
    held = bucket.held()
    assert held.keys() == truth.keys()
    assert all(truth[uid] <= held[uid] for uid in truth)
    repairs = [key for key in bucket.listed("") if "~r" in key]
    if versioned:
        assert repairs == []
        assert held == truth
    else:
        # What was deleted goes back to its own key; what was spoiled stays, a repair beside it.
        assert len(repairs) == Counter(spoiled.values()).total() - 3


async def test_a_bucket_that_lost_everything_is_no_bucket_that_is_down(
    endpoint: str, tmp_path: Path
) -> None:
    bucket = Bucket(endpoint, "emptied", versioned=False)
    world = World(tmp_path, STUDIES[:3], destinations={"store": bucket.settings})
    with world.serving():
        await world.migrate()
        for key in bucket.listed():
            bucket.delete(key)
        found = await world.verify(again=True)

    assert {each.finding for each in found.findings} == {"missing"}
    assert {each.sop_instance_uid for each in found.findings} == world.truth().keys()


async def test_what_fails_again_after_two_repairs_waits_for_a_person(
    endpoint: str, tmp_path: Path
) -> None:
    bucket = Bucket(endpoint, "stubborn", versioned=True)
    world = World(tmp_path, STUDIES[:2], destinations={"store": bucket.settings})
    [victim, *_] = [one.sop_instance_uid for one in STUDIES[0].instances()]
    with world.serving():
        await world.migrate()
        for _ in range(3):
            assert world.quarantined() == {}
            [key] = [key for key in bucket.listed() if victim in key]
            bucket.put(key, b"not what was there" * 99)
            found = await world.verify(again=True)
            assert [each.sop_instance_uid for each in found.findings] == [victim]
            await world.run()

        assert world.quarantined() == {STUDIES[0].study_instance_uid: {"verification_failed"}}
        await world.explain_everything()


@pytest.mark.parametrize("versioned", [True, False])
@pytest.mark.parametrize("spoil_beside", [True, False])
async def test_of_two_contents_the_one_that_was_spoiled_is_repaired_under_its_own_key(
    endpoint: str, tmp_path: Path, *, versioned: bool, spoil_beside: bool
) -> None:
    bucket = Bucket(endpoint, f"two-{versioned}-{spoil_beside}".lower(), versioned=versioned)
    studies = [conflicting(STUDIES[0]), STUDIES[1]]
    world = World(tmp_path, studies, destinations={"store": bucket.settings})
    with world.serving():
        await world.migrate()
        with world.catalog() as catalog:
            study = StudyRef(studies[0].study_instance_uid)
            catalog.release("main", study, at=dt.datetime.now(dt.UTC), note="both are kept")
        await world.run()
        await world.explain_everything()
        [beside] = [key for key in bucket.listed() if "~" in key]
        first = beside.split("~")[0] + ".dcm"
        before = {key: bucket.body(key) for key in bucket.listed()}
        victim = beside if spoil_beside else first

        bucket.put(victim, b"not what was there" * 99)
        found = await world.verify(again=True)
        assert len(found.findings) == 1
        assert not (await world.run()).quarantined
        await world.explain_everything()

    after = {key: bucket.body(key) for key in bucket.listed("")}
    repaired = victim if versioned else f"{victim}~r1"
    assert after[repaired] == before[victim]
    assert all(after[key] == body for key, body in before.items() if key != victim)
    newest = max(bucket.manifests(study), key=lambda each: each.revision)
    slots = Counter(each.slot for each in newest.instances)
    assert slots == {"primary": 5, "conflict": 1}


async def test_a_second_content_that_the_source_no_longer_sends_is_not_forgotten(
    endpoint: str, tmp_path: Path
) -> None:
    bucket = Bucket(endpoint, "gone-beside", versioned=True)
    world = World(tmp_path, [conflicting(STUDIES[0])], destinations={"store": bucket.settings})
    study = StudyRef(STUDIES[0].study_instance_uid)
    with world.serving():
        await world.migrate()
        with world.catalog() as catalog:
            catalog.release("main", study, at=dt.datetime.now(dt.UTC), note="both are kept")
        await world.run()
        await world.explain_everything()
    [beside] = [key for key in bucket.listed() if "~" in key]
    bucket.delete(beside)
    world.pacs = ScriptedPacs(
        [STUDIES[0]],
        destinations={"CLOUDMIG": ("127.0.0.1", world.agent_port)},
        port=world.pacs.port,
    )
    with world.serving():
        for _ in range(3):
            found = await world.verify(again=True)
            assert [each.finding for each in found.findings] == ["missing"]
            await world.run()

        assert world.quarantined() == {study.study_instance_uid: {"verification_failed"}}


async def test_seven_parts_see_every_copy_once(tmp_path: Path) -> None:
    world = World(tmp_path, STUDIES)
    with world.serving():
        await world.migrate()
    seen = [await world.verify(part=part, parts=7) for part in range(1, 8)]

    assert sum(each.copies for each in seen) == len(STUDIES)
    assert (await world.verify()).copies == 0


async def test_an_archive_class_is_decided_by_the_checksum_of_the_store_or_not_at_all(
    endpoint: str, tmp_path: Path
) -> None:
    bucket = Bucket(endpoint, "frozen", versioned=True)
    settings = {
        **bucket.settings,
        "storage_class": "DEEP_ARCHIVE",
        "profile_overrides": {"checksum_header": False},
    }
    world = World(tmp_path, STUDIES[:1], destinations={"store": settings})
    with world.serving():
        await world.migrate()
    # A store that was sent no checksum keeps none: nothing may be taken for granted.
    undecided = await world.verify()
    assert (undecided.undecided, undecided.agreed, undecided.failed) == (1, 0, 0)
    assert (await world.close()).refused

    for key in bucket.listed():
        bucket.client.put_object(
            Bucket=bucket.name, Key=key, Body=_body_of(bucket, world, key),
            StorageClass="DEEP_ARCHIVE", ChecksumAlgorithm="SHA256",
        )  # fmt: skip
    decided = await world.verify()
    assert dict(decided.how) == {"STORE_CHECKSUM": 1}
    assert decided.agreed == 1
    assert not (await world.close()).refused


async def test_an_archived_study_is_decided_by_the_checksum_its_put_was_sent_with(
    endpoint: str, tmp_path: Path
) -> None:
    bucket = Bucket(endpoint, "cold", versioned=True)
    settings = {**bucket.settings, "storage_class": "DEEP_ARCHIVE"}
    world = World(tmp_path, STUDIES[:1], destinations={"store": settings})
    with world.serving():
        await world.migrate()

    decided = await world.verify()

    assert dict(decided.how) == {"STORE_CHECKSUM": 1}
    assert decided.agreed == 1
    assert not (await world.close()).refused


async def test_a_study_that_was_archived_since_is_decided_by_its_checksum_too(
    endpoint: str, tmp_path: Path
) -> None:
    """A lifecycle rule moves what lies long enough; the manifest still names the first class."""
    bucket = Bucket(endpoint, "cooled", versioned=True)
    world = World(tmp_path, STUDIES[:1], destinations={"store": bucket.settings})
    with world.serving():
        await world.migrate()
    for key in bucket.listed():
        bucket.client.copy_object(
            Bucket=bucket.name, Key=key, CopySource={"Bucket": bucket.name, "Key": key},
            StorageClass="GLACIER", ChecksumAlgorithm="SHA256",
        )  # fmt: skip

    decided = await world.verify()

    assert dict(decided.how) == {"STORE_CHECKSUM": 1}
    assert decided.agreed == 1


async def test_another_content_below_an_archived_object_is_a_conflict_that_nobody_waits_for(
    endpoint: str, tmp_path: Path
) -> None:
    """The first content cannot be read to be compared: both are kept, and a person decides."""
    bucket = Bucket(endpoint, "glacier", versioned=True)
    settings = {**bucket.settings, "storage_class": "DEEP_ARCHIVE"}
    first = World(_folder(tmp_path, "first"), STUDIES[:1], destinations={"store": settings})
    with first.serving():
        await first.migrate()
    archived = bucket.listed()
    larger = tuple(replace(each, rows=96, columns=96) for each in STUDIES[0].series)
    again = replace(STUDIES[0], series=larger)
    world = World(_folder(tmp_path, "again"), [again, STUDIES[1]], destinations={"store": settings})

    with world.serving():
        summary = await asyncio.wait_for(world.migrate(), 30)

    assert (summary.studies_stored, summary.quarantined) == (1, 1)
    assert world.quarantined() == {again.study_instance_uid: {"conflict"}}
    assert set(archived) < set(bucket.listed()), "nothing was overwritten"
    assert sum("~" in key for key in bucket.listed()) == len(archived)


def _folder(tmp_path: Path, name: str) -> Path:
    (tmp_path / name).mkdir()
    return tmp_path / name


def _body_of(bucket: Bucket, world: World, key: str) -> bytes:
    """Return the bytes of an archived object: restore it first."""
    bucket.client.restore_object(Bucket=bucket.name, Key=key, RestoreRequest={"Days": 1})
    return bucket.body(key)


async def test_a_verdict_of_a_copy_written_meanwhile_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And counted nowhere: nobody has looked at what is there now."""
    record_verdict = Catalog.record_verdict

    def claimed_first(catalog: Catalog, copy: CopyToVerify, **told: Any) -> object:  # noqa: ANN401
        found = [BadInstance("", "manifest missing", copy.manifest_key)]
        differs = {**told, "agreed": False, "findings": found}
        assert record_verdict(catalog, copy, **differs) is TransferState.PLANNED
        assert catalog.claim_next("another", lease_s=60, sources=["main"])
        return record_verdict(catalog, copy, **told)

    monkeypatch.setattr(Catalog, "record_verdict", claimed_first)
    world = World(tmp_path, STUDIES[:1])
    with world.serving():
        await world.migrate()
    summary = await world.verify()

    assert (summary.copies, summary.agreed, summary.instances) == (0, 0, 0)
    assert not world.ledger("copy_verified")
