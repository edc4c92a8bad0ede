"""Some PACS fall over at an association that proposes many presentation contexts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cloudmig.demo.pacs import Script, ScriptedPacs
from cloudmig.demo.studies import Instance, Study
from cloudmig.model.references import StudyRef
from cloudmig.ports import RetrieveRequest
from cloudmig.sources.dimse import ArrivalDesk, DimseSource, DimseSourceSettings
from cloudmig.staging.area import StagingArea
from cloudmig.staging.budget import MemoryBudget
from cloudmig.staging.spool import Spool
from tests.integration.migration_world import World, a_study

#: Of five SOP classes: the usual ones soon fill what an association may propose.
STUDIES = [
    a_study(number, modality=modality, series=(2,))
    for number, modality in enumerate(("CT", "MR", "CR", "US", "SR"), 1)
]


@pytest.mark.parametrize("contexts_max", [90, 30])
@pytest.mark.parametrize("sop_classes", [True, False])
async def test_a_pacs_that_dies_of_many_contexts_is_asked_in_fewer(
    contexts_max: int, sop_classes: bool, tmp_path: Path
) -> None:
    """CTN died of each, three attempts long; then 71 of 79 studies were in quarantine."""
    script = Script(contexts_max=contexts_max, sop_classes=sop_classes)
    world = World(tmp_path, STUDIES, script, retrieve="c-get")
    with world.serving():
        summary = await world.migrate()

    assert summary.studies_stored == len(STUDIES)
    assert not world.reporter.named("study.put_back")
    assert not world.quarantined()


async def test_one_that_fell_over_by_chance_is_asked_in_many_again(tmp_path: Path) -> None:
    """A run lasts for weeks, and fewer contexts mean more associations."""
    sound = Script(sop_classes=False)
    frail = replace(sound, contexts_max=90)
    reference = StudyRef(STUDIES[0].study_instance_uid)
    desk = ArrivalDesk(StagingArea(MemoryBudget(64 << 20), Spool(tmp_path, bytes_max=0)))
    borne = []
    with ScriptedPacs(STUDIES[:1], sound, destinations={}, aet="PACS") as pacs:
        settings = DimseSourceSettings(
            name="main", host=pacs.host, port=pacs.port, aet="PACS", ae_titles=("CLOUDMIG",),
            retrieve="c-get", lanes=1, grace_s=1,
        )  # fmt: skip
        source = DimseSource(settings, desk, patient_key=lambda _patient_id, _issuer: "")
        listing = await source.list_instances(reference)
        expected = {each.instance.sop_instance_uid: each for each in listing.instances}
        for script in (frail, frail, sound, frail, frail, frail, frail):
            pacs.script = script
            async with source.retrieve(RetrieveRequest(reference, expected)) as retrieval:
                arrived = [arrival.settle(stored=True) async for arrival in retrieval]
            assert len(arrived) == len(expected)
            borne.append(source.contexts_max)
            await source.lanes.close()  # The next pull opens its own association.

    assert borne == [128, 128, 128, 128, 128, 80, 80]


async def test_one_that_dies_of_any_is_unavailable(tmp_path: Path) -> None:
    world = World(tmp_path, STUDIES[:1], Script(contexts_max=10), retrieve="c-get")
    with world.serving():
        summary = await world.migrate()

    assert not summary.studies_stored
    assert {each["cause"] for each in world.reporter.named("study.put_back")} == {
        "SourceUnavailable"
    }


async def test_by_c_get_an_image_in_a_rare_syntax_is_asked_for_in_it_in_the_end(
    tmp_path: Path,
) -> None:
    plain = a_study(1, series=(2,))
    rare = "1.2.840.10008.1.2.4.55"

    def as_plain(_: Study, made: list[Instance]) -> list[Instance]:
        return [
            replace(each, data_set=other.data_set)
            for each, other in zip(made, plain.instances(), strict=True)
        ]

    series = tuple(replace(each, transfer_syntax_uid=rare) for each in plain.series)
    study = replace(plain, series=series, oddities=(as_plain,))
    world = World(tmp_path, (study, a_study(2)), retrieve="c-get")
    with world.serving():
        await world.migrate()
        await world.explain_everything()

    assert world.quarantined() == {}
    assert world.held() == world.truth()
