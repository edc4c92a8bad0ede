"""`cloudmig copy`: copies from copies, with the PACS switched off."""

from __future__ import annotations

import asyncio
import datetime as dt
import io
from collections.abc import AsyncIterator
from pathlib import Path

import pydicom
import pytest
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import ImplicitVRLittleEndian

from cloudmig.catalog import Catalog
from cloudmig.demo.oddities import conflicting, heavy
from cloudmig.demo.pacs import Script
from cloudmig.demo.studies import Instance
from cloudmig.destinations.object_store import ObjectStoreDestination
from cloudmig.dicom.part10 import file_prefix
from cloudmig.errors import DestinationUnavailable
from cloudmig.model.instance import Location
from cloudmig.model.references import InstanceRef, StudyRef
from cloudmig.objects import instance_key
from cloudmig.pipeline.comparing import Held
from cloudmig.staging import StagingLimits
from tests.contract.stow_server import ScriptedStow
from tests.integration.copy_world import CopyWorld, folders
from tests.integration.migration_world import a_study, catalog_falls_silent
from tests.integration.test_verify_repair import Bucket
from tests.peers.part10 import dataset_sha256

pytest_plugins = ["tests.contract.store_fixtures"]

STUDIES = tuple(a_study(number, series=(3, 2)) for number in range(1, 7))
ARCHIVE_ALONE = [{"name": "everything", "copy_to": ["archive"]}]
BOTH = [{"name": "everything", "copy_to": ["archive", "dr"]}]


async def migrated(world: CopyWorld, *, closed: bool = True) -> None:
    """Move everything to the archive, verify it and close; then the PACS is switched off."""
    with world.serving():
        await world.migrate()
        if closed:
            await world.explain_everything()
        else:
            await world.verify()


async def test_a_closed_migration_gets_a_second_home_without_the_pacs(tmp_path: Path) -> None:
    world = CopyWorld(
        tmp_path, STUDIES, destinations=folders(tmp_path, "archive", "dr"), rules=ARCHIVE_ALONE
    )
    await migrated(world)
    before = world.asked()

    assert (await world.forecast()).studies == 0, "no rule names it: nothing happens by itself"
    forecast = await world.forecast(every=True)
    summary = await world.copy(every=True)

    assert world.asked() == before, "the PACS is asked for nothing"
    assert (summary.studies_copied, summary.halted, summary.quarantined) == (len(STUDIES), "", 0)
    assert (forecast.studies, forecast.instances) == (len(STUDIES), len(world.truth()))
    assert summary.instances_stored == forecast.instances
    assert summary.bytes_stored == forecast.bytes
    assert world.held("dr") == world.held("archive") == world.truth()
    assert set(world.states().values()) == {"stored"}
    closing = await world.explain_everything()
    assert closing.statement.instances.verified == len(world.truth())
    assert set(world.states().values()) == {"closed"}
    world.check_ledger()


async def test_the_new_manifest_says_what_it_was_copied_from(tmp_path: Path) -> None:
    world = CopyWorld(
        tmp_path, STUDIES[:1], destinations=folders(tmp_path, "archive", "dr"), rules=ARCHIVE_ALONE
    )
    await migrated(world)
    with world.catalog() as catalog:
        [row] = catalog.transfers()

    await world.copy(every=True)

    [first], [second] = world.manifests("archive"), world.manifests("dr")
    assert second.source == {
        **first.source, "copied_from": "archive",
        "copied_from_sha256": row.copies[0].manifest_sha256,
    }  # fmt: skip
    assert (second.destination, second.completeness, second.missing) == ("dr", "SET", ())
    assert {(each.sop_instance_uid, each.file_sha256) for each in second.instances} == {
        (each.sop_instance_uid, each.file_sha256) for each in first.instances
    }


async def test_a_planned_copy_is_made_from_the_verified_one(tmp_path: Path) -> None:
    """A rule that names a second home after the first wave was closed."""
    world = CopyWorld(
        tmp_path, STUDIES, destinations=folders(tmp_path, "archive", "dr"), rules=ARCHIVE_ALONE
    )
    await migrated(world)
    world.rules = BOTH
    world.write_configuration()

    forecast = await world.forecast()
    assert (forecast.studies, forecast.planned) == (len(STUDIES), 0)
    summary = await world.copy()

    assert summary.studies_copied == len(STUDIES)
    assert world.held("dr") == world.truth()
    await world.explain_everything()


async def test_a_home_that_left_the_configuration_is_no_origin_and_holds_no_other_up(
    tmp_path: Path,
) -> None:
    """One home of two is given up, or has another name now, and a third is to be filled."""
    homes = folders(tmp_path, "archive", "dr", "third")
    late = [{"name": "late", "modalities": ["MR"], "copy_to": ["archive"]}]
    world = CopyWorld(
        tmp_path,
        (*STUDIES, a_study(7, modality="MR")),
        destinations=homes,
        rules=[*late, {"name": "everything", "copy_to": ["archive", "dr"]}],
    )
    await migrated(world)
    world.destinations = {name: homes[name] for name in ("dr", "third")}
    world.rules = [{"name": "everything", "copy_to": ["dr", "third"]}]
    world.write_configuration()

    forecast = await world.forecast("third", every=True)
    summary = await world.copy("third", every=True)

    told = (dict(forecast.origins), dict(forecast.skipped))
    assert told == ({"dr": len(STUDIES)}, {"not configured": 1})
    assert (summary.studies_copied, summary.halted) == (len(STUDIES), "")
    assert dict(summary.skipped) == {"not configured": 1}
    assert world.held("third") == world.held("dr")
    assert set(world.states().values()) == {"stored", "closed"}, "the one left out is as it was"


async def test_one_named_study_is_copied_alone(tmp_path: Path) -> None:
    world = CopyWorld(
        tmp_path, STUDIES, destinations=folders(tmp_path, "archive", "dr"), rules=ARCHIVE_ALONE
    )
    await migrated(world)
    uid = STUDIES[2].study_instance_uid

    assert (await world.copy(studies=[uid])).studies_copied == 1
    again = await world.copy(studies=[uid])

    assert (again.studies_copied, dict(again.skipped)) == (0, {"there already": 1})
    assert world.held("dr").keys() == {one.sop_instance_uid for one in STUDIES[2].instances()}
    assert sorted(world.states().values()) == ["closed"] * 5 + ["stored"]


async def test_a_damaged_object_is_not_passed_on_and_its_copy_is_repaired(tmp_path: Path) -> None:
    world = CopyWorld(
        tmp_path, STUDIES, destinations=folders(tmp_path, "archive", "dr"), rules=ARCHIVE_ALONE
    )
    with world.serving():
        await world.migrate()
        await world.explain_everything()
        await spoil_copy_and_repair(world, tmp_path)


async def spoil_copy_and_repair(world: CopyWorld, tmp_path: Path) -> None:
    altered, truncated, gone = (study.instances()[1] for study in STUDIES[:3])
    paths = {
        one.sop_instance_uid: next((tmp_path / "archive").rglob(f"{one.sop_instance_uid}.dcm"))
        for one in (altered, truncated, gone)
    }
    body = bytearray(paths[altered.sop_instance_uid].read_bytes())
    body[-1] ^= 1
    paths[altered.sop_instance_uid].write_bytes(body)
    whole = paths[truncated.sop_instance_uid].read_bytes()
    paths[truncated.sop_instance_uid].write_bytes(whole[:-10])
    paths[gone.sop_instance_uid].unlink()

    summary = await world.copy(every=True)

    bad = {one.sop_instance_uid for one in (altered, truncated, gone)}
    assert summary.studies_copied == len(STUDIES) - 3
    assert {study for study, _ in summary.damaged} == {
        study.study_instance_uid for study in STUDIES[:3]
    }
    assert not bad & world.held("dr").keys(), "what differs is never propagated"
    named = {tuple(each) for event in world.ledger("copy_failed") for each in event.detail["named"]}
    assert named == {
        (altered.sop_instance_uid, "altered"), (truncated.sop_instance_uid, "truncated"),
        (gone.sop_instance_uid, "missing"),
    }  # fmt: skip
    assert (await world.close()).refused
    world.check_ledger()

    await world.run()  # Repairs the first copies, and makes the second ones with it.
    await world.explain_everything()
    assert world.held("dr") == world.truth()
    world.check_ledger()


async def test_a_damaged_manifest_is_no_origin(tmp_path: Path) -> None:
    world = CopyWorld(
        tmp_path, STUDIES[:1], destinations=folders(tmp_path, "archive", "dr"), rules=ARCHIVE_ALONE
    )
    await migrated(world)
    [path] = (tmp_path / "archive").rglob("*.json.gz")
    path.write_bytes(path.read_bytes()[:-1] + b"x")

    summary = await world.copy(every=True)

    assert summary.studies_copied == 0
    assert world.held("dr") == {}
    [event] = world.ledger("copy_failed")
    assert event.detail["named"] == [["", "manifest altered"]]


async def test_both_contents_of_a_conflict_are_copied_and_nobody_is_asked_again(
    tmp_path: Path,
) -> None:
    studies = [conflicting(STUDIES[0]), STUDIES[1]]
    world = CopyWorld(
        tmp_path, studies, destinations=folders(tmp_path, "archive", "dr"), rules=ARCHIVE_ALONE
    )
    with world.serving():
        await world.migrate()
        uid = studies[0].study_instance_uid
        assert world.quarantined() == {uid: {"conflict"}}
        with world.catalog() as catalog:
            catalog.release("main", StudyRef(uid), at=dt.datetime.now(dt.UTC), note="both kept")
        await world.run()
        await world.explain_everything()

    summary = await world.copy(every=True)

    assert (summary.studies_copied, summary.quarantined) == (2, 0)
    assert world.held("dr") == world.held("archive")
    assert any(len(digests) == 2 for digests in world.held("dr").values())
    await world.explain_everything()


def in_implicit_vr(instance: Instance) -> bytes:
    """Return the same elements as a file of ours in another transfer syntax."""
    data_set = DicomBytesIO()
    data_set.is_little_endian = data_set.is_implicit_VR = True
    write_dataset(data_set, pydicom.dcmread(io.BytesIO(instance.part10())))
    uids = instance.sop_class_uid, instance.sop_instance_uid
    return file_prefix(*uids, ImplicitVRLittleEndian) + data_set.getvalue()


@pytest.mark.parametrize("is_told", [True, False], ids=["told", "mistold"])
async def test_no_object_is_passed_on_under_another_transfer_syntax(
    is_told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attempt was killed before its receipts, and the PACS sends in another one by now."""
    world = CopyWorld(
        tmp_path, STUDIES[:1], destinations=folders(tmp_path, "archive", "dr"), rules=ARCHIVE_ALONE
    )
    first = STUDIES[0].instances()[0]
    ref = InstanceRef(first.study_instance_uid, first.series_instance_uid, first.sop_instance_uid)
    there = tmp_path / "archive" / instance_key("main", ref)
    there.parent.mkdir(parents=True)
    there.write_bytes(in_implicit_vr(first))
    if not is_told:  # As manifests of older versions do.
        monkeypatch.setattr("cloudmig.pipeline.comparing.Held", lambda one, _: Held(one, ""))
    await migrated(world)

    [held] = world.manifests("archive")
    told = {each.sop_instance_uid: each.transfer_syntax_uid for each in held.instances}
    assert (told[first.sop_instance_uid] == ImplicitVRLittleEndian) is is_told

    summary = await world.copy(every=True)

    passed_on = [path.read_bytes() for path in (tmp_path / "dr").rglob(there.name)]
    assert passed_on == ([there.read_bytes()] if is_told else [])
    assert bool(summary.damaged) is not is_told


async def test_a_copy_is_no_better_than_what_it_was_made_from(tmp_path: Path) -> None:
    world = CopyWorld(
        tmp_path, STUDIES[:2], Script(image_find=False),
        destinations=folders(tmp_path, "archive", "dr"), rules=ARCHIVE_ALONE,
    )  # fmt: skip
    await migrated(world)

    await world.copy(every=True)

    assert {each.completeness for each in world.manifests("dr")} == {"WEAK"}
    unlisted = [
        {(one.sop_instance_uid, one.unexpected) for each in world.manifests(name)
         for one in each.instances}
        for name in ("archive", "dr")
    ]  # fmt: skip
    assert unlisted[0] == unlisted[1]
    assert all(unexpected for _, unexpected in unlisted[0])
    closing = await world.explain_everything()
    assert closing.statement.weak_copies == 4


async def test_it_goes_to_a_bucket_and_from_there(endpoint: str, tmp_path: Path) -> None:
    bucket = Bucket(endpoint, "copied", versioned=True)
    destinations = {**folders(tmp_path, "archive", "third"), "dr": bucket.settings}
    world = CopyWorld(tmp_path, STUDIES, destinations=destinations, rules=ARCHIVE_ALONE)
    await migrated(world)
    before = world.asked()

    await world.copy("dr", every=True)
    assert bucket.held() == world.truth()
    await world.explain_everything()
    summary = await world.copy("third", origin="dr", every=True)

    assert dict(summary.origins) == {"dr": len(STUDIES)}
    assert world.held("third") == world.truth()
    assert world.asked() == before
    await world.explain_everything()


async def test_it_goes_to_a_dicomweb_store_and_from_there(tmp_path: Path) -> None:
    async with ScriptedStow().running() as server:
        destinations = {
            **folders(tmp_path, "archive", "dr"),
            "web": {"url": server.url, "evidence": "archive", "dicomweb": {"profile": "orthanc"}},
        }
        world = CopyWorld(tmp_path, STUDIES, destinations=destinations, rules=ARCHIVE_ALONE)
        await migrated(world)
        before = world.asked()

        await world.copy("web", every=True)
        held = {uid: {dataset_sha256(part)} for (_, uid), part in server.held.items()}
        assert held == world.truth()
        await world.explain_everything()
        summary = await world.copy("dr", origin="web", every=True)

        assert dict(summary.origins) == {"web": len(STUDIES)}
        assert world.held("dr") == world.truth()
        assert world.asked() == before
        await world.explain_everything()


async def test_an_archive_class_is_skipped_by_name_and_left_as_it_was(
    endpoint: str, tmp_path: Path
) -> None:
    """One class is known from the plan; what a lifecycle rule has moved is found by reading."""
    cold = Bucket(endpoint, "cold-origin", versioned=True)
    cooled = Bucket(endpoint, "cooled-origin", versioned=True)
    destinations = {
        "cold": {**cold.settings, "storage_class": "DEEP_ARCHIVE"}, "cooled": cooled.settings,
        **folders(tmp_path, "dr"),
    }  # fmt: skip
    rules = [{"name": "everything", "copy_to": ["cold", "cooled"]}]
    world = CopyWorld(tmp_path, STUDIES[:2], destinations=destinations, rules=rules)
    await migrated(world)
    for key in cooled.listed():
        cooled.client.copy_object(
            Bucket=cooled.name, Key=key, CopySource={"Bucket": cooled.name, "Key": key},
            StorageClass="GLACIER", ChecksumAlgorithm="SHA256",
        )  # fmt: skip

    known = await world.copy(origin="cold", every=True)
    assert set(world.states().values()) == {"closed"}
    found = await world.copy(origin="cooled", every=True)

    for summary in (known, found):
        assert (summary.studies_copied, dict(summary.skipped)) == (0, {"archived": 2})
        assert not summary.halted, "it is no outage"
    assert set(world.states().values()) == {"verified"}, "nothing is planned that cannot be made"
    assert world.copies("dr") == {"none"}
    assert world.held("dr") == {}
    await world.explain_everything()
    world.check_ledger()


async def test_what_was_stopped_in_the_middle_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = CopyWorld(
        tmp_path, STUDIES, destinations=folders(tmp_path, "archive", "dr"), rules=ARCHIVE_ALONE,
        settings={"agent": {"transfers": 1}},
    )  # fmt: skip
    await migrated(world)
    stop = asyncio.Event()
    world.reporter.event = stopping_after(world, stop, "study.copied", 2)  # type: ignore[method-assign]

    first = await world.copy(every=True, stop=stop)

    done = first.studies_copied
    assert done in {2, 3}, "what it had begun is brought to its end, no more"
    assert sorted(world.states().values()) == ["closed"] * (6 - done) + ["stored"] * done
    second = await world.copy(every=True)
    assert second.studies_copied == 6 - done
    assert world.held("dr") == world.truth()
    await world.explain_everything()
    world.check_ledger()


def stopping_after(world: CopyWorld, stop: asyncio.Event, name: str, number: int) -> object:
    told = type(world.reporter).event

    def event(kind: str, **fields: object) -> None:
        told(world.reporter, kind, **fields)
        if len(world.reporter.named(name)) == number:
            stop.set()

    return event


async def test_a_store_that_is_down_is_waited_for_and_costs_nobody_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = CopyWorld(
        tmp_path, STUDIES, destinations=folders(tmp_path, "archive", "dr"), rules=ARCHIVE_ALONE
    )
    await migrated(world)
    reads, failures = ObjectStoreDestination.read, iter(range(12))

    async def read(self: ObjectStoreDestination, location: Location) -> AsyncIterator[bytes]:
        if next(failures, None) is not None:
            raise DestinationUnavailable("down for a while")
        async for piece in reads(self, location):
            yield piece

    monkeypatch.setattr(ObjectStoreDestination, "read", read)
    monkeypatch.setattr("cloudmig.agent.copying._LOOK_AGAIN_S", 0.05)

    summary = await asyncio.wait_for(world.copy(every=True), 60)

    assert (summary.studies_copied, summary.halted, summary.quarantined) == (6, "", 0)
    assert world.held("dr") == world.truth()


@pytest.mark.parametrize("falls_silent", [False, True])
async def test_a_run_copies_what_needs_no_source_while_its_source_is_silent(
    falls_silent: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second copies were spoilt; then the PACS was switched off for good."""
    monkeypatch.setattr("cloudmig.agent.outages._PAUSE_FIRST_S", 0.1)
    world = CopyWorld(
        tmp_path, STUDIES, destinations=folders(tmp_path, "archive", "dr"), rules=BOTH
    )
    with world.serving():
        await world.migrate()
        await world.verify()
        for path in (tmp_path / "dr").rglob("*.dcm"):
            path.write_bytes(path.read_bytes()[:-10])
        found = await world.verify(again=True)
        assert {each.destination for each in found.findings} == {"dr"}
    before = world.asked()
    if falls_silent:
        catalog_falls_silent(monkeypatch, Catalog.claim_copy, at=2)

    summary = await asyncio.wait_for(world.run(), 60)

    assert len(world.reporter.named("catalog.down")) == falls_silent
    assert (summary.studies_stored, summary.halted, summary.quarantined) == (6, "", 0)
    assert world.asked() == before
    assert all(world.truth()[uid] <= held for uid, held in world.held("dr").items())
    await world.explain_everything()
    world.check_ledger()


async def test_a_run_waits_for_its_source_with_what_only_that_can_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cloudmig.agent.outages._PAUSE_FIRST_S", 0.1)
    destinations = folders(tmp_path, "archive", "dr")
    for each in destinations.values():
        each["outage_max_s"] = 2
    world = CopyWorld(tmp_path, STUDIES, destinations=destinations, rules=BOTH)
    with world.serving():
        await world.inventory()
        await world.plan()

    summary = await asyncio.wait_for(world.run(), 60)

    assert "has not answered" in summary.halted
    assert "cloudmig copy" in summary.hint
    assert set(world.states().values()) == {"planned"}


async def test_a_copy_equal_in_its_elements_only_is_no_origin(tmp_path: Path) -> None:
    """Its bytes are not those of its manifest, so what is read could not be proven."""
    world = CopyWorld(
        tmp_path, STUDIES[:1], destinations=folders(tmp_path, "archive", "dr"), rules=ARCHIVE_ALONE
    )
    with world.serving():
        await world.migrate()
    with world.catalog() as catalog:
        [copy] = catalog.copies_to_verify()
        at = dt.datetime.now(dt.UTC)
        catalog.record_verdict(copy, agreed=True, how="READ_BACK_ELEMENTS", findings=(), at=at)

    summary = await world.copy(every=True)

    assert (summary.studies_copied, dict(summary.skipped)) == (0, {"not byte for byte": 1})
    assert set(world.states().values()) == {"verified"}


async def test_a_large_instance_goes_through_the_spool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = StagingLimits(credit_bytes=1 << 20, memory_object_bytes_max=2 << 20)
    monkeypatch.setattr("cloudmig.bootstrap.opening.StagingLimits", lambda **_: limits)
    studies = [heavy(STUDIES[0], extra_bytes=9_000_000), *STUDIES[1:3]]
    world = CopyWorld(
        tmp_path, studies, destinations=folders(tmp_path, "archive", "dr"), rules=ARCHIVE_ALONE,
        settings={"agent": {"memory_bytes_max": "16 MiB"}},
    )  # fmt: skip
    await migrated(world)

    await world.copy(every=True)

    assert world.held("dr") == world.truth()
    assert world.spooled() == []
    await world.explain_everything()


async def test_a_copy_that_was_spoilt_is_repaired_from_another(tmp_path: Path) -> None:
    world = CopyWorld(
        tmp_path, STUDIES, destinations=folders(tmp_path, "archive", "dr"), rules=BOTH
    )
    await migrated(world)
    victim = STUDIES[0].instances()[0].sop_instance_uid
    [path] = (tmp_path / "dr").rglob(f"{victim}.dcm")
    path.write_bytes(path.read_bytes()[:-10])
    assert [each.sop_instance_uid for each in (await world.verify(again=True)).findings] == [victim]
    before = world.asked()

    summary = await world.copy()

    assert (summary.studies_copied, summary.instances_stored) == (1, 1), "only what was bad is read"
    assert world.asked() == before
    assert world.truth()[victim] <= world.held("dr")[victim]
    await world.explain_everything()
    world.check_ledger()


async def test_a_copy_outlives_a_silent_catalog(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = CopyWorld(
        tmp_path, STUDIES, destinations=folders(tmp_path, "archive", "dr"), rules=ARCHIVE_ALONE
    )
    await migrated(world)
    catalog_falls_silent(monkeypatch, Catalog.finish, at=2)

    summary = await world.copy(every=True)

    assert len(world.reporter.named("catalog.down")) == 1
    assert (summary.halted, summary.instances_stored) == ("", len(world.truth()))
    assert world.held("dr") == world.truth()
