"""Second contents of a copy: each is found by its name, however many conflicts a study has."""

from __future__ import annotations

from typing import Any, cast

from cloudmig.catalog.records import ReceiptRow
from cloudmig.model.instance import Location, Receipt, Slot
from cloudmig.model.references import InstanceRef
from cloudmig.pipeline.attempt import CopyInProgress

CONFLICTS = 200


class Watched:
    """A receipt of a second content that counts how often it is looked at."""

    looks = 0

    def __init__(self, number: int) -> None:
        self._row = a_receipt(number)

    @property
    def instance(self) -> InstanceRef:
        Watched.looks += 1
        return self._row.instance

    @property
    def receipt(self) -> Receipt:
        Watched.looks += 1
        return self._row.receipt


def a_receipt(number: int, sop_instance_uid: str = "", etag: str = "") -> ReceiptRow:
    ref = InstanceRef("1.2.3", "1.2.3.4", sop_instance_uid or f"1.2.3.4.{number}")
    place = Location(f"{ref.sop_instance_uid}~{number}.dcm")
    receipt = Receipt(place, 1, "0" * 64, f"{number:064x}", etag, "STANDARD")
    return ReceiptRow(
        "archive", ref, "1.2", "1.2", Slot.CONFLICT, receipt, unexpected=False, stored_at=""
    )


def a_copy() -> CopyInProgress:
    nothing = cast("Any", None)
    return CopyInProgress(nothing, "", nothing, {}, {}, {}, {})


def test_a_conflict_is_noted_without_a_look_at_those_before() -> None:
    """With 30,000 of them an agent did nothing else for 34 s."""
    copy = a_copy()

    for number in range(CONFLICTS):
        row = cast("ReceiptRow", Watched(number))
        copy.note_beside(row)
        assert copy.held_beside(f"1.2.3.4.{number}") == {f"{number:064x}"}

    assert Watched.looks <= 5 * CONFLICTS
    assert len(copy.rows()) == CONFLICTS


def test_each_content_is_held_once_and_the_newer_receipt_counts() -> None:
    copy = a_copy()
    one, two, again = (
        a_receipt(1, "1.2.3.4.9"), a_receipt(2, "1.2.3.4.9"), a_receipt(1, "1.2.3.4.9", "new"),
    )  # fmt: skip

    for row in (one, two, again):
        copy.note_beside(row)

    assert copy.held_beside("1.2.3.4.9") == {f"{1:064x}", f"{2:064x}"}
    assert copy.held_beside("1.2.3.4.8") == set()
    assert copy.rows() == [again, two]
