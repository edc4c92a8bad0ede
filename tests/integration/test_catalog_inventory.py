"""Sweeps, questions, studies, plans: what goes into the catalog comes out of it."""

from __future__ import annotations

import dataclasses
import datetime as dt

import pytest

from cloudmig.catalog import Catalog
from cloudmig.catalog.records import PlanCounts
from cloudmig.model.instance import ExpectedInstance
from cloudmig.model.states import TransferState
from cloudmig.model.study import Answer, StudySummary
from cloudmig.model.transfer import CopyPlan, Decision, TransferJob
from cloudmig.ports import Listing
from tests.catalog_studies import (
    NOW,
    a_study,
    agree,
    an_instance,
    claim,
    plan,
    state_of,
    store,
    store_copy,
    take_inventory,
)

pytest_plugins = ["tests.catalog_fixtures"]

LATER = NOW + dt.timedelta(days=1)


def a_summary(number: int = 1) -> StudySummary:
    answer = {"StudyDate": "20240229", "PatientName": "MÜLLER^ÄNNE"}
    return StudySummary(
        a_study(number), "20240229", "101500.5", ("CT", "SR"), 12, "patient-1", answer
    )


def test_an_unfinished_sweep_is_taken_up_again(catalog: Catalog) -> None:
    sweep = catalog.begin_sweep("main", NOW)
    answer = Answer("date=20240101-20241231", 0, "split")
    catalog.record_answer(sweep, answer, [], NOW)

    again = catalog.begin_sweep("main", LATER)

    assert again == sweep
    assert catalog.answered(again) == {answer.question: answer}
    assert catalog.begin_sweep("annex", NOW) != sweep


def test_a_finished_sweep_is_not(catalog: Catalog) -> None:
    sweep = catalog.begin_sweep("main", NOW)
    catalog.finish_sweep(sweep, NOW, {"universal": "refused"})

    assert catalog.begin_sweep("main", LATER).sweep_id != sweep.sweep_id


def test_a_study_comes_out_as_it_was_answered(catalog: Catalog) -> None:
    sweep = catalog.begin_sweep("main", NOW)
    summary = a_summary()

    catalog.record_answer(sweep, Answer("universal", 1, "complete"), [summary], NOW)

    found = catalog.study("main", summary.study)
    assert found is not None
    assert found.study_date == dt.date(2024, 2, 29)
    assert found.study_time_text == "101500.5"
    assert found.modalities == ("CT", "SR")
    assert found.instances_claimed == 12
    assert (found.answers, found.patients) == (1, 1)
    [kept] = catalog.study_answers("main", summary.study)
    assert kept.answer == summary.answer
    assert catalog.study("annex", summary.study) is None


def test_a_nul_within_an_answer_stops_no_inventory(catalog: Catalog) -> None:
    """Some archives hand out a field of a fixed length, with the rest of an older value."""
    sweep = catalog.begin_sweep("main", NOW)
    told = {"PatientName": "DOE^JOHN\0^X", "PatientID": "12\x0034"}
    summary = StudySummary(a_study(), "2024\x000229", "1015\x0000", ("CT\0R",), 1, "key", told)

    catalog.record_answer(sweep, Answer("universal", 1, "complete"), [summary], NOW)

    found = catalog.study("main", summary.study)
    assert found is not None
    assert (found.study_date, found.study_date_text) == (None, "2024\ufffd0229")
    assert (found.study_time_text, found.modalities) == ("1015\ufffd00", ("CT\ufffdR",))
    [kept] = catalog.study_answers("main", summary.study)
    assert kept.answer == told


def test_every_distinct_answer_is_kept_and_equal_ones_only_once(catalog: Catalog) -> None:
    sweep = catalog.begin_sweep("main", NOW)
    first = a_summary()
    other_patient = dataclasses.replace(first, patient_key="patient-2")
    fewer = dataclasses.replace(first, instances_claimed=3)

    for question in ("a", "b"):
        catalog.record_answer(
            sweep, Answer(question, 4, "complete"), [first, other_patient, fewer, first], NOW
        )

    [found] = catalog.studies()
    assert (found.answers, found.patients) == (3, 2)
    assert found.instances_claimed == 12


def test_silence_does_not_erase_what_was_said(catalog: Catalog) -> None:
    sweep = catalog.begin_sweep("main", NOW)
    catalog.record_answer(sweep, Answer("a", 1, "complete"), [a_summary()], NOW)

    catalog.record_answer(sweep, Answer("b", 1, "complete"), [StudySummary(a_study())], NOW)

    [found] = catalog.studies()
    assert found.study_date_text == "20240229"
    assert found.modalities == ("CT", "SR")
    assert found.instances_claimed == 12


def test_coverage_shows_what_was_asked(catalog: Catalog) -> None:
    sweep = catalog.begin_sweep("main", NOW)
    whole, first, second = "date=20230101-20241231", "date=20230101-20231231", "date=20240101"
    catalog.record_answer(sweep, Answer("universal", 2, "complete"), [a_summary(1)], NOW)
    catalog.record_answer(sweep, Answer(whole, 500, "split"), [a_summary(1)], NOW)
    catalog.record_answer(sweep, Answer(first, 1, "complete", whole), [a_summary(1)], NOW)
    catalog.record_answer(sweep, Answer(second, 1, "failed", whole), [a_summary(2)], NOW)

    open_coverage = catalog.coverage("main")
    catalog.finish_sweep(sweep, LATER, {"note": 1})
    coverage = catalog.coverage("main")

    assert (coverage.questions, coverage.splits, coverage.failed) == (4, 1, 1)
    assert coverage.universal_count == 2
    assert coverage.answered == 3
    assert (coverage.first_date, coverage.last_date) == (dt.date(2023, 1, 1), dt.date(2023, 12, 31))
    assert coverage.studies == 2
    assert open_coverage.last_finished_at is None
    assert coverage.last_finished_at == LATER
    assert coverage.sweep is not None
    assert coverage.sweep.notes == {"note": 1}


def test_studies_are_paged_without_a_gap(catalog: Catalog) -> None:
    studies = [a_study(number) for number in range(1, 26)]
    take_inventory(catalog, studies)
    take_inventory(catalog, studies[:3], source="annex")

    seen, after = [], None
    while page := catalog.studies("main", after=after, limit=7):
        seen += [one.study for one in page]
        after = page[-1].study_id

    assert sorted(seen) == sorted(studies)


def listed(catalog: Catalog, job: TransferJob, *, instances: int) -> None:
    """Take the list of instances of a claimed study."""
    some = (ExpectedInstance(an_instance(job.study, n), "1.2.3") for n in range(instances))
    catalog.record_expected(job, Listing(tuple(some), True, (), 1))


def move(catalog: Catalog, *, instances: int) -> None:
    """Claim a study, list its instances and carry it to STORED."""
    job = claim(catalog)
    listed(catalog, job, instances=instances)
    store(catalog, job, instances=instances)


def a_decision(number: int, *destinations: str, rule: str = "the archive") -> Decision:
    return Decision("main", a_study(number), rule, tuple(CopyPlan(one) for one in destinations))


def test_a_plan_made_again_changes_and_tells_nothing(catalog: Catalog) -> None:
    take_inventory(catalog, [a_study(1), a_study(2)])
    decisions = [a_decision(1, "archive"), a_decision(2, rule="recent studies stay")]

    assert catalog.record_plan(decisions, NOW) == PlanCounts(planned=1, excluded=1, changed=2)
    told = catalog.ledger()
    assert catalog.record_plan(decisions, NOW) == PlanCounts(planned=1, excluded=1, changed=0)
    assert catalog.ledger() == told


def test_a_changed_rule_changes_what_nobody_works_on(catalog: Catalog) -> None:
    take_inventory(catalog, [a_study(1), a_study(2), a_study(3)])
    catalog.record_plan([a_decision(n, "archive") for n in (1, 2, 3)], NOW)
    moving = claim(catalog)
    others = [n for n in (1, 2, 3) if a_study(n) != moving.study]

    counts = catalog.record_plan(
        [
            a_decision(others[0], rule="stays"),
            a_decision(others[1], "second"),
            Decision("main", moving.study, "stays", ()),
        ],
        NOW,
    )

    assert counts == PlanCounts(planned=1, excluded=1, changed=2, under_way=1)
    decision = catalog.decision_of("main", a_study(others[1]))
    assert decision is not None
    assert decision.copies == (CopyPlan("second"),)
    assert state_of(catalog, a_study(others[0])) is TransferState.EXCLUDED
    assert state_of(catalog, moving.study) is TransferState.MOVING


def test_an_excluded_study_can_be_planned_after_all(catalog: Catalog) -> None:
    take_inventory(catalog, [a_study()])
    catalog.record_plan([a_decision(1, rule="stays")], NOW)

    catalog.record_plan([a_decision(1, "archive")], NOW)

    job = claim(catalog)
    assert job.copies == (CopyPlan("archive"),)


def test_what_is_done_is_not_planned_again(catalog: Catalog) -> None:
    take_inventory(catalog, [a_study()])
    plan(catalog, [a_study()], "archive")
    store(catalog, claim(catalog))
    agree(catalog, catalog.copies_to_verify()[0])

    counts = catalog.record_plan([a_decision(1, rule="stays")], NOW)

    assert counts == PlanCounts(under_way=1)
    assert state_of(catalog, a_study()) is TransferState.VERIFIED


@pytest.mark.parametrize("closed", [False, True])
def test_a_study_that_is_done_and_has_grown_is_planned_again_once(
    closed: bool, catalog: Catalog
) -> None:
    take_inventory(catalog, [a_study()])
    plan(catalog, [a_study()], "archive", "second")
    move(catalog, instances=2)
    for copy in catalog.copies_to_verify():
        agree(catalog, copy)
    if closed:
        catalog.close_wave(NOW, catalog.statement())
    take_inventory(catalog, [a_study()], instances=3)

    counts = catalog.record_plan([a_decision(1, "archive", rule="fewer copies by now")], NOW)
    again = catalog.record_plan([a_decision(1, "archive", rule="fewer copies by now")], NOW)

    assert counts == PlanCounts(planned=1, grown=1)
    assert again == PlanCounts(planned=1), "no rule takes away a copy that was made"
    job = claim(catalog)
    assert [copy.destination for copy in job.copies] == ["archive", "second"]
    listed(catalog, job, instances=2)  # The count is wrong: no more are listed.
    store(catalog, job, instances=2)
    assert catalog.record_plan([a_decision(1, "archive")], NOW) == PlanCounts(under_way=1)


def test_a_count_that_was_known_when_the_study_was_moved_says_nothing(catalog: Catalog) -> None:
    take_inventory(catalog, [a_study()], instances=3)
    plan(catalog, [a_study()], "archive")
    move(catalog, instances=2)
    take_inventory(catalog, [a_study()], instances=3)

    assert catalog.record_plan([a_decision(1, "archive")], NOW) == PlanCounts(under_way=1)


def test_a_study_that_grows_while_a_copy_is_owed_is_not_taken_for_listed_anew(
    catalog: Catalog,
) -> None:
    take_inventory(catalog, [a_study()])
    plan(catalog, [a_study()], "archive", "second")
    job = claim(catalog)
    listed(catalog, job, instances=2)
    store_copy(catalog, job, "archive")
    catalog.finish(job, TransferState.PLANNED, cause="owed", instances_inventory=2)
    take_inventory(catalog, [a_study()], instances=3)
    job = claim(catalog)
    store_copy(catalog, job, "second")
    catalog.finish(job, TransferState.STORED, cause="copied", instances_inventory=2)

    counts = catalog.record_plan([a_decision(1, "archive", "second")], NOW)

    assert counts == PlanCounts(planned=1, grown=1)


def test_a_study_that_has_grown_and_is_to_stay_by_now_is_left_alone(catalog: Catalog) -> None:
    take_inventory(catalog, [a_study()])
    plan(catalog, [a_study()], "archive")
    move(catalog, instances=2)
    take_inventory(catalog, [a_study()], instances=3)

    assert catalog.record_plan([a_decision(1, rule="stays")], NOW) == PlanCounts(under_way=1)


def test_a_study_that_has_grown_with_a_copy_nobody_can_make_is_left_alone(
    catalog: Catalog,
) -> None:
    """A destination that has left the configuration would halt the run of all others."""
    take_inventory(catalog, [a_study()])
    plan(catalog, [a_study()], "archive", "given up")
    move(catalog, instances=2)
    take_inventory(catalog, [a_study()], instances=3)
    decisions = [a_decision(1, "archive")]

    assert catalog.record_plan(decisions, NOW, {"archive"}) == PlanCounts(under_way=1)
    counts = catalog.record_plan(decisions, NOW, {"archive", "given up"})
    assert counts == PlanCounts(planned=1, grown=1)


def test_nothing_was_decided_about_an_unknown_study(catalog: Catalog) -> None:
    assert catalog.decision_of("main", a_study()) is None
    with pytest.raises(AssertionError, match="of the inventory"):
        catalog.record_plan([a_decision(1, "archive")], NOW)
