"""Some PACS fall over at an association that proposes many presentation contexts."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudmig.demo.pacs import Script
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


async def test_one_that_dies_of_any_is_unavailable(tmp_path: Path) -> None:
    world = World(tmp_path, STUDIES[:1], Script(contexts_max=10), retrieve="c-get")
    with world.serving():
        summary = await world.migrate()

    assert not summary.studies_stored
    assert {each["cause"] for each in world.reporter.named("study.put_back")} == {
        "SourceUnavailable"
    }
