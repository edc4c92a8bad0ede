"""How the lanes follow what a PACS bears: one refusal halves them once, whoever meets it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudmig.demo.pacs import Fault, Script, ScriptedPacs
from cloudmig.errors import SourceBusy, SourceUnavailable
from cloudmig.model.references import StudyRef
from cloudmig.ports import RetrieveRequest
from cloudmig.sources.dimse import ArrivalDesk, DimseSource, DimseSourceSettings
from cloudmig.staging import MemoryBudget, Spool, StagingArea
from tests.integration.migration_world import a_study, free_port

STUDY = a_study(1)
LANES = 8


def a_source(port: int, folder: Path) -> DimseSource:
    area = StagingArea(MemoryBudget(64 << 20), Spool(folder, bytes_max=0))
    settings = DimseSourceSettings(
        name="main", host="127.0.0.1", port=port, aet="PACS", ae_titles=("CLOUDMIG",),
        retrieve="c-get", lanes=LANES, grace_s=0,
    )  # fmt: skip
    return DimseSource(settings, ArrivalDesk(area), patient_key=lambda _patient_id, _issuer: "")


async def retrieve(source: DimseSource) -> None:
    request = RetrieveRequest(StudyRef(STUDY.study_instance_uid), {})
    async with source.retrieve(request) as retrieval:
        async for arrival in retrieval:
            arrival.settle(stored=True)


@pytest.mark.parametrize(
    "script",
    [Script(associations_max=0), Script(fault=Fault.BUSY), Script(fault=Fault.ABORT)],
    ids=["no place for an association", "out of resources", "an abort"],
)
async def test_one_refusal_of_a_retrieve_halves_the_lanes_once(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cloudmig.sources.dimse.lanes._UNTIL_COUNTED_OUT_S", (0.01, 0.02, 0.03))
    with ScriptedPacs([STUDY], script, destinations={}, aet="PACS") as pacs:
        source = a_source(pacs.port, tmp_path)
        with pytest.raises(SourceUnavailable):
            await retrieve(source)
        await source.close()

    assert source.lanes.budget == LANES // 2


async def test_a_pacs_that_does_not_answer_halves_them_once_too(tmp_path: Path) -> None:
    source = a_source(free_port(), tmp_path)
    with pytest.raises(SourceUnavailable) as caught:
        await retrieve(source)

    assert not isinstance(caught.value, SourceBusy)
    assert source.lanes.budget == LANES // 2
