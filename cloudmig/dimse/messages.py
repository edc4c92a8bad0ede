"""What the layers above exchange with `dimse/`: commands, answers, and who takes the objects."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Protocol

__all__ = ["FindAnswer", "ObjectSink", "StoreCommand", "StoreHandler", "SubOperations"]


@dataclass(frozen=True, slots=True)
class StoreCommand:
    """A C-STORE request (PS3.7 9.3.1.1), and who sent it.

    The UIDs are what the peer sent without its padding. They may be empty or invalid: whoever
    takes the object decides about that.
    """

    message_id: int
    affected_sop_class_uid: str
    affected_sop_instance_uid: str
    transfer_syntax_uid: str
    context_id: int
    move_originator_aet: str
    move_originator_message_id: int | None
    calling_aet: str
    called_aet: str
    peer_host: str


class ObjectSink(Protocol):
    """Takes the data set of one object as it arrives.

    - After `begin` exactly one of `finish` and `discard` is called, once.
    - An exception out of any method is a bug: it is reported and the association is aborted.
    """

    def write(self, data: memoryview) -> Awaitable[None] | None:
        """Take a piece.

        - `data` is valid during the call only.
        - While a returned awaitable is not done, nothing more is read from the association.
        """

    def finish(self) -> int | Awaitable[int]:
        """Return the status to answer; the peer waits for it (PS3.7 9.1.1.1.9).

        - Returned at once it costs no task, and the peer no turn of the loop.
        - An awaitable runs on when the association is lost; then the status reaches nobody.
        - It is cancelled when the server closes and its grace is over.
        """

    def too_large(self) -> None:
        """Note that the object exceeds the limit: the association ends, `discard` follows."""

    def discard(self) -> None:
        """Forget the object: it will never be complete."""


class StoreHandler(Protocol):
    """Takes the objects of one association."""

    def begin(self, command: StoreCommand) -> ObjectSink | int:
        """Return who takes the object, or the status that refuses it."""

    def closed(self) -> None:
        """Note that no further object comes. A `finish` may still be running."""


@dataclass(frozen=True, slots=True)
class FindAnswer:
    """One C-FIND answer (PS3.7 9.1.2): a match while the status is pending, else the end."""

    status: int
    identifier: bytes  #: As encoded by the peer; empty in the final answer.
    transfer_syntax_uid: str


@dataclass(frozen=True, slots=True)
class SubOperations:
    """One C-MOVE or C-GET answer (PS3.7 9.1.3, 9.1.4). Counts are what the peer claims, or None."""

    status: int
    remaining: int | None
    completed: int | None
    failed: int | None
    warning: int | None
    identifier: bytes | None  #: Encoded data set with the Failed SOP Instance UID List, if any.
    transfer_syntax_uid: str
