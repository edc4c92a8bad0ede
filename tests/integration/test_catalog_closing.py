"""Verdicts, repair, quarantine and the closing equation, on both databases."""

from __future__ import annotations

import dataclasses

import pytest

from cloudmig.catalog import Catalog
from cloudmig.catalog.records import BadInstance, CopyToVerify
from cloudmig.errors import CatalogError
from cloudmig.model.quarantine import QuarantineReason
from cloudmig.model.states import CopyState, TransferState
from cloudmig.ports import Listing
from tests.catalog_studies import (
    NOW,
    a_study,
    agree,
    claim,
    plan,
    state_of,
    store,
    store_copy,
    take_inventory,
)

pytest_plugins = ["tests.catalog_fixtures"]

BAD = BadInstance("1.2.840.99.1.1.1", "altered", "k/1.dcm", "v1", "etag")


def disagree(catalog: Catalog, copy: CopyToVerify) -> TransferState | None:
    return catalog.record_verdict(copy, agreed=False, how="READ_BACK", findings=[BAD], at=NOW)


def stored(catalog: Catalog, *destinations: str) -> None:
    take_inventory(catalog, [a_study()])
    plan(catalog, [a_study()], *destinations)
    store(catalog, claim(catalog))


def test_a_study_is_verified_when_every_copy_is(catalog: Catalog) -> None:
    stored(catalog, "archive", "second")
    first, second = catalog.copies_to_verify()

    assert agree(catalog, first) is TransferState.STORED
    assert [copy.destination for copy in catalog.copies_to_verify()] == ["second"]
    assert agree(catalog, second, "STORE_CHECKSUM") is TransferState.VERIFIED
    assert catalog.copies_to_verify() == []
    assert catalog.copies_to_verify(again=True) == [first, second]
    assert catalog.statement().verdicts == {"READ_BACK": 1, "STORE_CHECKSUM": 1}


def test_a_verdict_about_an_older_manifest_comes_too_late(catalog: Catalog) -> None:
    stored(catalog, "archive")
    [copy] = catalog.copies_to_verify()
    before = catalog.transfers()

    for late in (
        dataclasses.replace(copy, manifest_revision=9),
        dataclasses.replace(copy, manifest_sha256="0" * 64),
    ):
        assert agree(catalog, late) is None
        assert disagree(catalog, late) is None

    assert catalog.transfers() == before


def test_a_verdict_waits_while_a_worker_writes(catalog: Catalog) -> None:
    stored(catalog, "archive", "second")
    first, second = catalog.copies_to_verify()
    disagree(catalog, first)
    claim(catalog)

    assert catalog.copies_to_verify() == []
    assert agree(catalog, second) is None


def test_a_difference_is_repaired_twice_and_then_shown_to_a_person(catalog: Catalog) -> None:
    stored(catalog, "archive")

    for repair in (1, 2):
        [copy] = catalog.copies_to_verify()
        assert disagree(catalog, copy) is TransferState.PLANNED
        job = claim(catalog)
        work = catalog.open_work(job)
        assert work.bad == {"archive": [BAD]}
        assert work.copies["archive"].state is CopyState.FAILED
        store(catalog, job, revision=repair + 1)
    [copy] = catalog.copies_to_verify()

    assert disagree(catalog, copy) is TransferState.QUARANTINED
    [item] = catalog.quarantine_items()
    assert item.reason is QuarantineReason.VERIFICATION_FAILED
    assert catalog.claim_next("worker", lease_s=60, sources=["main"]) is None


def test_a_good_verdict_forgives_earlier_repairs(catalog: Catalog) -> None:
    stored(catalog, "archive")
    for revision in range(2, 6):
        [copy] = catalog.copies_to_verify(again=True)
        assert disagree(catalog, copy) is TransferState.PLANNED
        store(catalog, claim(catalog), revision=revision)
        assert agree(catalog, catalog.copies_to_verify()[0]) is TransferState.VERIFIED


def test_what_was_odd_in_lists_of_instances_is_counted_by_study(catalog: Catalog) -> None:
    studies = [a_study(number) for number in range(1, 6)]
    take_inventory(catalog, studies)
    plan(catalog, studies, "archive")
    nameless = "an instance without a usable SOP Instance UID"
    for notes in ((), (nameless,), (nameless, nameless), ("cut at 7",), ("cut at 12",)):
        catalog.record_expected(claim(catalog), Listing((), complete=True, notes=notes))

    assert catalog.listing_notes() == {"main": {nameless: 2, "cut at N": 2}}


def test_parts_cover_every_copy_once(catalog: Catalog) -> None:
    studies = [a_study(number) for number in range(1, 31)]
    take_inventory(catalog, studies)
    plan(catalog, studies, "archive")
    for _ in studies:
        store(catalog, claim(catalog))

    parts = [
        {copy.study for copy in catalog.copies_to_verify(part=part, parts=7)}
        for part in range(1, 8)
    ]

    assert set().union(*parts) == set(studies)
    assert sum(len(part) for part in parts) == len(studies)


def test_copies_to_verify_are_paged_without_a_gap(catalog: Catalog) -> None:
    studies = [a_study(number) for number in range(1, 8)]
    take_inventory(catalog, studies)
    plan(catalog, studies, "archive", "second")
    for _ in studies:
        store(catalog, claim(catalog))

    seen, after = [], None
    while page := catalog.copies_to_verify(after=after, limit=3):
        seen += page
        after = page[-1].copy_id

    assert len(seen) == len(set(seen)) == 14


def test_a_wave_closes_when_everything_is_explained(catalog: Catalog) -> None:
    """One study in every term: verified, quarantined, excluded by two rules."""
    studies = [a_study(number) for number in range(1, 5)]
    take_inventory(catalog, studies, instances=10)
    plan(catalog, studies[:2], "archive")
    plan(catalog, studies[2:3], rule="recent studies stay")
    plan(catalog, studies[3:], rule="research stays")
    first, second = claim(catalog), claim(catalog)
    store(catalog, first, instances=10)
    agree(catalog, catalog.copies_to_verify()[0])
    store_copy(catalog, second, instances=7, completeness="WEAK")
    catalog.finish(
        second,
        TransferState.QUARANTINED,
        cause="3 are not sent",
        reason=QuarantineReason.MISSING_INSTANCES,
        instances_inventory=10,
    )

    unverified = catalog.statement()
    assert unverified.studies.holds
    assert unverified.instances.unexplained == {"unverified": 7}
    assert not unverified.holds
    assert [one.why for one in catalog.unexplained()] == ["stored"]
    with pytest.raises(CatalogError, match="does not hold"):
        catalog.close_wave(NOW, unverified)

    agree(catalog, catalog.copies_to_verify()[0])
    statement = catalog.statement()

    assert statement.holds
    assert (statement.studies.inventory, statement.studies.verified) == (4, 1)
    assert statement.studies.quarantined == 1
    assert statement.studies.excluded == {"recent studies stay": 1, "research stays": 1}
    assert (statement.instances.inventory, statement.instances.verified) == (40, 17)
    assert statement.instances.quarantined == 3
    assert sum(statement.instances.excluded.values()) == 20
    assert statement.weak_copies == 1
    assert statement.quarantine == {"missing_instances": 1}
    assert catalog.close_wave(NOW, statement) == 1
    assert state_of(catalog, first.study) is TransferState.CLOSED
    assert state_of(catalog, second.study) is TransferState.QUARANTINED
    assert [event.kind for event in catalog.ledger()][-2:] == ["study_closed", "wave_closed"]
    assert catalog.statement().holds


def test_what_is_not_done_is_named(catalog: Catalog) -> None:
    studies = [a_study(number) for number in range(1, 5)]
    take_inventory(catalog, studies)
    plan(catalog, studies[:3], "archive")
    store(catalog, claim(catalog))
    claim(catalog)

    statement = catalog.statement()

    assert statement.studies.unexplained == {
        "undecided": 1, "planned": 1, "moving": 1, "stored": 1,
    }  # fmt: skip
    assert {one.why for one in catalog.unexplained()} == set(statement.studies.unexplained)
    assert len(catalog.unexplained(limit=2)) == 2


def test_an_unfinished_study_names_the_destination_that_owes_its_copy(catalog: Catalog) -> None:
    take_inventory(catalog, [a_study(1), a_study(2)])
    plan(catalog, [a_study(1), a_study(2)], "archive", "viewer")
    job = claim(catalog)
    catalog.open_work(job)
    catalog.owe_copy(job, "viewer", "it is down")
    catalog.finish(job, TransferState.PLANNED, cause="owed to viewer")

    assert {one.study: str(one) for one in catalog.unexplained()} == {
        job.study: "planned, owed to viewer",
        ({a_study(1), a_study(2)} - {job.study}).pop(): "planned",
    }


def test_a_verified_study_that_holds_less_than_listed_is_not_explained(catalog: Catalog) -> None:
    take_inventory(catalog, [a_study()])
    plan(catalog, [a_study()], "archive")
    job = claim(catalog)
    store_copy(catalog, job, instances=8)
    catalog.finish(job, TransferState.STORED, cause="", instances_inventory=10)
    agree(catalog, catalog.copies_to_verify()[0])

    statement = catalog.statement()

    assert statement.instances.unexplained == {"short": 2}
    assert [one.why for one in catalog.unexplained()] == ["short"]


def test_more_than_was_listed_is_counted_apart(catalog: Catalog) -> None:
    stored(catalog, "archive")
    [copy] = catalog.copies_to_verify()
    agree(catalog, copy)
    job_free = catalog.statement()
    assert job_free.beyond_inventory == 0

    take_inventory(catalog, [a_study(2)], instances=None)
    plan(catalog, [a_study(2)], "archive")
    job = claim(catalog)
    store_copy(catalog, job, instances=12)
    catalog.finish(job, TransferState.STORED, cause="", instances_inventory=10)
    agree(catalog, catalog.copies_to_verify()[0])

    statement = catalog.statement()
    assert statement.beyond_inventory == 2
    assert statement.instances.inventory == statement.instances.verified == 12
    assert statement.holds


def test_excluded_studies_without_a_count_are_counted_apart(catalog: Catalog) -> None:
    take_inventory(catalog, [a_study()], instances=None)
    plan(catalog, [a_study()], rule="stays")
    assert catalog.statement().excluded_uncounted == 1

    catalog.set_instances_counted("main", a_study(), 42)

    statement = catalog.statement("main")
    assert statement.excluded_uncounted == 0
    assert statement.instances.excluded == {"stays": 42}
    assert catalog.statement("annex").studies.inventory == 0


def test_a_statement_that_is_no_longer_true_closes_nothing(catalog: Catalog) -> None:
    stored(catalog, "archive")
    agree(catalog, catalog.copies_to_verify()[0])
    statement = catalog.statement()
    take_inventory(catalog, [a_study(2)])

    with pytest.raises(CatalogError, match="has changed"):
        catalog.close_wave(NOW, statement)

    assert state_of(catalog, a_study()) is TransferState.VERIFIED


def test_a_person_excludes_what_cannot_be_moved(catalog: Catalog) -> None:
    take_inventory(catalog, [a_study()])
    plan(catalog, [a_study()], "archive")
    catalog.finish(
        claim(catalog), TransferState.QUARANTINED, cause="x",
        reason=QuarantineReason.ALWAYS_FAILS,
    )  # fmt: skip

    catalog.release("main", a_study(), at=NOW, note="no images", exclude_rule="empty studies")

    assert catalog.statement().studies.excluded == {"empty studies": 1}
    with pytest.raises(CatalogError, match="not in quarantine"):
        catalog.release("main", a_study(), at=NOW, note="again")


def test_a_released_study_is_moved_as_a_whole(catalog: Catalog) -> None:
    take_inventory(catalog, [a_study()])
    plan(catalog, [a_study()], "archive", "second")
    job = claim(catalog)
    store_copy(catalog, job, "archive")
    catalog.finish(
        job, TransferState.QUARANTINED, cause="x", reason=QuarantineReason.MISSING_INSTANCES
    )

    catalog.release("main", a_study(), at=NOW, note="found on tape")

    assert [copy.destination for copy in claim(catalog).copies] == ["archive", "second"]


def test_status_counts_everything_once(catalog: Catalog) -> None:
    stored(catalog, "archive", "second")
    agree(catalog, catalog.copies_to_verify()[0])

    counts = catalog.status_counts()

    assert counts.studies == {"main": 1}
    assert counts.transfers == {"main": {TransferState.STORED: 1}}
    assert counts.copies == {
        "archive": {CopyState.VERIFIED: 1}, "second": {CopyState.STORED: 1},
    }  # fmt: skip
    assert (counts.instances_held, counts.bytes_held) == (4, 400)
