"""Whatever a PACS does: nothing is lost, nothing is unexplained, clean studies end clean."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from cloudmig.demo.oddities import (
    conflicting,
    garbage,
    heavy,
    listed_twice,
    renamed,
    truncated,
    two_patients,
    without_images,
)  # fmt: skip
from cloudmig.demo.pacs import Fault, Script
from cloudmig.demo.pacs.holdings import Holdings
from cloudmig.demo.studies import Instance, Study
from tests.integration.migration_world import AtPutBack, World, a_study


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloudmig.agent.outages._PAUSE_FIRST_S", 0.1)
    monkeypatch.setattr("cloudmig.agent.outages._PAUSE_MAX_S", 0.3)


WAYS = ("c-move", "c-get")
BOTH_WAYS = pytest.mark.parametrize("retrieve", WAYS)
#: `make test` takes each habit one way, in turn; `make acceptance` takes each both ways.
EVERYTHING = os.environ.get("CLOUDMIG_ACCEPTANCE") == "1"


def uid_of(study: Study, position: int = 0) -> str:
    return study.instances()[position].sop_instance_uid


def same_uid_in_two_series(study: Study) -> Study:
    """Give the first instance of the second series the SOP Instance UID of the very first."""

    def oddity(_: Study, instances: list[Instance]) -> list[Instance]:
        first = instances[0]
        second = next(
            n for n, one in enumerate(instances)
            if one.series_instance_uid != first.series_instance_uid
        )  # fmt: skip
        [renamed_one] = [
            one
            for one in renamed(
                replace(study, oddities=()), second, sop_instance_uid=first.sop_instance_uid
            ).instances()
            if one.series_instance_uid == instances[second].series_instance_uid
            and one.sop_instance_uid == first.sop_instance_uid
        ]
        return [*instances[:second], renamed_one, *instances[second + 1 :]]

    return replace(study, oddities=(*study.oddities, oddity))


STUDIES = tuple(a_study(number) for number in range(1, 4))
FIRST, SECOND = STUDIES[0], STUDIES[1]
FIRST_UID = FIRST.study_instance_uid
ONLY_FIRST = frozenset({FIRST_UID})


@dataclass(frozen=True)
class Case:
    """One habit and how the migration must end."""

    name: str
    script: Script = Script()
    first: Study = FIRST  #: What the first study is replaced with.
    reasons: frozenset[str] = frozenset()  #: Of the first study; no other is ever in quarantine.
    lacking: tuple[str, ...] = ()  #: SOP Instance UIDs that cannot be had.
    settings: Mapping[str, Mapping[str, object]] | None = None
    weak: bool = False

    @property
    def studies(self) -> Sequence[Study]:
        return (self.first, *STUDIES[1:])


ALL_OF_FIRST = tuple(one.sop_instance_uid for one in FIRST.instances())

#: Habits after which everything is stored and nothing is in quarantine.
CLEAN = [
    Case("an honest PACS"),
    Case("no counts anywhere", Script(optional_counts=False, counts_in_retrieve=False)),
    Case("the final status alone", Script(final_status_only=True)),
    Case("the final status before the last store", Script(final_before_last_store=True),
         settings={"sources.main": {"grace_s": 0.6}}),
    Case("series and instances of every study", Script(ignores_unique_keys=True)),
    Case("every answer comes twice", Script(answers_twice=True)),
    Case("one operation for each association", Script(one_operation=True)),
    Case("the wrong study once", Script(fault=Fault.WRONG_STUDY)),
    Case("success with nothing, once", Script(fault=Fault.NOTHING)),
    Case("success with nothing, counted, once", Script(fault=Fault.NOTHING_COUNTED)),
    Case("unable to process, once", Script(fault=Fault.FAILURE)),
    Case("an abort in the middle, once", Script(fault=Fault.ABORT, fault_at_store=2)),
    Case("the store association aborted", Script(fault=Fault.ABORT_STORES, fault_at_store=2)),
    Case("always an abort at the second store",
         Script(fault=Fault.ABORT, fault_at_store=2, fault_retrieves=9999)),
    Case("out of resources for a while", Script(fault=Fault.BUSY, fault_retrieves=6)),
    Case("other bytes, equal elements", Script(
        reencoded=frozenset({uid_of(FIRST)}), image_find=False), weak=True),
    Case("no IMAGE level", Script(image_find=False), weak=True),
    Case("no IMAGE level, no counts", Script(image_find=False, optional_counts=False), weak=True),
    Case("an IMAGE answer cut without a word", Script(image_limit=1), weak=True),
    Case("the same instance held twice", first=listed_twice(FIRST)),
    Case("a data set cut off on its way, once",
         Script(torn=frozenset({uid_of(FIRST)}), torn_times=1)),
    Case("large objects", first=heavy(FIRST, extra_bytes=9_000_000)),
    Case("few associations", Script(associations_max=2), settings={"sources.main": {"lanes": 4}}),
    Case("content that changes and is asked for once",
         Script(changing=frozenset({uid_of(FIRST)}))),
]  # fmt: skip

#: Habits that a person must look at.
DIRTY = [
    Case("an instance listed and not sent", Script(missing=frozenset({uid_of(FIRST)})),
         reasons=frozenset({"missing_instances"}), lacking=(uid_of(FIRST),)),
    Case("the same, claimed as sent",
         Script(missing=frozenset({uid_of(FIRST)}), missing_counted="completed"),
         reasons=frozenset({"missing_instances"}), lacking=(uid_of(FIRST),)),
    Case("a study of which nothing is sent", Script(missing=frozenset(ALL_OF_FIRST)),
         reasons=frozenset({"missing_instances"}), lacking=ALL_OF_FIRST),
    Case("always the wrong study",
         Script(fault=Fault.WRONG_STUDY, fault_retrieves=9999, fault_studies=ONLY_FIRST),
         reasons=frozenset({"missing_instances"}), lacking=ALL_OF_FIRST),
    Case("always success with nothing",
         Script(fault=Fault.NOTHING, fault_retrieves=9999, fault_studies=ONLY_FIRST),
         reasons=frozenset({"missing_instances"}), lacking=ALL_OF_FIRST),
    Case("always unable to process",
         Script(fault=Fault.FAILURE, fault_retrieves=9999, fault_studies=ONLY_FIRST),
         reasons=frozenset({"missing_instances"}), lacking=ALL_OF_FIRST),
    Case("always an abort at the first store",
         Script(fault=Fault.ABORT, fault_at_store=1, fault_retrieves=9999,
                fault_studies=ONLY_FIRST),
         reasons=frozenset({"missing_instances"}), lacking=ALL_OF_FIRST),
    Case("always out of resources for one study",
         Script(fault=Fault.BUSY, fault_retrieves=9999, fault_studies=ONLY_FIRST),
         reasons=frozenset({"always_fails"}), lacking=ALL_OF_FIRST,
         settings={"destinations.store": {"outage_max_s": 0.5}}),
    Case("a data set cut off in the archive", first=truncated(FIRST),
         reasons=frozenset({"torn"})),
    Case("two contents of one instance", first=conflicting(FIRST),
         reasons=frozenset({"conflict"})),
    Case("one SOP Instance UID in two series", first=same_uid_in_two_series(FIRST),
         reasons=frozenset({"conflict"})),
    Case("content that changes, compared by two pulls",
         Script(changing=frozenset({uid_of(FIRST)}), image_find=False),
         reasons=frozenset({"conflict"}), weak=True),
    Case("poison", first=garbage(FIRST),
         reasons=frozenset({"malformed"})),
    Case("a command that names another instance", Script(misnamed=frozenset({uid_of(FIRST)})),
         reasons=frozenset({"uid_mismatch"})),
    Case("a path for a UID", first=renamed(FIRST), reasons=frozenset({"unusable_uid"})),
    Case("no SOP Instance UID", first=renamed(FIRST, sop_instance_uid=""),
         reasons=frozenset({"unusable_uid"})),
]  # fmt: skip


def turns(cases: Sequence[Case], start: int) -> pytest.MarkDecorator:
    pairs = [
        pytest.param(case, way, id=f"{case.name}, {way}")
        for number, case in enumerate(cases, start)
        for way in (WAYS if EVERYTHING else (WAYS[number % 2],))
    ]
    return pytest.mark.parametrize(("case", "retrieve"), pairs)


@turns(CLEAN, 0)
async def test_a_clean_study_ends_clean(case: Case, retrieve: str, tmp_path: Path) -> None:
    world = World(tmp_path, case.studies, case.script, retrieve, case.settings or {})
    with world.serving():
        summary = await world.migrate()
        closing = await world.explain_everything()

    assert not summary.halted
    assert world.quarantined() == {}
    held, truth = world.held(), world.truth()
    if not case.script.reencoded:
        changed = case.script.changing
        assert {uid: held[uid] for uid in held if uid not in changed} == {
            uid: truth[uid] for uid in truth if uid not in changed
        }
    assert held.keys() == truth.keys()
    assert all(len(contents) == 1 for contents in held.values())
    assert closing.statement.instances.verified == len(truth)
    assert bool(closing.statement.weak_copies) == case.weak
    assert world.spooled() == []


@turns(DIRTY, 1)
async def test_what_needs_a_person_is_quarantined_with_its_reason(
    case: Case, retrieve: str, tmp_path: Path
) -> None:
    world = World(tmp_path, case.studies, case.script, retrieve, case.settings or {})
    with world.serving():
        summary = await world.migrate()
        closing = await world.explain_everything()

    assert not summary.halted
    assert world.quarantined() == {FIRST_UID: set(case.reasons)}
    held, truth = world.held(), world.truth()
    everything = {digest for contents in held.values() for digest in contents}
    for uid, digests in truth.items():
        if uid in case.lacking or uid in case.script.changing:
            continue
        assert digests <= everything, f"lost: {uid}"
    assert not set(case.lacking) & held.keys()
    assert closing.statement.studies.quarantined == 1
    if "unusable_uid" in case.reasons:
        assert closing.statement.instances.inventory == sum(map(len, truth.values()))
    assert world.spooled() == []


@BOTH_WAYS
async def test_a_study_of_two_patients_is_moved_whole(retrieve: str, tmp_path: Path) -> None:
    world = World(tmp_path, [*two_patients(FIRST), *STUDIES[1:]], retrieve=retrieve)
    with world.serving():
        await world.migrate()
        closing = await world.explain_everything()

    assert world.held() == world.truth()
    assert closing.statement.studies.inventory == len(STUDIES)


@pytest.mark.parametrize("optional_counts", [True, False])
async def test_a_study_without_images_is_excluded_by_a_named_rule(
    optional_counts: bool, tmp_path: Path
) -> None:
    world = World(
        tmp_path, [without_images(FIRST), *STUDIES[1:]], Script(optional_counts=optional_counts)
    )
    with world.serving():
        await world.migrate()
        closing = await world.explain_everything()

    assert dict(closing.statement.studies.excluded) == {"no images (built in)": 1}
    assert world.held() == world.truth()


async def test_a_pacs_that_falls_over_at_a_study_is_told_from_one_that_has_not_got_it(
    tmp_path: Path,
) -> None:
    script = Script(
        fault=Fault.ABORT, fault_at_store=1, fault_retrieves=9999, fault_studies=ONLY_FIRST
    )
    world = World(tmp_path, STUDIES, script)
    with world.serving():
        await world.migrate()

    [told] = world.reporter.named("study.quarantined")
    assert "the peer aborted" in str(told["cause"])


async def test_counts_of_zero_are_no_number_of_what_stays_on_site(tmp_path: Path) -> None:
    world = World(
        tmp_path, STUDIES, Script(counts_are_zero=True),
        rules=[{"name": "everything stays", "keep_on_site": True}],
    )  # fmt: skip
    with world.serving():
        await world.migrate()
        closing = await world.explain_everything()

    instances = sum(len(study.instances()) for study in STUDIES)
    assert dict(closing.statement.instances.excluded) == {"everything stays": instances}


async def test_what_a_pacs_cannot_list_is_not_counted_as_no_instances(tmp_path: Path) -> None:
    world = World(
        tmp_path, STUDIES, Script(image_find=False, optional_counts=False),
        rules=[{"name": "everything stays", "keep_on_site": True}],
    )  # fmt: skip
    with world.serving():
        await world.migrate()
        closing = await world.explain_everything()

    assert closing.statement.excluded_uncounted == len(STUDIES)
    assert "excluded studies whose instances nobody has counted: 3" in closing.report.read_text()


async def test_one_empty_answer_excludes_no_study(tmp_path: Path) -> None:
    """CTN counts 0 instances in every study, and lists those of some only now and then."""
    world = World(tmp_path, [without_images(FIRST), *STUDIES[1:]], Script(optional_counts=False))
    world.reporter = AtPutBack(lambda: setattr(world.pacs._state, "holdings", Holdings(STUDIES)))
    with world.serving():
        await world.migrate()
        closing = await world.explain_everything()

    assert world.held() == world.truth()
    assert not closing.statement.studies.excluded


@pytest.mark.parametrize("stored", [0, 2])
async def test_a_study_that_had_images_a_moment_ago_is_not_excluded_for_having_none(
    stored: int, tmp_path: Path
) -> None:
    instances = [each.sop_instance_uid for each in FIRST.instances()]
    script = Script(missing=frozenset(instances[stored:]), optional_counts=False)
    world = World(tmp_path, STUDIES, script)
    left = Holdings([without_images(FIRST), *STUDIES[1:]])
    world.reporter = AtPutBack(lambda: setattr(world.pacs._state, "holdings", left))
    with world.serving():
        await world.migrate()
        closing = await world.explain_everything()

    assert world.quarantined() == {FIRST_UID: {"nothing_listed"}}
    assert not closing.statement.studies.excluded
    assert closing.statement.instances.quarantined == len(instances)


async def test_a_study_that_was_moved_is_not_excluded_for_having_no_images_any_more(
    tmp_path: Path,
) -> None:
    """A site deletes what is closed. What is found spoilt afterwards cannot be pulled again."""
    world = World(tmp_path, STUDIES, Script(optional_counts=False))
    with world.serving():
        await world.migrate()
        await world.explain_everything()
        spoilt = next((tmp_path / "store").rglob(f"{uid_of(FIRST)}.dcm"))
        spoilt.chmod(0o600)
        spoilt.write_bytes(b"something else")
        assert (await world.verify(again=True)).failed == 1
        world.pacs._state.holdings = Holdings([without_images(FIRST), *STUDIES[1:]])
        await world.run()
        closing = await world.explain_everything()

    assert world.quarantined() == {FIRST_UID: {"nothing_listed"}}
    assert not closing.statement.studies.excluded
    assert closing.statement.instances.quarantined == len(FIRST.instances())


@BOTH_WAYS
async def test_new_uids_on_each_retrieve_never_count_as_complete(
    retrieve: str, tmp_path: Path
) -> None:
    world = World(tmp_path, [FIRST], Script(new_uids=True), retrieve)
    with world.serving():
        await world.migrate()
        await world.explain_everything()

    assert world.quarantined().keys() == {FIRST_UID}


async def test_an_answer_that_counts_less_than_was_asked_for_ends_nothing(tmp_path: Path) -> None:
    """What is still on its way would be refused, asked for again, and again come too late."""
    script = Script(final_before_last_store=True, last_store_counted=False)
    world = World(tmp_path, [FIRST], script, settings={"sources.main": {"grace_s": 5}})

    with world.serving():
        await world.migrate()

    assert world.pacs.counters.asked["move STUDY"] == 1
    assert world.pacs.counters.asked["move IMAGE"] == 0
    assert world.held() == world.truth()


@BOTH_WAYS
@pytest.mark.parametrize("habit", ["refused", "no match"])
async def test_a_pacs_without_lists_of_uids_is_asked_for_one_after_the_other(
    habit: str, retrieve: str, tmp_path: Path
) -> None:
    """In the same attempt: of many, the last try asks for a few only."""
    script = Script(uid_lists=habit, fault=Fault.NOTHING)
    world = World(tmp_path, [FIRST], script, retrieve)

    with world.serving():
        await world.migrate()

    way = retrieve.removeprefix("c-")
    assert world.pacs.counters.asked[f"{way} STUDY"] == 1
    assert world.pacs.counters.asked[f"{way} IMAGE"] == 1 + len(ALL_OF_FIRST)
    assert world.held() == world.truth()


async def test_a_pacs_that_sends_under_another_name_is_told_of_once(tmp_path: Path) -> None:
    """Else every study lacks its instances, and nobody says that we turned them away."""
    world = World(tmp_path, STUDIES, settings={"sources.main": {"aet": "ANOTHER"}})

    with world.serving():
        await world.migrate()

    [told] = world.reporter.named("sender.refused")
    assert (told["host"], told["calling_aet"]) == ("127.0.0.1", world.pacs.aet)
    assert f'"{world.pacs.aet}@127.0.0.1"' in str(told["hint"])


async def test_a_pacs_that_calls_us_by_another_name_is_told_of_once(tmp_path: Path) -> None:
    world = World(tmp_path, STUDIES, Script(calls_us="CLOUDMIK"))

    with world.serving():
        await world.migrate()

    [told] = world.reporter.named("sender.refused")
    assert (told["calling_aet"], told["called_aet"]) == (world.pacs.aet, "CLOUDMIK")
    assert "calls us CLOUDMIK" in str(told["hint"])
    assert "register CLOUDMIG" in str(told["hint"])
