"""What a copy promises as a source: everything proven, all room given back, errors of a source."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from cloudmig import manifest
from cloudmig.demo.oddities import heavy
from cloudmig.demo.studies import Instance, Study
from cloudmig.dicom.digest import StreamDigests
from cloudmig.dicom.part10 import file_prefix, read_prefix
from cloudmig.errors import (
    DestinationRefused,
    DestinationUnavailable,
    ObjectArchived,
    SourceRefused,
    SourceUnavailable,
)
from cloudmig.manifest import InstanceRecord, Manifest
from cloudmig.model.instance import ExpectedInstance, Location, Receipt
from cloudmig.model.references import StudyRef
from cloudmig.ports import RetrieveRequest
from cloudmig.sources.copies import CopySource
from cloudmig.staging import StagingArea, StagingLimits
from tests.contract.source_contract import an_area, given_back, pull
from tests.integration.migration_world import a_study

STUDY = a_study(1, series=(4, 3))
_PIECE = 999


@dataclass
class Shelf:
    """A destination that is only read: bytes by key, and what happens instead."""

    name: str = "archive"
    held: dict[str, bytes] = field(default_factory=dict)
    instead: dict[str, Exception] = field(default_factory=dict)
    reads: int = 0

    async def read(self, location: Location) -> AsyncIterator[bytes]:
        self.reads += 1
        if location.key in self.instead:
            raise self.instead[location.key]
        if location.key not in self.held:
            raise DestinationUnavailable("nothing is there")
        body = self.held[location.key]
        for start in range(0, len(body), _PIECE):
            await asyncio.sleep(0)
            yield body[start : start + _PIECE]

    async def find(self, location: Location) -> Receipt | None:
        body = self.held.get(location.key)
        if body is None:
            return None
        return Receipt(location, len(body), "", "", etag="now")

    async def get_evidence(self, key: str) -> bytes | None:
        return self.held.get(key)


def ours(instance: Instance) -> bytes:
    """Return the file as we write it: under our own prefix."""
    body = instance.part10()
    offset, syntax = read_prefix(body)
    return file_prefix(instance.sop_class_uid, instance.sop_instance_uid, syntax) + body[offset:]


def foreign(instance: Instance) -> bytes:
    """Return the file as others write it."""
    return instance.part10()


def record_of(instance: Instance, body: bytes) -> InstanceRecord:
    digests = StreamDigests()
    digests.update(body)
    found = digests.result()
    return InstanceRecord(
        series_instance_uid=instance.series_instance_uid,
        sop_instance_uid=instance.sop_instance_uid,
        sop_class_uid=instance.sop_class_uid,
        transfer_syntax_uid=read_prefix(body)[1],
        size_bytes=found.size_bytes,
        file_sha256=found.file_sha256,
        dataset_sha256=found.dataset_sha256,
        location=Location(instance.sop_instance_uid),
    )


def a_copy(
    area: StagingArea, study: Study = STUDY, write: object = ours, **changes: object
) -> tuple[Shelf, CopySource]:
    shelf = Shelf()
    records = []
    for instance in study.instances():
        body = foreign(instance) if write is foreign else ours(instance)
        shelf.held[instance.sop_instance_uid] = body
        records.append(record_of(instance, body))
    written = Manifest(
        archive="main", study_instance_uid=study.study_instance_uid, revision=1,
        previous_sha256="", source={"name": "main", "aet": "PACS"}, destination="archive",
        created_at="2026-01-01T00:00:00+00:00", completeness="SET", instances=tuple(records),
    )  # fmt: skip
    body, sha256 = manifest.encode(replace(written, **changes))  # type: ignore[arg-type]
    shelf.held["manifest"] = body
    source = CopySource(
        shelf,
        manifest_key="manifest",
        manifest_sha256=sha256,
        area=area,  # type: ignore[arg-type]
    )
    return shelf, source


def ref_of(study: Study = STUDY) -> StudyRef:
    return StudyRef(study.study_instance_uid)


async def everything(source: CopySource, study: Study = STUDY) -> RetrieveRequest:
    listing = await source.list_instances(ref_of(study))
    assert listing.complete
    expected: dict[str, ExpectedInstance] = {
        each.instance.sop_instance_uid: each for each in listing.instances
    }
    return RetrieveRequest(ref_of(study), expected)


@pytest.mark.parametrize("write", [ours, foreign])
async def test_whoever_wrote_the_file_it_arrives_under_our_own_prefix(
    write: object, tmp_path: Path
) -> None:
    area = an_area(tmp_path)
    shelf, source = a_copy(area, write=write)

    arrived, evidence, gone = await pull(source, await everything(source))  # type: ignore[arg-type]

    assert {each.body for each in arrived} == {ours(each) for each in STUDY.instances()}
    assert all(hashlib.sha256(each.body).hexdigest() == each.file_sha256 for each in arrived)
    assert (gone, evidence.failed, source.damaged) == (None, None, [])
    assert shelf.reads == len(arrived)
    assert given_back(area)


async def test_what_differs_does_not_arrive_and_is_named(tmp_path: Path) -> None:
    area = an_area(tmp_path)
    shelf, source = a_copy(area)
    altered, other_prefix, short, gone_, junk, *_ = shelf.held
    shelf.held[altered] = shelf.held[altered][:-1] + b"\xff"
    shelf.held[other_prefix] = foreign(
        next(one for one in STUDY.instances() if one.sop_instance_uid == other_prefix)
    )
    shelf.held[short] = shelf.held[short][:200]
    shelf.held[junk] = b"no DICOM" * (len(shelf.held[junk]) // 8 + 1)
    del shelf.held[gone_]

    arrived, evidence, gone = await pull(source, await everything(source))  # type: ignore[arg-type]

    assert gone is None
    assert {(each.sop_instance_uid, each.finding) for each in source.damaged} == {
        (altered, "altered"), (other_prefix, "altered"), (short, "truncated"),
        (gone_, "missing"), (junk, "altered"),
    }  # fmt: skip
    assert evidence.failed == 5
    assert {each.etag for each in source.damaged} == {"now", ""}, "what to repair over"
    assert len(arrived) == len(STUDY.instances()) - 5
    assert given_back(area)


async def test_large_objects_go_through_the_spool_and_memory_stays_bounded(tmp_path: Path) -> None:
    study = heavy(heavy(STUDY, 0, extra_bytes=3 << 20), 1, extra_bytes=3 << 20)
    limits = StagingLimits(credit_bytes=64 << 10, memory_object_bytes_max=256 << 10)
    area = an_area(tmp_path, memory_bytes=1 << 20, limits=limits)
    _, source = a_copy(area, study)

    arrived, _, gone = await pull(source, await everything(source, study))  # type: ignore[arg-type]

    assert gone is None
    assert sorted(each.in_memory for each in arrived) == [False] * 2 + [True] * 5
    assert {each.body for each in arrived} == {ours(each) for each in study.instances()}
    assert given_back(area)


async def test_no_room_is_counted_and_is_nobodys_damage(tmp_path: Path) -> None:
    study = heavy(STUDY, 0, extra_bytes=3 << 20)
    limits = StagingLimits(credit_bytes=64 << 10, memory_object_bytes_max=256 << 10)
    area = an_area(tmp_path, spool_bytes=1 << 20, limits=limits)
    _, source = a_copy(area, study)

    arrived, evidence, _ = await pull(source, await everything(source, study))  # type: ignore[arg-type]

    assert (evidence.no_room, source.damaged) == (1, [])
    assert len(arrived) == len(study.instances()) - 1
    assert given_back(area)


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (DestinationUnavailable("down"), SourceUnavailable),
        (DestinationRefused("no rights"), SourceRefused),
    ],
)
async def test_a_store_in_trouble_is_a_source_in_trouble(
    error: Exception, wanted: type[Exception], tmp_path: Path
) -> None:
    area = an_area(tmp_path)
    shelf, source = a_copy(area)
    shelf.instead[list(shelf.held)[3]] = error

    _, _, gone = await pull(source, await everything(source))  # type: ignore[arg-type]

    assert isinstance(gone, wanted)
    assert source.damaged == [], "who does not answer is not damaged"
    assert given_back(area)


async def test_what_is_archived_since_is_unusable_and_no_damage(tmp_path: Path) -> None:
    area = an_area(tmp_path)
    shelf, source = a_copy(area)
    shelf.instead[next(iter(shelf.held))] = ObjectArchived("restore it first")

    await pull(source, await everything(source))  # type: ignore[arg-type]

    assert (source.unusable, source.damaged) == ("archived", [])
    assert given_back(area)


@pytest.mark.parametrize(
    ("changes", "why"), [({"missing": ("1.2.3",)}, "incomplete"), ({}, "archived")]
)
async def test_some_copies_are_well_and_cannot_be_copied(
    changes: dict[str, object], why: str, tmp_path: Path
) -> None:
    if not changes:
        instance = STUDY.instances()[0]
        record = replace(record_of(instance, ours(instance)), storage_class="GLACIER")
        changes = {"instances": (record,)}
    shelf, source = a_copy(an_area(tmp_path), **changes)

    listing = await source.list_instances(ref_of())

    assert (listing.instances, listing.complete, source.unusable) == ((), False, why)
    assert shelf.reads == 0


@pytest.mark.parametrize("finding", ["manifest missing", "manifest altered"])
async def test_a_damaged_manifest_lists_nothing(finding: str, tmp_path: Path) -> None:
    shelf, source = a_copy(an_area(tmp_path))
    if finding == "manifest missing":
        del shelf.held["manifest"]
    else:
        shelf.held["manifest"] += b"x"

    listing = await source.list_instances(ref_of())

    assert (listing.instances, listing.complete) == ((), False)
    assert [(each.sop_instance_uid, each.finding) for each in source.damaged] == [("", finding)]


async def test_leaving_in_the_middle_gives_everything_back(tmp_path: Path) -> None:
    area = an_area(tmp_path)
    _, source = a_copy(area)

    async with source.retrieve(await everything(source)) as retrieval:
        async for arrival in retrieval:
            arrival.settle(stored=True)
            break

    assert given_back(area)
