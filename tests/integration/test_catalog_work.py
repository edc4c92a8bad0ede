"""Claims, leases, fences and what workers write down, on both databases."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from cloudmig.catalog import Catalog
from cloudmig.catalog.records import BadInstance
from cloudmig.errors import LeaseLost
from cloudmig.model.instance import ExpectedInstance, Slot
from cloudmig.model.quarantine import QuarantineReason
from cloudmig.model.states import CopyState, TransferState
from cloudmig.model.transfer import CopyPlan, TransferJob
from cloudmig.ports import Listing
from tests.catalog_studies import (
    NOW,
    a_receipt,
    a_study,
    an_instance,
    claim,
    plan,
    state_of,
    store,
    store_copy,
    take_inventory,
)

pytest_plugins = ["tests.catalog_fixtures"]


def planned(catalog: Catalog, count: int = 1, *destinations: str) -> None:
    studies = [a_study(number) for number in range(1, count + 1)]
    take_inventory(catalog, studies)
    plan(catalog, studies, *(destinations or ("archive",)))


def test_the_most_urgent_goes_first_then_the_newest_and_the_dateless_last(
    catalog: Catalog,
) -> None:
    studies = [a_study(number) for number in range(1, 6)]
    dates = ["19990101", "", "20240101", "20100101", "19800101"]
    take_inventory(catalog, studies, dates=dates)
    plan(catalog, studies[:4], "archive", priority=5)
    plan(catalog, studies[4:], "archive", priority=1)

    claimed = [claim(catalog).study for _ in studies]

    assert claimed == [studies[number - 1] for number in (5, 3, 4, 1, 2)]
    assert catalog.claim_next("worker", lease_s=60, sources=["main"]) is None


def test_only_the_named_sources_are_worked_on(catalog: Catalog) -> None:
    take_inventory(catalog, [a_study(1)], source="main")
    take_inventory(catalog, [a_study(1)], source="annex")
    plan(catalog, [a_study(1)], "archive", source="annex")

    assert catalog.claim_next("worker", lease_s=60, sources=["main"]) is None
    assert catalog.seconds_until_work(["main"]) is None
    job = catalog.claim_next("worker", lease_s=60, sources=["main", "annex"])
    assert job is not None
    assert job.source == "annex"


def test_a_claim_says_what_is_known(catalog: Catalog) -> None:
    planned(catalog, 1, "archive", "second")

    job = claim(catalog)

    assert (job.attempt, job.failures, job.instances_claimed) == (1, 0, 2)
    assert job.copies == (CopyPlan("archive", "STANDARD"), CopyPlan("second", "STANDARD"))


def test_a_study_put_back_waits_for_its_time(catalog: Catalog) -> None:
    planned(catalog)
    assert catalog.seconds_until_work(["main"]) == 0

    catalog.finish(claim(catalog), TransferState.PLANNED, cause="busy", delay_s=300, failed=True)

    assert catalog.claim_next("worker", lease_s=60, sources=["main"]) is None
    wait_s = catalog.seconds_until_work(["main"])
    assert wait_s is not None
    assert 290 < wait_s <= 300


def test_a_study_whose_time_has_come_is_claimed_again(catalog: Catalog) -> None:
    planned(catalog)
    catalog.finish(claim(catalog), TransferState.PLANNED, cause="busy", delay_s=0.001, failed=True)
    while catalog.seconds_until_work(["main"]):
        pass  # A millisecond by the database's clock.

    job = claim(catalog)

    assert (job.attempt, job.failures) == (2, 1)


def test_a_time_that_a_wrong_clock_has_set_is_not_waited_for(catalog: Catalog) -> None:
    """Of a machine that believed itself in the year after next, say."""
    planned(catalog, 2)
    for delay_s in (300.0, 2 * 365 * 86_400.0):
        catalog.finish(claim(catalog), TransferState.PLANNED, cause="busy", delay_s=delay_s)

    assert catalog.wake_far() == 1
    assert catalog.seconds_until_work(["main"]) == 0
    claim(catalog)
    assert catalog.claim_next("worker", lease_s=60, sources=["main"]) is None, "the other waits"


def test_an_expired_lease_is_taken_over_and_the_ledger_says_from_whom(catalog: Catalog) -> None:
    planned(catalog)
    claim(catalog, "slow", lease_s=0)

    job = claim(catalog, "quick")

    assert job.attempt == 2
    last = catalog.ledger()[-1]
    assert last.kind == "study_claimed"
    assert last.detail == {"owner": "quick", "lapsed_owner": "slow"}


def test_a_renewed_lease_is_not_taken_over(catalog: Catalog) -> None:
    planned(catalog)
    job = claim(catalog, "slow", lease_s=0)

    catalog.renew(job, 60)

    assert catalog.claim_next("quick", lease_s=60, sources=["main"]) is None


#: Everything a worker can write. A new write belongs into this list.
WRITES: dict[str, Callable[[Catalog, TransferJob], object]] = {
    "renew": lambda catalog, job: catalog.renew(job, 60),
    "open_work": lambda catalog, job: catalog.open_work(job),
    "record_expected": lambda catalog, job: catalog.record_expected(job, Listing((), True)),
    "record_receipts": lambda catalog, job: catalog.record_receipts(job, [a_receipt(job)]),
    "record_finding": lambda catalog, job: catalog.record_finding(
        job, "conflict_found", QuarantineReason.CONFLICT, {}, an_instance(job.study)
    ),
    "record_strays": lambda catalog, job: catalog.record_strays(job, 1),
    "record_copy": store_copy,
    "owe_copy": lambda catalog, job: catalog.owe_copy(job, "archive", "down"),
    "reopen_copies": lambda catalog, job: catalog.reopen_copies(job, ["archive"]),
    "finish": lambda catalog, job: catalog.finish(job, TransferState.PLANNED, cause=""),
    "finish_quarantined": lambda catalog, job: catalog.finish(
        job, TransferState.QUARANTINED, cause="", reason=QuarantineReason.CONFLICT
    ),
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("then", ["claimed", "finished"])
def test_an_agent_paused_past_its_lease_can_write_nothing(
    catalog: Catalog, write: str, then: str
) -> None:
    planned(catalog)
    paused = claim(catalog, "paused", lease_s=0)
    other = claim(catalog, "other")
    if then == "finished":
        store(catalog, other)
    before = (catalog.transfers(), catalog.ledger(), catalog.quarantine_items())

    with pytest.raises(LeaseLost):
        WRITES[write](catalog, paused)

    assert (catalog.transfers(), catalog.ledger(), catalog.quarantine_items()) == before


def test_of_two_agents_only_the_second_moves_the_study(url: str) -> None:
    """Two catalogs are two agents: nothing of the paused one gets in, all of the other does."""
    with Catalog.open(url) as first, Catalog.open(url) as second:
        planned(first, 20)
        refused = 0
        for _ in range(20):
            paused = claim(first, "first", lease_s=0)
            fresh = claim(second, "second")
            assert fresh.study == paused.study
            for write in WRITES.values():
                with pytest.raises(LeaseLost):
                    write(first, paused)
                refused += 1
            store(second, fresh)

        assert refused == 20 * len(WRITES)
        states = [row.state for row in first.transfers()]
        assert states == [TransferState.STORED] * 20
        stored = [event.attempt for event in second.ledger() if event.kind == "study_stored"]
        assert stored == [2] * 20


def test_four_threads_never_share_a_claim(url: str) -> None:
    with Catalog.open(url) as catalog:
        planned(catalog, 120)
    claims: list[tuple[str, int]] = []
    start = threading.Barrier(4)

    def work(owner: str) -> None:
        with Catalog.open(url) as mine:
            start.wait()
            while job := mine.claim_next(owner, lease_s=60, sources=["main"]):
                claims.append((owner, job.transfer_id))

    threads = [threading.Thread(target=work, args=(f"worker-{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(claims) == 120
    assert len({transfer_id for _, transfer_id in claims}) == 120


def test_open_work_returns_what_the_last_attempt_wrote_down(catalog: Catalog) -> None:
    planned(catalog)
    job = claim(catalog, lease_s=0)
    expected = tuple(ExpectedInstance(an_instance(job.study, n), "1.2.3") for n in (1, 2))
    catalog.record_expected(job, Listing(expected, True, ("a note",), 1))
    first, second = a_receipt(job, 1), a_receipt(job, 2)
    catalog.record_receipts(job, [first, second])
    catalog.record_receipts(job, [first])

    work = catalog.open_work(claim(catalog))

    assert work.expected == expected
    assert (work.listing_complete, work.notes, work.series_found) == (True, ("a note",), 1)
    assert work.receipts == {
        "archive": {row.instance.sop_instance_uid: row for row in (first, second)}
    }


def test_a_conflict_lies_beside_the_first_receipt(catalog: Catalog) -> None:
    planned(catalog)
    job = claim(catalog)
    first = a_receipt(job, 1)
    other = a_receipt(job, 7)
    beside = type(first)("archive", first.instance, "1.2.3", "1.2.4", Slot.CONFLICT, other.receipt)

    catalog.record_receipts(job, [first, beside])

    work = catalog.open_work(job)
    assert work.receipts["archive"] == {first.instance.sop_instance_uid: first}
    assert work.beside["archive"] == [beside]


def test_a_newer_listing_replaces_the_older(catalog: Catalog) -> None:
    planned(catalog)
    job = claim(catalog)
    one, two = (ExpectedInstance(an_instance(job.study, n)) for n in (1, 2))
    catalog.record_expected(job, Listing((one, two), True))

    catalog.record_expected(job, Listing((two,), False))

    work = catalog.open_work(job)
    assert work.expected == (two,)
    assert work.listing_complete is False


def test_open_rows_go_when_a_study_is_stored_and_stay_when_it_is_not(catalog: Catalog) -> None:
    planned(catalog)
    job = claim(catalog)
    catalog.record_receipts(job, [a_receipt(job)])
    catalog.finish(job, TransferState.PLANNED, cause="busy")
    job = claim(catalog)
    assert catalog.open_work(job).receipts["archive"]

    store(catalog, job)

    [copy] = catalog.copies_to_verify()
    bad = BadInstance("1.2.840.99.1.1.1", "altered", "k/1.dcm", "v1", "etag")
    catalog.record_verdict(copy, agreed=False, how="READ_BACK", findings=[bad], at=NOW)
    work = catalog.open_work(claim(catalog))
    assert work.receipts["archive"] == {}
    assert work.bad == {"archive": [bad]}


def test_a_study_is_not_stored_while_a_copy_is_missing(catalog: Catalog) -> None:
    planned(catalog, 1, "archive", "second")
    job = claim(catalog)
    store_copy(catalog, job, "archive")
    catalog.owe_copy(job, "second", "down")

    with pytest.raises(AssertionError, match="every copy"):
        catalog.finish(job, TransferState.STORED, cause="")

    catalog.finish(job, TransferState.PLANNED, cause="owed", delay_s=0)
    again = claim(catalog)
    assert again.copies == (CopyPlan("second", "STANDARD"),)
    store(catalog, again)
    assert state_of(catalog, job.study) is TransferState.STORED


def test_a_finding_is_told_once_however_often_it_is_found(catalog: Catalog) -> None:
    planned(catalog)
    for _ in range(3):
        job = claim(catalog, lease_s=0)
        waits = catalog.record_finding(
            job, "conflict_found", QuarantineReason.CONFLICT, {"digest": "ab"},
            an_instance(job.study),
        )  # fmt: skip
        noted = catalog.record_finding(
            job, "variant_found", None, {"digests": ("ab", "cd")}, an_instance(job.study)
        )
        assert waits
        assert not noted

    assert len(catalog.quarantine_items()) == 1
    kinds = [event.kind for event in catalog.ledger()]
    assert kinds.count("conflict_found") == 1
    assert kinds.count("variant_found") == 1


def test_what_a_person_released_is_not_raised_again(catalog: Catalog) -> None:
    planned(catalog)
    job = claim(catalog)
    finding = ("conflict_found", QuarantineReason.CONFLICT, {"digest": "ab"})
    instance = an_instance(job.study)
    catalog.record_finding(job, *finding, instance)
    catalog.finish(
        job, TransferState.QUARANTINED, cause="conflict", reason=QuarantineReason.CONFLICT
    )
    assert len(catalog.quarantine_items()) == 2

    catalog.release("main", job.study, at=NOW, note="the first is right")

    assert catalog.quarantine_items() == []
    assert len(catalog.quarantine_items(released=True)) == 2
    again = claim(catalog)
    assert again.failures == 0
    assert not catalog.record_finding(again, *finding, instance)
    assert catalog.open_work(again).waiting == ()
    [accepted] = [one for one in catalog.open_work(again).released if one.sop_instance_uid]
    assert accepted.sop_instance_uid == instance.sop_instance_uid
    assert accepted.note == "the first is right"


def test_what_a_later_attempt_has_put_right_waits_for_nobody(catalog: Catalog) -> None:
    """Of a study that is stored nothing could be released any more."""
    planned(catalog)
    job = claim(catalog)
    finding = ("instance_refused", QuarantineReason.REFUSED_BY_DESTINATION, {"why": "busy"})
    instance = an_instance(job.study)
    assert catalog.record_finding(job, *finding, instance)
    catalog.finish(job, TransferState.PLANNED, cause="another one is missing")
    again = claim(catalog)
    [waiting] = catalog.open_work(again).waiting
    assert waiting.sop_instance_uid == instance.sop_instance_uid

    store(catalog, again)

    assert catalog.quarantine_items() == []
    [settled] = catalog.quarantine_items(released=True)
    assert settled.note == "settled by a later attempt"
    assert [event.detail for event in catalog.ledger() if event.kind == "findings_settled"] == [
        {"findings": 1}
    ]

    [copy] = catalog.copies_to_verify()
    bad = [BadInstance(instance.sop_instance_uid, "altered", "key")]
    catalog.record_verdict(copy, agreed=False, how="READ_BACK", findings=bad, at=NOW)
    assert catalog.record_finding(claim(catalog), *finding, instance), "no person let it pass"


def test_a_clean_stop_puts_everything_back(catalog: Catalog) -> None:
    planned(catalog, 3)
    mine = [claim(catalog, "mine") for _ in range(2)]
    claim(catalog, "another")

    assert catalog.put_back_all("mine") == 2

    assert {state_of(catalog, job.study) for job in mine} == {TransferState.PLANNED}
    assert catalog.seconds_until_work(["main"]) == 0
    with pytest.raises(LeaseLost):
        catalog.renew(mine[0], 60)


def test_a_stored_copy_remembers_its_manifest(catalog: Catalog) -> None:
    planned(catalog)
    job = claim(catalog)

    store_copy(catalog, job, revision=3, completeness="WEAK")

    copy = catalog.open_work(job).copies["archive"]
    assert (copy.state, copy.manifest_revision, copy.completeness) == (CopyState.STORED, 3, "WEAK")
