"""The states of a transfer and of a copy, and the only legal moves between them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

__all__ = [
    "COPY_MOVES", "DONE", "TO_MAKE", "TRANSFER_MOVES", "CopyState", "TransferState", "advance",
    "advance_copy",
]  # fmt: skip


class TransferState(Enum):
    """Where the move of one study stands."""

    EXCLUDED = "excluded"  #: A named rule keeps the study where it is.
    PLANNED = "planned"  #: Decided; nobody works on it.
    MOVING = "moving"  #: A worker holds the lease and instances are flowing.
    STORED = "stored"  #: Every planned copy holds every expected instance and its manifest.
    VERIFIED = "verified"  #: An independent check agreed with every copy's manifest.
    QUARANTINED = "quarantined"  #: Waits for a person.
    CLOSED = "closed"  #: Signed off in a closing statement.


class CopyState(Enum):
    """Where one copy of a study, at one destination, stands."""

    PLANNED = "planned"  #: Nothing is there for certain.
    OWED = "owed"  #: The destination was down; made later.
    STORED = "stored"  #: Every instance has a receipt and the manifest lies beside them.
    VERIFIED = "verified"  #: A verdict agreed with the manifest.
    FAILED = "failed"  #: A verdict named differences; to be repaired.


#: Studies whose planned copies were all made.
DONE = (TransferState.STORED, TransferState.VERIFIED, TransferState.CLOSED)

#: Copies that somebody still has to make.
TO_MAKE = (CopyState.PLANNED, CopyState.OWED, CopyState.FAILED)

_T = TransferState

#: The only legal moves of a transfer. Everything that changes a state goes through `advance`.
TRANSFER_MOVES: Mapping[TransferState, frozenset[TransferState]] = {
    _T.EXCLUDED: frozenset({_T.PLANNED}),
    _T.PLANNED: frozenset({_T.MOVING, _T.EXCLUDED, _T.QUARANTINED}),
    _T.MOVING: frozenset({_T.MOVING, _T.PLANNED, _T.STORED, _T.QUARANTINED, _T.EXCLUDED}),
    _T.STORED: frozenset({_T.VERIFIED, _T.PLANNED, _T.QUARANTINED}),
    _T.VERIFIED: frozenset({_T.CLOSED, _T.PLANNED, _T.QUARANTINED}),
    _T.QUARANTINED: frozenset({_T.PLANNED, _T.EXCLUDED}),
    _T.CLOSED: frozenset({_T.PLANNED}),  # A late object in the PACS reopens a study.
}

_C = CopyState

#: The only legal moves of a copy.
COPY_MOVES: Mapping[CopyState, frozenset[CopyState]] = {
    _C.PLANNED: frozenset({_C.OWED, _C.STORED}),
    _C.OWED: frozenset({_C.OWED, _C.STORED, _C.PLANNED}),
    _C.STORED: frozenset({_C.STORED, _C.VERIFIED, _C.FAILED, _C.PLANNED}),
    _C.VERIFIED: frozenset({_C.STORED, _C.VERIFIED, _C.FAILED, _C.PLANNED}),
    _C.FAILED: frozenset({_C.STORED, _C.FAILED, _C.PLANNED}),
}


def advance(current: TransferState, new: TransferState) -> TransferState:
    """Return `new` if the move is legal. An illegal move is a bug, not an event."""
    assert new in TRANSFER_MOVES[current], f"illegal move: {current.value} -> {new.value}"
    return new


def advance_copy(current: CopyState, new: CopyState) -> CopyState:
    """Return `new` if the move is legal. An illegal move is a bug, not an event."""
    assert new in COPY_MOVES[current], f"illegal move of a copy: {current.value} -> {new.value}"
    return new
