"""A destination that is gone for good, as the catalog sees it, on both databases."""

from __future__ import annotations

from collections import Counter

import pytest
import sqlalchemy as sa

from cloudmig.catalog import Catalog, schema
from cloudmig.catalog.giving_up import Fate, GivingUp
from cloudmig.catalog.records import BadInstance
from cloudmig.catalog.replay import rebuild_extras
from cloudmig.errors import LeaseLost
from cloudmig.messages import ObjectVerdict
from cloudmig.model.states import CopyState, TransferState
from tests.catalog_studies import (
    NOW,
    a_receipt,
    a_study,
    agree,
    check_ledger,
    claim,
    plan,
    state_of,
    store,
    store_copy,
    take_inventory,
)

pytest_plugins = ["tests.catalog_fixtures"]

WORD = GivingUp("gone", "its contract has ended")
INSTEAD = GivingUp("gone", "its contract has ended", "dr", {"the archive": "GLACIER_IR"})


def planned(catalog: Catalog, *destinations: str, studies: int = 1) -> None:
    named = [a_study(number) for number in range(1, studies + 1)]
    take_inventory(catalog, named)
    plan(catalog, named, *destinations)


def fates(catalog: Catalog, word: GivingUp) -> dict[Fate, int]:
    return dict(catalog.give_up_copies(word, NOW).fates)


def copies(catalog: Catalog, number: int = 1) -> dict[str, tuple[str, str]]:
    row = catalog.transfer("main", a_study(number))
    assert row is not None
    return {copy.destination: (copy.state.value, copy.storage_class) for copy in row.copies}


def test_a_study_is_judged_by_the_copies_that_are_left(catalog: Catalog) -> None:
    planned(catalog, "archive", "gone", studies=2)
    for _ in range(2):
        store(catalog, claim(catalog))
    first, *_ = [each for each in catalog.copies_to_verify() if each.destination == "archive"]
    agree(catalog, first)
    assert state_of(catalog, first.study) is TransferState.STORED

    assert fates(catalog, WORD) == {Fate.OTHERS: 2}

    assert state_of(catalog, first.study) is TransferState.VERIFIED
    assert copies(catalog) == {"archive": ("verified", "STANDARD")}
    [other] = catalog.copies_to_verify()
    assert other.destination == "archive"
    assert agree(catalog, other) is TransferState.VERIFIED
    assert fates(catalog, WORD) == {}, "it is safe to repeat"
    assert catalog.destinations_held() == ["archive"]
    check_ledger(catalog)


def test_the_ledger_keeps_what_was_given_up_and_why(catalog: Catalog) -> None:
    planned(catalog, "archive", "gone")
    store(catalog, claim(catalog))
    row = catalog.transfer("main", a_study())
    assert row is not None
    [_, held] = row.copies

    catalog.give_up_copies(WORD, NOW)

    [event] = [each for each in catalog.ledger(limit=100) if each.kind == "copy_given_up"]
    assert (event.destination, event.at) == ("gone", NOW)
    assert event.detail == {
        "note": WORD.note, "state": "stored", "manifest_key": held.manifest_key,
        "manifest_sha256": held.manifest_sha256, "instead": {},
    }  # fmt: skip


def test_an_only_copy_is_kept_until_somebody_says_where_else(catalog: Catalog) -> None:
    planned(catalog, "gone")
    store(catalog, claim(catalog))
    agree(catalog, *catalog.copies_to_verify())

    assert fates(catalog, WORD) == {Fate.ONLY_COPY: 1}
    assert copies(catalog) == {"gone": ("verified", "STANDARD")}
    assert state_of(catalog, a_study()) is TransferState.VERIFIED

    assert fates(catalog, INSTEAD) == {Fate.INSTEAD: 1}
    assert copies(catalog) == {"dr": ("planned", "GLACIER_IR")}
    assert state_of(catalog, a_study()) is TransferState.PLANNED
    job = claim(catalog)
    assert [copy.destination for copy in job.copies] == ["dr"]
    store(catalog, job)
    check_ledger(catalog)


def test_a_dry_run_says_the_same_and_changes_nothing(catalog: Catalog) -> None:
    planned(catalog, "archive", "gone")
    store(catalog, claim(catalog))
    before = (copies(catalog), catalog.ledger(limit=100))

    dry = GivingUp("gone", "", dry_run=True)
    assert fates(catalog, dry) == {Fate.OTHERS: 1}

    assert (copies(catalog), catalog.ledger(limit=100)) == before


def test_what_a_worker_has_is_left_and_what_one_has_lost_is_fenced(catalog: Catalog) -> None:
    planned(catalog, "archive", "gone", studies=2)
    claim(catalog)
    late = claim(catalog, lease_s=-1.0)
    catalog.record_receipts(late, [a_receipt(late, 1), a_receipt(late, 1, "gone")])

    assert fates(catalog, WORD) == {Fate.UNDER_WAY: 1, Fate.OTHERS: 1}

    with pytest.raises(LeaseLost):
        store_copy(catalog, late, "gone")
    again = claim(catalog)
    assert again.study == late.study
    assert [copy.destination for copy in again.copies] == ["archive"]
    with catalog._reading() as connection:
        kept = sa.select(schema.open_receipt.c.destination)
        assert list(connection.execute(kept).scalars()) == ["archive"]
    check_ledger(catalog)


def test_a_copy_that_a_repair_waits_for_is_given_up_too(catalog: Catalog) -> None:
    planned(catalog, "archive", "gone")
    store(catalog, claim(catalog))
    kept, lost = catalog.copies_to_verify()
    agree(catalog, kept)
    bad = BadInstance("1.2.3", "missing", "k/1.dcm", None, "")
    catalog.record_verdict(lost, agreed=False, how="READ_BACK", findings=[bad], at=NOW)

    assert fates(catalog, WORD) == {Fate.OTHERS: 1}

    job = claim(catalog)
    assert job.copies == (), "it only wants to be finished"
    catalog.finish(job, TransferState.STORED, cause="")
    assert state_of(catalog, a_study()) is TransferState.VERIFIED
    check_ledger(catalog)


def test_a_grown_study_can_be_planned_again_without_the_copy(catalog: Catalog) -> None:
    """It was left alone for a copy that nobody can make, and kept its wave from closing."""
    planned(catalog, "archive", "gone")
    store(catalog, claim(catalog))
    for copy in catalog.copies_to_verify():
        agree(catalog, copy)
    catalog.close_wave(NOW, catalog.statement())
    catalog.give_up_copies(WORD, NOW)
    assert state_of(catalog, a_study()) is TransferState.CLOSED
    take_inventory(catalog, [a_study()], instances=3)

    plan(catalog, [a_study()], "archive")

    assert state_of(catalog, a_study()) is TransferState.PLANNED
    check_ledger(catalog)


def test_many_copies_are_given_up_page_by_page(catalog: Catalog) -> None:
    planned(catalog, "archive", "gone", studies=7)
    found, after, pages = Counter[Fate](), 0, 0
    while True:
        page = catalog.give_up_copies(WORD, NOW, after=after, limit=3)
        found.update(page.fates)
        pages += 1
        if page.after is None:
            break
        after = page.after

    assert (found, pages) == ({Fate.OTHERS: 7}, 3)
    assert {copy.state for row in catalog.transfers() for copy in row.copies} == {CopyState.PLANNED}
    assert catalog.destinations_held() == ["archive"]


def test_an_object_in_no_manifest_there_waits_for_nobody_any_more(catalog: Catalog) -> None:
    planned(catalog, "archive", "gone")
    for destination in ("archive", "gone"):
        verdict = ObjectVerdict(
            bucket="images", prefix="", key="k/9.dcm", archive="main",
            study_instance_uid=a_study().study_instance_uid, series_instance_uid="",
            sop_instance_uid="", finding="orphan", how="STREAMED", at=NOW.isoformat(), etag='"e"',
        )  # fmt: skip
        catalog.hear_object_verdict(destination, "main", verdict, at=NOW)

    assert catalog.give_up_extras(GivingUp("gone", "", dry_run=True), NOW) == 1
    assert len(catalog.quarantine_items()) == 2
    assert catalog.give_up_extras(WORD, NOW) == 1
    [item] = catalog.quarantine_items()
    assert item.detail["destination"] == "archive"
    assert {extra.destination: told.waits for extra, told in rebuild_extras(
        catalog.ledger(limit=100)
    ).items()} == {"archive": True, "gone": False}  # fmt: skip
