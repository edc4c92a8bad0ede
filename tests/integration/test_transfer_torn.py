"""An image that its source sends cut off: asked for again, then kept as it is, for a person."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from cloudmig.catalog import Catalog
from cloudmig.demo.oddities import without_images
from cloudmig.demo.pacs import Script
from cloudmig.demo.pacs.holdings import Holdings
from cloudmig.demo.studies import Study
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
    await world.release(FIRST)
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


@pytest.mark.parametrize("image_find", [True, False], ids=["listed", "by equal pulls"])
async def test_what_is_cut_elsewhere_each_time_is_never_taken_for_the_instance(
    image_find: bool, tmp_path: Path
) -> None:
    cut = frozenset({UID})
    world = World(tmp_path, STUDIES, Script(torn=cut, changing=cut, image_find=image_find))
    with world.serving():
        await world.migrate()
        await world.explain_everything()

    assert world.quarantined() == {FIRST: {"missing_instances"}}
    assert UID not in world.held()
    [told] = world.reporter.named("study.quarantined")
    assert "cut off" in str(told["cause"])


@pytest.mark.parametrize("retrieve", ["c-move", "c-get"])
async def test_without_a_list_what_was_cut_on_its_way_once_is_taken_whole(
    retrieve: str, tmp_path: Path
) -> None:
    script = Script(torn=frozenset({UID}), torn_times=1, image_find=False)
    world = World(tmp_path, STUDIES, script, retrieve)
    with world.serving():
        await world.migrate()
        await world.explain_everything()

    assert world.quarantined() == {}
    assert world.held() == world.truth()


async def test_a_study_that_is_gone_when_it_is_released_is_not_closed_with_an_image_missing(
    tmp_path: Path,
) -> None:
    lost = STUDIES[0].instances()[1].sop_instance_uid
    script = Script(torn=frozenset({UID}), missing=frozenset({lost}))
    world = World(tmp_path, STUDIES, script)
    with world.serving():
        await world.migrate()
        assert world.quarantined() == {FIRST: {"missing_instances", "torn"}}
        world.pacs._state.holdings = Holdings([without_images(STUDIES[0]), STUDIES[1]])

        await released(world)

        assert world.quarantined() == {FIRST: {"nothing_listed"}}
        await world.explain_everything()


async def test_a_repair_after_a_release_asks_for_no_more_than_what_is_bad_or_was_torn(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, STUDIES, ALWAYS)
    with world.serving():
        await world.migrate()
        await released(world)
        await world.explain_everything()
        bad, other = (each.sop_instance_uid for each in STUDIES[0].instances()[1:3])
        [path] = (tmp_path / "store").rglob(f"{bad}.dcm")
        path.unlink()
        await world.verify(again=True)
        sent = Counter(world.pacs.counters.sent)

        await world.run()

        more = world.pacs.counters.sent - sent
        assert (more[bad], more[other]) == (1, 0)
        await world.explain_everything()
        assert world.quarantined() == {}


async def test_an_attempt_that_dies_before_it_is_stored_tells_it_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told first: with a receipt nobody would ask for it again."""
    # One study alone: of two, the whole one may be the first to be stored.
    world = World(tmp_path, STUDIES[:1], ALWAYS)

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
