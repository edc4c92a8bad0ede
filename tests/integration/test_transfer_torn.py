"""An image that its source sends cut off: asked for again, then kept as it is, for a person."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudmig.catalog import Catalog
from cloudmig.demo.pacs import Script
from cloudmig.demo.studies import Study
from cloudmig.model.references import StudyRef
from cloudmig.staging import StagingLimits
from tests.contract.web_archive import WebScript
from tests.integration.migration_world import World, a_study
from tests.integration.web_source_world import WebWorld

STUDIES = tuple(a_study(number, series=(2, 1)) for number in range(1, 3))
FIRST = STUDIES[0].study_instance_uid
UID = STUDIES[0].instances()[0].sop_instance_uid
ALWAYS = Script(torn=frozenset({UID}))


async def released(world: World) -> None:
    """Let a person release the first study, and move it again."""
    async with world.opened() as parts:
        await parts.catalog.call(
            Catalog.release, "main", StudyRef(FIRST), at=parts.now(), note="looked at"
        )
    await world.run()


@pytest.mark.parametrize("retrieve", ["c-move", "c-get"])
@pytest.mark.parametrize("memory_object_bytes_max", [64 << 20, 1])
async def test_it_is_stored_as_it_came_and_waits_for_a_person(
    memory_object_bytes_max: int, retrieve: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = StagingLimits(credit_bytes=1, memory_object_bytes_max=memory_object_bytes_max)
    monkeypatch.setattr("cloudmig.bootstrap.opening.StagingLimits", lambda **_: limits)
    world = World(tmp_path, STUDIES, ALWAYS, retrieve)
    with world.serving():
        await world.migrate()
        assert world.quarantined() == {FIRST: {"torn"}}
        [told] = world.reporter.named("study.quarantined")
        assert told["cause"] == "torn"
        await world.explain_everything()
        assert world.held().keys() == world.truth().keys()
        before = world.held()

        await released(world)

        assert world.held() == before
        assert world.quarantined() == {}
        assert (await world.explain_everything()).closed == 1, "the other was closed before"
    assert world.pacs.counters.sent[UID] == 3, "twice, and once more when it was released"


async def test_a_whole_one_is_fetched_with_the_release_and_stored_beside_it(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, STUDIES, ALWAYS)
    with world.serving():
        await world.migrate()
        assert world.quarantined() == {FIRST: {"torn"}}
        world.pacs._state.script = Script()

        await released(world)

        assert world.quarantined() == {FIRST: {"conflict"}}
        assert world.truth()[UID] < world.held()[UID]
        await world.explain_everything()
        await released(world)
        assert world.quarantined() == {}
        assert (await world.explain_everything()).closed == 1


async def test_what_is_cut_elsewhere_each_time_is_never_taken_for_the_instance(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, STUDIES, Script(torn=frozenset({UID}), changing=frozenset({UID})))
    with world.serving():
        await world.migrate()
        await world.explain_everything()

    assert world.quarantined() == {FIRST: {"missing_instances"}}
    assert UID not in world.held()
    [told] = world.reporter.named("study.quarantined")
    assert "cut off" in str(told["cause"])


async def test_an_attempt_that_dies_before_it_is_stored_tells_it_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told first: with a receipt nobody would ask for it again."""
    world = World(tmp_path, STUDIES, ALWAYS)

    class Killed(Exception): ...  # noqa: N818

    def dies(*_: object, **__: object) -> None:
        raise Killed

    with world.serving():
        with monkeypatch.context() as patch:
            patch.setattr(Catalog, "record_copy", dies)
            with pytest.raises(Killed):
                await world.migrate()
        assert world.quarantined() == {FIRST: {"torn"}}
        await world.run()

    assert world.quarantined() == {FIRST: {"torn"}}


def torn_file(study: Study) -> dict[str, bytes]:
    return {UID: study.instances()[0].part10()[:-100]}


async def test_so_is_one_that_comes_by_dicomweb(tmp_path: Path) -> None:
    async with WebWorld.of(tmp_path, list(STUDIES), WebScript()) as world:
        world.archive.replaced = torn_file(STUDIES[0])
        await world.migrate()

        assert world.quarantined() == {FIRST: {"torn"}}
        await world.explain_everything()
        assert world.held().keys() == world.truth().keys()
