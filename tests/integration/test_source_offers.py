"""What a PACS can send is learnt from its storage contexts, and from nothing else."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from cloudmig.demo.archive import demo_archive
from cloudmig.demo.pacs import Script, ScriptedPacs
from cloudmig.model.references import StudyRef
from cloudmig.ports import RetrieveRequest
from cloudmig.sources.dimse import ArrivalDesk, DimseSource, DimseSourceSettings
from cloudmig.staging.area import StagingArea
from cloudmig.staging.budget import MemoryBudget
from cloudmig.staging.spool import Spool

VERIFICATION = "1.2.840.10008.1.1"


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
