"""C-STORE as SCP on one association (PS3.7 9.1.1, 9.3.1), for C-MOVE and for C-GET alike."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from cloudmig.dimse import commands
from cloudmig.dimse.commands import Command
from cloudmig.dimse.contexts import AcceptedContext
from cloudmig.dimse.limits import Limits
from cloudmig.dimse.messages import ObjectSink, StoreCommand, StoreHandler
from cloudmig.dimse.status import CANNOT_UNDERSTAND

__all__ = ["Carrier", "StoreReceiver"]

T = TypeVar("T")


class Carrier(Protocol):
    """What a C-STORE needs of the association it comes on."""

    def answer(self, pdu: bytes) -> None:
        """Send, unless the association is over."""

    def hold_commands(self, hold: bool) -> None:
        """Let no further command in, or let them in again."""

    def hold_reading(self, hold: bool) -> None:
        """Stop reading, or go on."""

    def give_up(self, cause: str, bug: BaseException | None = None) -> None:
        """Abort the association as its user."""


class StoreReceiver:
    """Takes one object after the other and sends each its answer."""

    def __init__(
        self,
        carrier: Carrier,
        handler: StoreHandler,
        limits: Limits,
        *,
        calling_aet: str,
        called_aet: str,
        peer_host: str,
    ) -> None:
        self._carrier = carrier
        self._handler = handler
        self._limits = limits
        self._calling_aet = calling_aet
        self._called_aet = called_aet
        self._peer_host = peer_host
        self._heads: dict[tuple[int, bytes, int], bytes] = {}
        self._sink: ObjectSink | None = None
        self._is_over = False
        self._refusal = 0
        self._bytes = 0
        self._context_id = 0
        self._message_id = 0
        self._sop_class_uid = b""
        self._sop_instance_uid = b""
        self._work: asyncio.Future[Any] | None = None

    @property
    def is_busy(self) -> bool:
        """Say whether the peer waits for us and not we for it."""
        return self._work is not None

    @property
    def work(self) -> asyncio.Future[Any] | None:
        """Return the running `finish`, for whoever wants to wait for it or to end it."""
        return self._work

    def begin(self, context: AcceptedContext, command: Command, has_data_set: bool) -> None:
        """Take a C-STORE request; its data set follows."""
        message_id = commands.number(command, commands.MESSAGE_ID)
        self._message_id = message_id or 0
        self._context_id = context.context_id
        self._sop_class_uid = commands.raw_value(command, commands.AFFECTED_SOP_CLASS_UID)
        self._sop_instance_uid = commands.raw_value(command, commands.AFFECTED_SOP_INSTANCE_UID)
        self._bytes = 0
        if message_id is None or not has_data_set:
            self._sink, self._refusal = None, CANNOT_UNDERSTAND
            if not has_data_set:
                self._answer(CANNOT_UNDERSTAND)
            return
        taken = self._handler.begin(
            StoreCommand(
                message_id=message_id,
                affected_sop_class_uid=commands.text(command, commands.AFFECTED_SOP_CLASS_UID),
                affected_sop_instance_uid=commands.text(
                    command, commands.AFFECTED_SOP_INSTANCE_UID
                ),
                transfer_syntax_uid=context.transfer_syntax_uid,
                context_id=context.context_id,
                move_originator_aet=commands.text(command, commands.MOVE_ORIGINATOR_AET),
                move_originator_message_id=commands.number(
                    command, commands.MOVE_ORIGINATOR_MESSAGE_ID
                ),
                calling_aet=self._calling_aet,
                called_aet=self._called_aet,
                peer_host=self._peer_host,
            )
        )
        if isinstance(taken, int):
            self._sink, self._refusal = None, taken
        else:
            self._sink = taken

    def write(self, data: memoryview, is_last: bool) -> None:
        """Take a piece of the data set."""
        self._bytes += len(data)
        if self._bytes > self._limits.object_bytes_max:
            if self._sink is not None:
                self._sink.too_large()
            self._carrier.give_up(f"an object of more than {self._limits.object_bytes_max} bytes")
            return
        sink = self._sink
        if sink is None:
            if is_last:
                self._answer(self._refusal)
            return
        wait = sink.write(data) if len(data) else None
        if wait is not None:
            self._carrier.hold_reading(True)
            self._start(self._go_on(wait, sink, is_last), self._went_well)
        elif is_last:
            self._finish(sink)

    def over(self) -> None:
        """Note the end of the association, once; an incomplete object is discarded."""
        if self._is_over:
            return
        self._is_over = True
        sink, self._sink = self._sink, None
        try:
            if sink is not None:
                if self._work is not None:
                    self._work.cancel()
                sink.discard()
        finally:
            self._handler.closed()

    def _finish(self, sink: ObjectSink) -> None:
        """Answer the object: in this turn if the sink knows how, else when it does."""
        self._sink = None
        status = sink.finish()
        if isinstance(status, int):
            self._answer(status)
        else:
            self._carrier.hold_commands(True)
            self._start(status, self._finished)

    def _finished(self, work: asyncio.Future[int]) -> None:
        self._work = None
        if self._went_well(work):
            self._answer(work.result())
            self._carrier.hold_commands(False)

    async def _go_on(self, wait: Awaitable[None], sink: ObjectSink, is_last: bool) -> None:
        """Wait until the sink is ready for more."""
        try:
            await wait
        finally:
            self._work = None
        if is_last:
            self._finish(sink)
        self._carrier.hold_reading(False)

    def _start(self, work: Awaitable[T], ended: Callable[[asyncio.Future[T]], object]) -> None:
        assert self._work is None, "two objects at once on one association"
        # The very future that is waited for: whoever cancels it reaches the sink.
        self._work = asyncio.ensure_future(work)
        self._work.add_done_callback(ended)

    def _went_well(self, work: asyncio.Future[Any]) -> bool:
        if work.cancelled():
            return False
        if (bug := work.exception()) is not None:
            self._carrier.give_up("an object could not be taken", bug)
        return bug is None

    def _answer(self, status: int) -> None:
        self._carrier.answer(
            commands.store_answer(
                self._heads,
                self._context_id,
                self._message_id,
                self._sop_class_uid,
                self._sop_instance_uid,
                status,
            )
        )
