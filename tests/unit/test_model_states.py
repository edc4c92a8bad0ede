"""The tables of states are asked every question they can be asked."""

from __future__ import annotations

import itertools

import pytest

from cloudmig.model.quarantine import QuarantineReason
from cloudmig.model.states import (
    COPY_MOVES,
    TRANSFER_MOVES,
    CopyState,
    TransferState,
    advance,
    advance_copy,
)

TRANSFER_TABLE = """
             excluded planned moving stored verified quarantined closed
excluded     .        x       .      .      .        .           .
planned      x        .       x      .      .        x           .
moving       x        x       x      x      .        x           .
stored       .        x       .      .      x        x           .
verified     .        x       .      .      .        x           x
quarantined  x        x       .      .      .        .           .
closed       .        x       .      .      .        .           .
"""

COPY_TABLE = """
             planned owed stored verified failed
planned      .       x    x      .        .
owed         x       x    x      .        .
stored       x       .    x      x        x
verified     x       .    x      x        x
failed       x       .    x      .        x
"""


def legal(table: str) -> set[tuple[str, str]]:
    """Read a table: rows are where a move starts, columns where it ends."""
    head, *rows = [line.split() for line in table.strip().splitlines()]
    return {
        (row[0], column)
        for row in rows
        for column, mark in zip(head, row[1:], strict=True)
        if mark == "x"
    }


@pytest.mark.parametrize(("current", "new"), list(itertools.product(TransferState, repeat=2)))
def test_every_pair_of_transfer_states_is_decided(
    current: TransferState, new: TransferState
) -> None:
    if (current.value, new.value) in legal(TRANSFER_TABLE):
        assert advance(current, new) is new
    else:
        with pytest.raises(AssertionError, match=f"{current.value} -> {new.value}"):
            advance(current, new)


@pytest.mark.parametrize(("current", "new"), list(itertools.product(CopyState, repeat=2)))
def test_every_pair_of_copy_states_is_decided(current: CopyState, new: CopyState) -> None:
    if (current.value, new.value) in legal(COPY_TABLE):
        assert advance_copy(current, new) is new
    else:
        with pytest.raises(AssertionError, match=f"{current.value} -> {new.value}"):
            advance_copy(current, new)


def test_every_state_has_a_row_and_can_be_reached_from_planned() -> None:
    for moves, start in ((TRANSFER_MOVES, TransferState.PLANNED), (COPY_MOVES, CopyState.PLANNED)):
        assert set(moves) == set(type(start))
        reached = {start}
        while more := set().union(*(moves[state] for state in reached)) - reached:
            reached |= more
        assert reached == set(type(start))


def test_nothing_is_closed_that_was_not_verified() -> None:
    before_closed = {
        state for state, moves in TRANSFER_MOVES.items() if TransferState.CLOSED in moves
    }

    assert before_closed == {TransferState.VERIFIED}


def test_nothing_is_verified_that_was_not_stored() -> None:
    """The verdict of a failed copy comes after its repair was stored."""
    to_verified = {state for state, moves in COPY_MOVES.items() if CopyState.VERIFIED in moves}

    assert to_verified == {CopyState.STORED, CopyState.VERIFIED}


@pytest.mark.parametrize("reason", list(QuarantineReason))
def test_every_reason_for_quarantine_says_what_happened(reason: QuarantineReason) -> None:
    assert reason.explanation.endswith(".")
    assert len(reason.explanation) > 20
