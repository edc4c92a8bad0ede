"""Orthanc as a DICOMweb store: what it is sent is there, byte for byte, whatever it answers."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from cloudmig.demo.studies import Instance, StudyMaker
from cloudmig.destinations.dicomweb import DicomWebDestination
from cloudmig.destinations.dicomweb_profiles import dicomweb_profile
from cloudmig.destinations.retrying import RetryingDestination, RetryPolicy
from cloudmig.dicom.header import read_identity
from cloudmig.dicomweb import DicomWebClient
from cloudmig.errors import DestinationUnavailable
from cloudmig.model.instance import StagedInstance
from cloudmig.model.outcome import Refused, Stored, StoreOutcome, Taken
from cloudmig.model.references import InstanceRef
from tests.contract.destination_contract import ARCHIVE, an_instance, bytes_of, staged
from tests.integration.migration_world import World, a_study
from tests.peers.corpus import corpus_files
from tests.peers.launch import Orthanc
from tests.peers.part10 import dataset_sha256, read_file_meta

pytestmark = pytest.mark.timeout(300)

#: Its SOP Instance UID has the VR UN: C000 by C-STORE, 400 without a word by STOW-RS.
REFUSED_BY_ORTHANC = "ct-j2k-lossless-001.dcm"


@pytest.fixture(scope="module")
def orthanc() -> Iterator[Orthanc]:
    with Orthanc() as store:
        yield store


@pytest.fixture
async def web(orthanc: Orthanc) -> AsyncIterator[DicomWebDestination]:
    web = DicomWebDestination(
        "web", DicomWebClient(base_url(orthanc)), dicomweb_profile("orthanc"), archive=ARCHIVE
    )
    yield web
    await web.close()


def base_url(orthanc: Orthanc) -> str:
    return f"http://127.0.0.1:{orthanc.http_port}/dicom-web"


def staged_file(ref: InstanceRef, body: bytes) -> StagedInstance:
    meta = read_file_meta(body)
    return StagedInstance(
        ref, meta.sop_class_uid, meta.transfer_syntax_uid, len(body),
        hashlib.sha256(body).hexdigest(), dataset_sha256(body), body=body,
    )  # fmt: skip


def of_study(instances: Sequence[Instance]) -> list[StagedInstance]:
    return [
        staged_file(
            InstanceRef(each.study_instance_uid, each.series_instance_uid, each.sop_instance_uid),
            each.part10(),
        )
        for each in instances
    ]


async def insisted(web: DicomWebDestination, item: StagedInstance) -> StoreOutcome:
    """Store it as often as retries do, until there is an answer that is final."""
    for _ in range(RetryPolicy().attempts_max - 1):
        try:
            return await web.store(item)
        except DestinationUnavailable:
            continue
    return await web.store(item)


def read_by_wado(orthanc: Orthanc, item: StagedInstance) -> bytes:
    """Read with nothing of ours, as a stranger would."""
    ref = item.instance
    assert ref is not None
    request = urllib.request.Request(
        f"{base_url(orthanc)}/studies/{ref.study_instance_uid}/series/{ref.series_instance_uid}"
        f"/instances/{ref.sop_instance_uid}",
        headers={"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        body = answer.read()
    return body.partition(b"\r\n\r\n")[2].rpartition(b"\r\n--")[0]


async def test_made_up_studies_of_every_kind_arrive_byte_for_byte(
    orthanc: Orthanc, web: DicomWebDestination
) -> None:
    items = [
        item
        for study in StudyMaker(seed=7, today=dt.date(2026, 1, 1)).studies(12)
        for item in of_study(study.instances())
    ]

    outcomes = await asyncio.gather(*(web.store(item) for item in items))

    assert all(isinstance(each, Stored) and each.fresh for each in outcomes)
    for item, outcome in zip(items, outcomes, strict=True):
        assert isinstance(outcome, Stored)
        assert read_by_wado(orthanc, item) == item.body
        assert await web.find(outcome.receipt.location) == outcome.receipt


async def test_the_corpus_arrives_or_is_refused_by_name(
    orthanc: Orthanc, web: DicomWebDestination
) -> None:
    items: dict[str, StagedInstance] = {}
    for path in corpus_files():
        body = path.read_bytes()
        try:
            meta = read_file_meta(body)
            said = read_identity(memoryview(body)[meta.dataset_offset :], meta.transfer_syntax_uid)
            ref = InstanceRef(
                said.study_instance_uid, said.series_instance_uid, said.sop_instance_uid
            )
            if ref.sop_instance_uid not in {each.sop_instance_uid for each in _refs(items)}:
                items[path.name] = staged_file(ref, body)
        except ValueError:
            continue  # Nothing that could be sent under a name.

    results = await asyncio.gather(*map(web.store, items.values()), return_exceptions=True)
    ended = dict(zip(items, results, strict=True))
    left = [name for name, said in ended.items() if not isinstance(said, Stored)]

    assert left == [REFUSED_BY_ORTHANC], "it takes this one by no other way either"
    assert isinstance(ended[REFUSED_BY_ORTHANC], DestinationUnavailable)
    assert isinstance(await insisted(web, items[REFUSED_BY_ORTHANC]), Refused)
    for name, item in items.items():
        if name != REFUSED_BY_ORTHANC:
            assert dataset_sha256(read_by_wado(orthanc, item)) == item.dataset_sha256


def _refs(items: Mapping[str, StagedInstance]) -> list[InstanceRef]:
    return [item.instance for item in items.values() if item.instance is not None]


async def test_storing_again_sends_nothing_and_a_changed_content_is_a_conflict(
    orthanc: Orthanc, web: DicomWebDestination
) -> None:
    """It would answer 200 to both and keep the first."""
    items = of_study(a_study(501, series=(4,)).instances())
    await asyncio.gather(*(web.store(item) for item in items))
    await web.close()
    assert items[0].instance is not None
    changed = staged_file(items[0].instance, bytes_of(items[0])[:-2] + b"\x07\x07")

    again = await asyncio.gather(*(web.store(item) for item in items))
    outcome = await web.store(changed)

    assert all(isinstance(each, Stored) and not each.fresh for each in again)
    assert isinstance(outcome, Taken)
    assert outcome.held.dataset_sha256 == items[0].dataset_sha256
    assert read_by_wado(orthanc, items[0]) == items[0].body


async def test_one_bad_instance_of_four_is_refused_and_three_are_stored(
    orthanc: Orthanc, web: DicomWebDestination
) -> None:
    """Its 400 names the good ones as stored, and of the bad one says nothing."""
    items = of_study(a_study(502, series=(4,)).instances())
    others = of_study(a_study(506, series=(1,)).instances())
    assert items[1].instance is not None
    items[1] = staged(items[1].instance, b"this is no data set" * 50)

    results = await asyncio.gather(*(web.store(item) for item in items), return_exceptions=True)
    await asyncio.gather(*(web.store(item) for item in others))
    last = await insisted(web, items[1])

    assert [type(each) for each in results] == [Stored, DestinationUnavailable, Stored, Stored]
    assert isinstance(last, Refused)
    for item in (items[0], items[2], items[3]):
        assert read_by_wado(orthanc, item) == item.body


async def test_what_belongs_to_another_study_is_refused(web: DicomWebDestination) -> None:
    [item] = of_study(a_study(503, series=(1,)).instances())
    other = of_study(a_study(504, series=(2,)).instances())
    wrong = staged_file(an_instance(), bytes_of(item))

    with pytest.raises(DestinationUnavailable):
        await web.store(wrong)
    with pytest.raises(DestinationUnavailable):
        await web.store(wrong)
    await asyncio.gather(*(web.store(each) for each in other))

    assert isinstance(await insisted(web, wrong), Refused)


async def test_orthanc_killed_in_the_middle_and_back_again_holds_everything(
    orthanc: Orthanc, web: DicomWebDestination
) -> None:
    items = of_study(a_study(505, series=(300,)).instances())
    policy = RetryPolicy(attempts_max=60, elapsed_max_s=60, wait_max_s=1)
    destination = RetryingDestination(web, policy)
    running = [asyncio.create_task(destination.store(item)) for item in items]
    while not any(task.done() for task in running):
        await asyncio.sleep(0.001)

    await asyncio.to_thread(orthanc.kill)
    await asyncio.to_thread(orthanc.start)
    outcomes = await asyncio.gather(*running)

    assert all(isinstance(each, Stored) for each in outcomes)
    for item in items[::10]:
        assert read_by_wado(orthanc, item) == item.body


async def test_one_pull_fills_a_folder_and_orthanc_and_both_are_verified(
    orthanc: Orthanc, tmp_path: Path
) -> None:
    studies = [a_study(number, series=(5, 30)) for number in range(510, 514)]
    homes = {
        "store": {"url": f"file://{tmp_path / 'store'}"},
        "web": {
            "url": base_url(orthanc), "evidence": "store", "dicomweb": {"profile": "orthanc"},
        },
    }  # fmt: skip
    world = World(tmp_path, studies, destinations=homes)
    with world.serving():
        await world.migrate()
        closing = await world.explain_everything()
        truth = world.truth()

        for item in [item for study in studies for item in of_study(study.instances())]:
            assert item.instance is not None
            there = {dataset_sha256(read_by_wado(orthanc, item))}
            assert there == truth[item.instance.sop_instance_uid]
    assert world.held() == truth
    assert world.quarantined() == {}
    assert closing.statement.instances.verified == 140
    asked = world.pacs.counters.retrieved_studies
    assert set(asked.values()) == {1}, "one pull feeds both"
