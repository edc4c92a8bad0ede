"""What lies in the bucket and in no manifest, a day later."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest

from cloudmig.cloud.find_orphans import DAYS_BACK, OrphanSearch, find_orphans
from cloudmig.cloud.verdict_table import MemoryTable
from cloudmig.errors import DestinationUnavailable
from cloudmig.messages import ObjectVerdict, StudyRequest
from tests.contract.moto_bucket import Bucket
from tests.integration.cloud_world import PREFIX, CloudWorld

pytest_plugins = ["tests.integration.cloud_fixtures"]

NOTHING = OrphanSearch(orphans=0, gone=0, asked=0, unknown=0)
A_DAY_LATER = dt.timedelta(hours=24, seconds=1)


def search(
    world: CloudWorld, ahead: dt.timedelta = A_DAY_LATER, days_back: int = 1
) -> OrphanSearch:
    world.ahead = ahead
    try:
        return find_orphans(world.desk, days_back=days_back)
    finally:
        world.ahead = dt.timedelta()


def test_an_object_in_no_manifest_is_an_orphan_after_a_day_and_told_once(
    world: CloudWorld,
) -> None:
    study = world.put_study(3, manifested=False)
    for key in study.keys:
        world.see(key)

    assert search(world, dt.timedelta(hours=23, minutes=59)) == NOTHING
    assert search(world) == replace(NOTHING, orphans=3)
    assert search(world) == NOTHING

    verdicts = [each for each in world.verdicts.sent if isinstance(each, ObjectVerdict)]
    assert {(each.key, each.finding) for each in verdicts} == {
        (key, "orphan") for key in study.keys
    }
    assert verdicts[0].prefix == PREFIX
    assert verdicts[0].study_instance_uid == study.study_instance_uid
    assert world.item(study.keys[0]).finding == "orphan"  # type: ignore[union-attr]


def test_very_many_orphans_are_all_found_while_they_are_settled(world: CloudWorld) -> None:
    """The index shrinks while it is read, page by page."""
    studies = [world.put_study(1, manifested=False) for _ in range(70)]
    for study in studies:
        world.see(study.keys[0])

    assert search(world) == replace(NOTHING, orphans=70)
    assert search(world) == NOTHING


def test_nothing_of_a_judged_study_is_an_orphan(world: CloudWorld) -> None:
    study = world.put_study(3)
    for key in study.keys:
        world.see(key)
    world.judge(study)

    assert search(world) == NOTHING


def test_what_belongs_to_no_revision_of_a_judged_study_is_an_orphan(world: CloudWorld) -> None:
    study = world.put_study(3, manifested=False)
    world.put_manifest(study, study.records[:2])
    assert world.judge(study).agreed

    assert search(world) == replace(NOTHING, orphans=1)

    assert not world.judge(study).agreed
    assert world.findings(study) == {study.keys[2]: "orphan"}
    assert search(world) == NOTHING


def test_an_orphan_that_a_later_revision_names_is_none_any_more(world: CloudWorld) -> None:
    study = world.put_study(3, manifested=False)
    first = world.put_manifest(study, study.records[:2])
    world.judge(study)
    search(world)
    world.put_manifest(study, revision=2, previous_sha256=first)

    assert world.judge(study).agreed
    assert world.item(study.keys[2]).finding == ""  # type: ignore[union-attr]


def test_an_orphan_stays_one_when_its_event_comes_again(world: CloudWorld) -> None:
    study = world.put_study(1, manifested=False)
    world.see(study.keys[0])
    search(world)
    told = len(world.verdicts.sent)

    world.ahead = A_DAY_LATER
    world.see(study.keys[0])

    assert world.item(study.keys[0]).finding == "orphan"  # type: ignore[union-attr]
    assert len(world.verdicts.sent) == told
    assert search(world) == NOTHING


def test_a_study_whose_judgement_was_lost_is_asked_for_once(world: CloudWorld) -> None:
    """Its manifest is there: nothing is an orphan because a function failed."""
    study = world.put_study(3)
    for key in study.keys:
        world.see(key)

    assert search(world) == replace(NOTHING, asked=1)

    assert not world.verdicts.sent
    [request] = world.studies.sent
    assert isinstance(request, StudyRequest)
    assert (request.why, request.study_instance_uid) == ("asked", study.study_instance_uid)
    world.judge(study)
    assert search(world) == NOTHING


@pytest.mark.parametrize("revision", [1, 2])
def test_nothing_is_an_orphan_while_a_manifest_is_spoilt(world: CloudWorld, revision: int) -> None:
    study = world.put_study(2, manifested=False)
    first = world.put_manifest(study)
    world.put_manifest(study, study.records[:1], revision=2, previous_sha256=first)
    for key in study.keys:
        world.see(key)
    world.overwrite(study.manifest_key(revision), b"spoilt")

    assert search(world).orphans == 0
    assert search(world).unknown >= 1
    assert not world.verdicts.sent


def test_what_is_gone_or_was_told_before_is_settled_without_a_word(world: CloudWorld) -> None:
    study = world.put_study(3, manifested=False)
    world.overwrite(study.keys[0], b"x")
    for key in study.keys:
        world.see(key)
    world.delete(study.keys[1])
    world.put("v1/notes.txt", b"x", Metadata={})
    world.see("v1/notes.txt")
    told = len(world.verdicts.sent)

    assert search(world) == replace(NOTHING, orphans=1, gone=3)

    [orphan] = world.verdicts.sent[told:]
    assert isinstance(orphan, ObjectVerdict)
    assert (orphan.key, orphan.finding) == (study.keys[2], "orphan")
    assert world.item(study.keys[0]).finding == "altered"  # type: ignore[union-attr]


def test_an_orphan_that_could_not_be_told_is_told_the_next_time(world: CloudWorld) -> None:
    study = world.put_study(1, manifested=False)
    world.see(study.keys[0])

    class Unreachable:
        def send(self, messages: object) -> None:
            raise DestinationUnavailable("queue: down")

    world.ahead = A_DAY_LATER
    with pytest.raises(DestinationUnavailable):
        find_orphans(replace(world.desk, verdicts=Unreachable()), days_back=1)

    assert search(world) == replace(NOTHING, orphans=1)


def test_a_search_that_was_off_for_a_month_still_finds_everything(endpoint: str) -> None:
    world = CloudWorld(Bucket.create(endpoint), MemoryTable())
    study = world.put_study(1, manifested=False)
    world.see(study.keys[0])

    assert search(world, dt.timedelta(days=DAYS_BACK + 1), DAYS_BACK) == replace(NOTHING, orphans=1)
