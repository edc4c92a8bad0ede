"""What a PACS can send is learnt from its storage contexts, and from nothing else."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from cloudmig.demo.archive import demo_archive
from cloudmig.demo.pacs import Script, ScriptedPacs
from cloudmig.dimse.contexts import ProposedContext
from cloudmig.dimse.server import Admission, AssociationRequest
from cloudmig.model.references import StudyRef
from cloudmig.ports import RetrieveRequest
from cloudmig.sources.dimse import (
    AllowedPeer,
    ArrivalDesk,
    DimseSource,
    DimseSourceSettings,
    StoragePolicy,
)
from cloudmig.staging.area import StagingArea
from cloudmig.staging.budget import MemoryBudget
from cloudmig.staging.spool import Spool

VERIFICATION = "1.2.840.10008.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT, JPEG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.50"
JPIP = [f"1.2.840.10008.1.2.4.{tail}" for tail in (94, 95, 204, 205)]


async def test_the_syntax_of_an_echo_is_no_offer(tmp_path: Path) -> None:
    """qrscp took C-ECHO in implicit VR; what was missing was then asked for in that, and turned."""
    study = demo_archive(3, today=dt.date(2026, 3, 1), seed=4, well_behaved=True).studies[0]
    desk = ArrivalDesk(StagingArea(MemoryBudget(64 << 20), Spool(tmp_path, bytes_max=0)))
    with ScriptedPacs([study], Script(optional_counts=False), destinations={}, aet="PACS") as pacs:
        settings = DimseSourceSettings(
            name="main", host=pacs.host, port=pacs.port, aet="PACS", ae_titles=("CLOUDMIG",),
            retrieve="c-get", lanes=1, grace_s=1,
        )  # fmt: skip
        source = DimseSource(settings, desk, patient_key=lambda _patient_id, _issuer: "")
        reference = StudyRef(study.study_instance_uid)
        listing = await source.list_instances(reference)
        expected = {each.instance.sop_instance_uid: each for each in listing.instances}

        async with source.retrieve(RetrieveRequest(reference, expected)) as retrieval:
            async for arrival in retrieval:
                arrival.settle(stored=True)
        await source.close()

    assert retrieval.evidence.offered
    assert VERIFICATION not in retrieval.evidence.offered


@pytest.mark.parametrize(("only", "asked"), [(EXPLICIT, True), (JPEG, False)])
async def test_a_syntax_that_no_context_was_accepted_in_is_not_asked_for(
    only: str, asked: bool, tmp_path: Path
) -> None:
    """For one lost instance, and one more by itself, it was asked in some fifty of them."""
    study = demo_archive(3, today=dt.date(2026, 3, 1), seed=4, well_behaved=True).studies[0]
    desk = ArrivalDesk(StagingArea(MemoryBudget(64 << 20), Spool(tmp_path, bytes_max=0)))
    with ScriptedPacs([study], Script(optional_counts=False), destinations={}, aet="PACS") as pacs:
        settings = DimseSourceSettings(
            name="main", host=pacs.host, port=pacs.port, aet="PACS", ae_titles=("CLOUDMIG",),
            retrieve="c-get", lanes=1, grace_s=1,
        )  # fmt: skip
        source = DimseSource(settings, desk, patient_key=lambda _patient_id, _issuer: "")
        reference = StudyRef(study.study_instance_uid)
        listing = await source.list_instances(reference)
        expected = {each.instance.sop_instance_uid: each for each in listing.instances}
        request = RetrieveRequest(reference, expected, narrow=True, transfer_syntax_uid=only)

        came = 0
        async with source.retrieve(request) as retrieval:
            async for arrival in retrieval:
                arrival.settle(stored=True)
                came += 1
        await source.close()

        assert bool(pacs.counters.asked["retrieve"]) is asked
        assert came == (len(expected) if asked else 0)


@pytest.mark.parametrize(("only", "taken"), [(None, EXPLICIT), (EXPLICIT, EXPLICIT), (JPEG, JPEG)])
async def test_a_lossy_syntax_beside_others_is_taken_where_only_that_is_left(
    only: str | None, taken: str, tmp_path: Path
) -> None:
    """Some put the syntax they hold an image in, and plain ones, into one context: none came."""
    desk = ArrivalDesk(StagingArea(MemoryBudget(64 << 20), Spool(tmp_path, bytes_max=0)))
    settings = DimseSourceSettings(
        name="main", host="127.0.0.1", port=1, aet="PACS", ae_titles=("CLOUDMIG",),
        retrieve="c-move", lanes=1, grace_s=1,
    )  # fmt: skip
    source = DimseSource(settings, desk, patient_key=lambda _patient_id, _issuer: "")
    policy = StoragePolicy(desk, {"CLOUDMIG": [AllowedPeer("127.0.0.1", "PACS")]})
    context = ProposedContext(CT, (JPEG, EXPLICIT))
    request = RetrieveRequest(StudyRef("1.2.3"), {}, transfer_syntax_uid=only)

    with desk.register("CLOUDMIG", source.retrieve(request)):
        admission = await policy.admit(
            AssociationRequest("127.0.0.1", "PACS", "CLOUDMIG", (context,))
        )

    assert isinstance(admission, Admission)
    assert admission.allowed(context) == taken
    assert source.alternatives([CT]) == [EXPLICIT, JPEG]  # Lossy ones last.


@pytest.mark.parametrize("service", ["c-get", "c-move"])
def test_no_image_is_asked_for_as_the_address_of_its_pixels(service: str, tmp_path: Path) -> None:
    """A PACS that has lost the pixels may still make that of it (JPIP), and it is no image."""
    desk = ArrivalDesk(StagingArea(MemoryBudget(64 << 20), Spool(tmp_path, bytes_max=0)))
    settings = DimseSourceSettings(
        name="main", host="127.0.0.1", port=1, aet="PACS", ae_titles=("CLOUDMIG",),
        retrieve=service, lanes=1, grace_s=1,
    )  # fmt: skip
    source = DimseSource(settings, desk, patient_key=lambda _patient_id, _issuer: "")
    source.remember_offer(CT, [EXPLICIT, *JPIP])

    assert EXPLICIT in source.alternatives([CT])
    assert not {*JPIP} & {*source.alternatives([CT])}
