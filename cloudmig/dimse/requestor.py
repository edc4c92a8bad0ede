"""An association we asked for: its handshake, its answers, its end (PS3.8 9.2, states 4 to 12)."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from cloudmig.dimse import commands, negotiation, wire
from cloudmig.dimse.commands import Command
from cloudmig.dimse.connection import Connection
from cloudmig.dimse.contexts import AcceptedContext, ProposedContext
from cloudmig.dimse.limits import Limits, Timers
from cloudmig.dimse.status import UNRECOGNIZED_OPERATION
from cloudmig.dimse.wire import AbortReason, Hold, ProtocolViolation
from cloudmig.errors import SourceBusy, SourceRefused, SourceUnavailable

__all__ = ["Answer", "RequestorConnection"]

CERTIFICATE_HINT = "the PACS may not accept our certificate: check certificate, key and CA"
_PERMANENT = 1
_CONGESTION = ((3, 1), (3, 2))  # Source and reason: busy, whatever the result field says.
_HINTS = {
    (1, 3): "register our calling AE title at the PACS",
    (1, 7): "check the called AE title of the PACS",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of the peer, complete."""

    command: Command
    identifier: bytes | None
    transfer_syntax_uid: str


class RequestorConnection(Connection):
    """One outbound connection."""

    def __init__(self, contexts: Sequence[ProposedContext], timers: Timers, limits: Limits) -> None:
        super().__init__(timers, limits)
        self._proposed = contexts
        self._answers: deque[Answer] = deque()
        self._changed: asyncio.Future[None] | None = None
        self._rejection: SourceRefused | SourceUnavailable | None = None
        self._message_id = 0  #: Of the operation that runs; 0 when none does.
        self._last_message_id = 0  #: Of the last one that was begun.
        self._drained = -1  #: Bytes of a data set nobody wants; -1 while somebody does.
        self._command: Command | None = None
        self._identifier = bytearray()
        self._is_storing = False
        self._is_releasing = False

    # Called by the association

    async def associated(self) -> None:
        """Wait for the answer to the request, up to ARTIM. Raises `SourceError`."""
        until_s = self.loop.time() + self.timers.artim_s
        while not self.is_associated:
            self._raise_if_over()
            if not await self._change(until_s):
                self.abort("no answer to the association request")

    def start_operation(self, message_id: int) -> None:
        """Take answers to `message_id` from now on."""
        assert not self._message_id, "one operation at a time on one association"
        self._message_id = self._last_message_id = message_id
        self.active_s = self.loop.time()

    def end_operation(self) -> None:
        """Take no more answers."""
        self._message_id = 0
        self._answers.clear()

    async def next_answer(self, total_until_s: float) -> Answer:
        """Return the next answer. Raises `SourceUnavailable` when none comes in time."""
        while not self._answers:
            self._raise_if_over()
            if self.is_waiting_for_us:
                self.active_s = self.loop.time()
            timers = self.timers
            silence_s = timers.network_s if self.is_mid_message else timers.answer_s
            until_s = min(self.active_s + silence_s, total_until_s)
            if await self._change(until_s):
                continue
            now_s = self.loop.time()
            if now_s >= total_until_s:
                self.abort("the operation takes too long")
            elif now_s >= self.active_s + silence_s and not self.is_waiting_for_us:
                self.abort(f"no answer for {silence_s:g} s")
        answer = self._answers.popleft()
        if len(self._answers) <= self.limits.answers_waiting_max // 2:
            self.set_hold(Hold.ANSWERS, False)
        return answer

    async def release(self) -> None:
        """Release (PS3.8 9.2.3, AR-1 to AR-3); after ARTIM the connection is cut."""
        if self.is_associated and not self._is_releasing:
            self._is_releasing = True
            self.answer(negotiation.RELEASE_RQ_BYTES)
            self.close_after(self.timers.artim_s, cut=True)
        await asyncio.shield(self.lost)

    # Connection

    def control_pdu(self, pdu_type: int, pdu: memoryview) -> None:
        """Move through the states of PS3.8 table 9-10."""
        is_waiting = not self.is_associated and not self.is_over
        if pdu_type == wire.ABORT:
            who = {0: "user", 2: "provider"}.get(pdu[8], "unknown")
            self.over(f"the peer aborted (source {who}, reason {pdu[9]})", by_peer=True)
            self.close()
        elif pdu_type == wire.ASSOCIATE_AC and is_waiting:
            answer = negotiation.decode_answer(bytes(pdu), self._proposed)
            self.start_messages(answer.contexts, answer.pdu_bytes_max)
            self._wake()
        elif pdu_type == wire.ASSOCIATE_RJ and is_waiting:
            self._rejection = _rejection(bytes(pdu))
            self.over(str(self._rejection))
            self.close()
        elif pdu_type == wire.RELEASE_RQ and self.is_associated:
            if self._is_releasing:
                # Both at once: the requestor answers and goes on waiting (AR-8, AR-9).
                self.answer(negotiation.RELEASE_RP_BYTES)
            else:
                self.peer_released()
        elif pdu_type == wire.RELEASE_RP and self._is_releasing:
            self.over("released")
            self.close()
        else:
            raise ProtocolViolation(f"PDU type {pdu_type} here", AbortReason.UNEXPECTED_PDU)

    def fragment(self, context_id: int, is_command: bool, is_last: bool, data: memoryview) -> None:
        """Drop what still comes after our release request."""
        if not self._is_releasing:
            super().fragment(context_id, is_command, is_last, data)

    def command_received(self, context: AcceptedContext, command: Command, more: bool) -> None:
        """Take an answer, or a C-STORE sub-operation of C-GET (PS3.7 9.1.3)."""
        field = commands.number(command, commands.COMMAND_FIELD) or 0
        self._is_storing = False
        self._drained = -1
        if field == commands.C_STORE_RQ and self.stores is not None:
            self._is_storing = True
            self.stores.begin(context, command, more)
        elif field == commands.C_CANCEL_RQ:
            self._drained = 0
        elif not field & commands.ANSWER:
            self._drained = 0
            self.answer_plainly(context, command, UNRECOGNIZED_OPERATION)
        elif not self._is_expected(command):
            self._drained = 0
        elif more:
            self._command = command
            self._identifier = bytearray()
        else:
            self._answered(Answer(command, None, context.transfer_syntax_uid))

    def data_received(self, context: AcceptedContext, data: memoryview, is_last: bool) -> None:
        """Pass an object on, or collect an identifier."""
        if self._is_storing:
            if self.stores is not None:
                self.stores.write(data, is_last)
            return
        if self._drained >= 0:
            self._drained += len(data)
        else:
            self._identifier += data
        if max(self._drained, len(self._identifier)) > self.limits.identifier_bytes_max:
            self.give_up("an identifier beyond its limit")
        elif is_last and self._drained < 0:
            assert self._command is not None
            identifier, self._identifier = bytes(self._identifier), bytearray()
            self._answered(Answer(self._command, identifier, context.transfer_syntax_uid))

    def ended(self) -> None:
        """Wake whoever waits."""
        self._wake()

    # Inside

    def _is_expected(self, command: Command) -> bool:
        """Say whether this answers the operation that runs, or one before: an archive's threads.

        Some answer once more when they have answered to the end. Raises `ProtocolViolation` where
        nobody asked.
        """
        answered = commands.number(command, commands.MESSAGE_ID_BEING_RESPONDED_TO)
        if answered == self._message_id:
            return bool(answered)
        if not answered or answered > self._last_message_id:
            raise ProtocolViolation(
                f"an answer to message {answered}, and {self._last_message_id} was the last asked",
                AbortReason.UNEXPECTED_PARAMETER,
            )
        return False

    def _answered(self, answer: Answer) -> None:
        self._answers.append(answer)
        if len(self._answers) >= self.limits.answers_waiting_max:
            self.set_hold(Hold.ANSWERS, True)
        self._wake()

    def _wake(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    async def _change(self, until_s: float) -> bool:
        """Wait until something happened. Return False when it was only the time."""
        assert self._changed is None, "two wait on one association"
        changed = self._changed = self.loop.create_future()
        timer = self.loop.call_at(until_s, _time_is_up, changed)
        try:
            await changed
        except TimeoutError:
            return False
        else:
            return True
        finally:
            timer.cancel()
            self._changed = None

    def _raise_if_over(self) -> None:
        if self._rejection is not None:
            raise self._rejection
        if self.is_over:
            raise unavailable(self)


def unavailable(connection: Connection) -> SourceUnavailable | SourceRefused:
    """Say what ended the association. A TLS alert that comes late is a refusal all the same."""
    if refusal := tls_refusal(connection.error):
        return refusal
    # Some TLS servers drop a caller whose certificate they do not like without saying so.
    is_dropped_early = connection.is_secured and not connection.accepted
    error = SourceUnavailable(
        f"the association with {connection.peer_host or 'the peer'} is over: {connection.cause}",
        hint=CERTIFICATE_HINT if is_dropped_early else "",
    )
    error.__cause__ = connection.error
    return error


def tls_refusal(error: BaseException | None) -> SourceRefused | None:
    """Return the refusal behind a TLS error, or None where the peer just went away."""
    if not isinstance(error, ssl.SSLError):
        return None
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError | ssl.SSLSyscallError):
        return None
    refusal = SourceRefused(
        f"TLS failed: {error.reason or 'no reason given'}",
        hint="check certificate, key and CA on both sides, and that the port speaks TLS",
    )
    refusal.__cause__ = error
    return refusal


def _time_is_up(changed: asyncio.Future[None]) -> None:
    if not changed.done():
        changed.set_exception(TimeoutError())


def _rejection(raw: bytes) -> SourceRefused | SourceBusy:
    result, source, reason, said = negotiation.decode_rejection(raw)
    message = f"the association was rejected: {said}"
    if result == _PERMANENT and (source, reason) not in _CONGESTION:
        return SourceRefused(message, hint=_HINTS.get((source, reason), ""))
    return SourceBusy(
        message,
        hint="it has no place for one more association: try again in a minute, or lower lanes",
    )
