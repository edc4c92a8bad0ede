"""The desk where arriving objects are matched to the retrieve that asked for them.

Parallel C-MOVEs to one AE title cannot be told apart by what C-STORE says of itself (the move
originator is optional), so an object belongs to the running retrieve of the study that its own
data set names. Early acknowledgement is for objects that were asked for; all else waits.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Iterator
from typing import TYPE_CHECKING

from cloudmig.dicom.header import Identity
from cloudmig.dimse.contexts import ENCAPSULATED_TRANSFER_SYNTAX_UIDS
from cloudmig.dimse.messages import StoreCommand
from cloudmig.dimse.status import CANNOT_UNDERSTAND, OUT_OF_RESOURCES, SUCCESS
from cloudmig.errors import SpoolFull
from cloudmig.model.instance import StagedInstance
from cloudmig.model.quarantine import QuarantineReason
from cloudmig.model.references import is_usable_uid
from cloudmig.sources.arrivals import (
    HeldArrival,
    has_plain_pixels,
    identity_of,
    is_torn,
    judge_identity,
    staged_instance,
)
from cloudmig.staging import StagedBytes, StagingArea, StagingWriter

if TYPE_CHECKING:
    from cloudmig.sources.dimse.retrieval import DimseRetrieval

__all__ = ["ArrivalDesk", "DeskHandler", "DimseArrival"]

_NOT_AUTHORIZED = 0x0124  #: PS3.7 C.5.21: no plan covers this object.

#: A sign of life for the retrieve after so many bytes: often enough for any idle timer.
_TELL_EVERY_BYTES = 1 << 20

#: A late answer waits this long for the receipts; senders give up at 30 s.
_LATE_ANSWER_MAX_S = 25.0


class DimseArrival(HeldArrival):
    """One object that arrived for a retrieve, and whose sender may still wait for our answer."""

    __slots__ = ("_settled",)

    def __init__(
        self, staged: StagedInstance, held: StagedBytes, *, unexpected: bool, trouble: str
    ) -> None:
        super().__init__(staged, held, unexpected=unexpected, trouble=trouble)
        self._settled: asyncio.Future[bool] | None = None

    def settle(self, *, stored: bool) -> None:
        """Give the room back and answer a sender that still waits."""
        super().settle(stored=stored)
        if self._settled is not None and not self._settled.done():
            self._settled.set_result(stored)

    def outcome(self) -> Awaitable[bool]:
        """Return what waits, from now on, until it is settled; False when that takes too long."""
        self._settled = asyncio.get_running_loop().create_future()
        return self._outcome(self._settled)

    async def _outcome(self, settled: asyncio.Future[bool]) -> bool:
        try:
            async with asyncio.timeout(_LATE_ANSWER_MAX_S):
                return await settled
        except TimeoutError:
            return False


class ArrivalDesk:
    """Knows the running retrieves of all sources by our AE title and study."""

    def __init__(self, area: StagingArea) -> None:
        self.area = area
        self._running: dict[str, dict[str, DimseRetrieval]] = {}
        self.refused = 0  #: Objects turned away, since the start.

    @contextlib.contextmanager
    def register(self, calling_aet: str, retrieval: DimseRetrieval) -> Iterator[None]:
        """Let objects of the retrieve's study in while the block runs."""
        of_aet = self._running.setdefault(calling_aet, {})
        study_instance_uid = retrieval.request.study.study_instance_uid
        assert study_instance_uid not in of_aet, "one pull of a study at a time"
        of_aet[study_instance_uid] = retrieval
        try:
            yield
        finally:
            del of_aet[study_instance_uid]

    def only_transfer_syntax(self, our_aet: str) -> str | None:
        """Return the one syntax that a retrieve on this AE title asks for, if there is one."""
        for retrieval in self._running.get(our_aet, {}).values():
            if retrieval.request.transfer_syntax_uid is not None:
                return retrieval.request.transfer_syntax_uid
        return None

    def running(self, our_aet: str) -> list[DimseRetrieval]:
        """Return the running retrieves on one of our AE titles."""
        return list(self._running.get(our_aet, {}).values())

    def owner(
        self, our_aet: str, identity: Identity, command: StoreCommand
    ) -> DimseRetrieval | None:
        """Return the retrieve an object belongs to: by its study, else by what it was called."""
        of_aet = self._running.get(our_aet, {})
        found = of_aet.get(identity.study_instance_uid)
        if found is not None or is_usable_uid(identity.study_instance_uid):
            return found
        # A data set that does not say which study it is of: the sender called it something.
        for retrieval in of_aet.values():
            if command.affected_sop_instance_uid in retrieval.request.expected:
                return retrieval
        return next(iter(of_aet.values())) if len(of_aet) == 1 else None


class DeskHandler:
    """Takes the objects of one association (`dimse.StoreHandler`)."""

    def __init__(self, desk: ArrivalDesk, our_aet: str, credit_bytes: int) -> None:
        self._desk = desk
        self._our_aet = our_aet
        self._credit = credit_bytes
        self._closed = False

    def begin(self, command: StoreCommand) -> _Intake | int:
        """Start an object, unless nobody on this AE title waits for any."""
        running = self._desk.running(self._our_aet)
        if not running:
            self._desk.refused += 1
            return _NOT_AUTHORIZED
        writer = self._desk.area.open(
            sop_class_uid=command.affected_sop_class_uid,
            sop_instance_uid=command.affected_sop_instance_uid,
            transfer_syntax_uid=command.transfer_syntax_uid,
            credit_bytes=self._credit,
        )
        self._credit = 0
        waiting = [
            retrieval
            for retrieval in running
            if command.affected_sop_instance_uid in retrieval.request.expected
        ]
        return _Intake(self, self._desk, self._our_aet, command, writer, waiting)

    def renew_credit_at_once(self) -> bool:
        """Get the credit of the next object if it is free."""
        credit = self._desk.area.take_credit_at_once()
        if credit is None:
            return False
        self._use(credit)
        return True

    async def renew_credit(self) -> None:
        """Get the credit of the next object; the answer of this one waits for it."""
        self._use(await self._desk.area.take_credit())

    def _use(self, credit: int) -> None:
        if self._closed:
            self._desk.area.memory.give(credit)
        else:
            self._credit = credit

    def closed(self) -> None:
        """Give the unused credit back."""
        self._closed = True
        self._desk.area.memory.give(self._credit)
        self._credit = 0


class _Intake:
    """One object on its way in (`dimse.ObjectSink`)."""

    __slots__ = ("_command", "_desk", "_handler", "_our_aet", "_untold", "_waiting", "_writer")

    def __init__(
        self,
        handler: DeskHandler,
        desk: ArrivalDesk,
        our_aet: str,
        command: StoreCommand,
        writer: StagingWriter,
        waiting: list[DimseRetrieval],
    ) -> None:
        self._handler = handler
        self._desk = desk
        self._our_aet = our_aet
        self._command = command
        self._writer = writer
        self._waiting = waiting
        self._untold = 0
        for retrieval in waiting:
            retrieval.in_flight += 1

    def write(self, data: memoryview) -> Awaitable[None] | None:
        self._untold += len(data)
        if self._untold >= _TELL_EVERY_BYTES:
            self._untold = 0
            for retrieval in self._waiting:
                retrieval.touch()
        return self._writer.write(data)

    def too_large(self) -> None:
        for retrieval in self._waiting:
            retrieval.evidence.too_large.add(self._command.affected_sop_instance_uid)

    def discard(self) -> None:
        self._no_longer_in_flight()
        self._writer.discard()

    def finish(self) -> int | Awaitable[int]:
        held = self._writer.complete_at_once()
        if held is None:
            finishing = asyncio.ensure_future(self._finish_spilled())
            finishing.add_done_callback(self._let_go)
            return finishing
        status = self._take(held)
        if isinstance(status, int) and self._handler.renew_credit_at_once():
            return status
        return self._answered_later(status)

    async def _finish_spilled(self) -> int:
        try:
            held = await self._writer.complete()
        except SpoolFull:
            for retrieval in self._waiting:
                retrieval.evidence.no_room += 1
            self._no_longer_in_flight()
            return await self._answered_later(OUT_OF_RESOURCES)
        return await self._answered_later(self._take(held))

    def _let_go(self, finishing: asyncio.Future[int]) -> None:
        """Forget an object whose end was cancelled: the listener closes, perhaps at once."""
        if finishing.cancelled():
            self.discard()

    def _take(self, held: StagedBytes) -> int | Awaitable[bool]:
        """Return the status, or the outcome that decides it."""
        arrival = self._match(held)
        self._no_longer_in_flight()
        if isinstance(arrival, int):
            held.release()
            return arrival
        return arrival.outcome() if arrival.unexpected or arrival.trouble else SUCCESS

    async def _answered_later(self, status: int | Awaitable[bool]) -> int:
        if not isinstance(status, int):
            status = SUCCESS if await status else OUT_OF_RESOURCES
        await self._handler.renew_credit()
        return status

    def _no_longer_in_flight(self) -> None:
        for retrieval in self._waiting:
            retrieval.in_flight -= 1
            retrieval.touch()
        self._waiting = []

    def _match(self, held: StagedBytes) -> DimseArrival | int:
        """Hand the object to the retrieve it belongs to; return why not, as a status, else."""
        command = self._command
        identity = identity_of(held, command.transfer_syntax_uid)
        named = identity or Identity("", "", "", "")
        retrieval = self._desk.owner(self._our_aet, named, command)
        if retrieval is None:
            self._desk.refused += 1
            for other in self._desk.running(self._our_aet):
                other.evidence.strays += 1
            return _NOT_AUTHORIZED
        syntax = command.transfer_syntax_uid
        if syntax in ENCAPSULATED_TRANSFER_SYNTAX_UIDS and has_plain_pixels(held, syntax):
            # Asked for in that alone which it is in, it may come under its right name.
            retrieval.evidence.mislabelled += 1
            return CANNOT_UNDERSTAND
        instance, trouble = judge_identity(identity, command.affected_sop_instance_uid)
        if not trouble and is_torn(held, syntax):
            trouble = QuarantineReason.TORN.value
        staged = staged_instance(
            held,
            instance,
            sop_class_uid=command.affected_sop_class_uid,
            transfer_syntax_uid=syntax,
        )
        expected = command.affected_sop_instance_uid in retrieval.request.expected
        arrival = DimseArrival(staged, held, unexpected=not expected, trouble=trouble)
        retrieval.arrived(arrival, command)
        return arrival
