"""One TCP connection with the upper layer on it: what requestor and acceptor have in common.

An `asyncio.BufferedProtocol`, because the alternative allocates and copies every byte. It owns
the socket options, the abort and closing rules of PS3.8 9.2, and the assembly of messages out of
fragments (PS3.8 Annex E). Subclasses say what a PDU or a command means to them.
"""

from __future__ import annotations

import asyncio
import socket
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress

from cloudmig.dimse import commands
from cloudmig.dimse.commands import Command, CommandError
from cloudmig.dimse.contexts import AcceptedContext
from cloudmig.dimse.limits import Limits, Timers
from cloudmig.dimse.negotiation import RELEASE_RP_BYTES, abort_pdu
from cloudmig.dimse.storing import StoreReceiver
from cloudmig.dimse.wire import AbortReason, Hold, PduReader, ProtocolViolation

__all__ = ["Connection"]

_BY_USER, _BY_PROVIDER = 0, 2  # Who aborts (PS3.8 9.3.8).
_LAST_WORDS_S = 1.0
_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)


class Connection(asyncio.BufferedProtocol, ABC):
    """The life of a connection: made, open, over (no more messages), lost (no more socket)."""

    def __init__(self, timers: Timers, limits: Limits) -> None:
        self.timers = timers
        self.limits = limits
        self.loop = asyncio.get_running_loop()
        self.lost = self.loop.create_future()  #: Done when the socket is gone.
        self.cause = ""  #: Why the connection is over.
        self.error: BaseException | None = None  #: What the transport said, if anything.
        self.is_over = False
        self.is_ended_by_peer = False  #: Released, aborted or closed, and not by us.
        self.is_associated = False
        self.accepted: Mapping[int, AcceptedContext] = {}
        self.peer_pdu_bytes_max = limits.pdu_bytes_max
        self.stores: StoreReceiver | None = None
        self.active_s = self.loop.time()  #: Last byte read or answer sent.
        self.peer_host = ""
        self.is_secured = False
        self._transport: asyncio.Transport | None = None
        self._socket: socket.socket | None = None
        self._reader = PduReader(self, limits)
        self._is_reading = True
        self._is_write_full = False
        self._closing: asyncio.TimerHandle | None = None
        self._command_bytes = bytearray()
        self._awaits_data_set = False
        self._context: AcceptedContext | None = None

    # What subclasses say

    @abstractmethod
    def control_pdu(self, pdu_type: int, pdu: memoryview) -> None:
        """Take a PDU that is not P-DATA."""

    @abstractmethod
    def command_received(self, context: AcceptedContext, command: Command, more: bool) -> None:
        """Take a command set; `more` says that a data set follows."""

    @abstractmethod
    def data_received(self, context: AcceptedContext, data: memoryview, is_last: bool) -> None:
        """Take a piece of the data set of the last command."""

    @abstractmethod
    def ended(self) -> None:
        """Note, once, that the association is over; `cause` says why."""

    # asyncio.BufferedProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set the socket up for small messages in both directions."""
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]
        held = transport.get_extra_info("socket")
        if held is not None:
            # A descriptor of our own: uvloop's stand-in makes a socket object for every call.
            # Where there is none left it goes without: slower, but known, and cut in time.
            with suppress(OSError):
                self._socket = socket.fromfd(held.fileno(), held.family, held.type)
        peer = transport.get_extra_info("peername")
        self.peer_host = str(peer[0]) if peer else ""
        self.is_secured = transport.get_extra_info("ssl_object") is not None
        if self._socket is not None:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._acknowledge_at_once()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - a hint
        """Return the room for the next read."""
        return self._reader.get_buffer()

    def buffer_updated(self, nbytes: int) -> None:
        """Hand on what was read."""
        self.active_s = self.loop.time()
        self._acknowledge_at_once()
        self._guarded(nbytes)

    def eof_received(self) -> bool:
        """Treat a half-closed connection as lost: DICOM has no use for it."""
        self.over("the peer closed the connection", by_peer=True)
        return False

    def connection_lost(self, exc: BaseException | None) -> None:
        """End everything that waits."""
        self.error = exc
        self._let_go_of_socket()
        cause = "the connection was lost" if exc else "the peer closed the connection"
        self.over(cause, by_peer=True)
        if self._closing is not None:
            self._closing.cancel()
        if not self.lost.done():
            self.lost.set_result(None)

    def pause_writing(self) -> None:
        """Stop reading: a peer that takes no answers may ask nothing more."""
        self._is_write_full = True
        self._sync_reading()

    def resume_writing(self) -> None:
        """Go on reading."""
        self._is_write_full = False
        self._sync_reading()

    # PduEvents

    def fragment(self, context_id: int, is_command: bool, is_last: bool, data: memoryview) -> None:
        """Assemble commands, and pass data sets on as they come."""
        if not self.is_associated:
            raise ProtocolViolation("P-DATA without an association", AbortReason.UNEXPECTED_PDU)
        context = self._context
        if context is None or context.context_id != context_id:
            context = self._new_context(context_id)
        if not is_command:
            if not self._awaits_data_set:
                raise ProtocolViolation(
                    "a data set without a command", AbortReason.UNEXPECTED_PARAMETER
                )
            if is_last:
                self._awaits_data_set = False
            self.data_received(context, data, is_last)
            return
        if self._awaits_data_set:
            raise ProtocolViolation("a command within a data set", AbortReason.UNEXPECTED_PARAMETER)
        if len(self._command_bytes) + len(data) > self.limits.command_bytes_max:
            raise ProtocolViolation(
                "a command set beyond its limit", AbortReason.INVALID_PARAMETER_VALUE
            )
        if not is_last:
            self._command_bytes += data
            return
        if self._command_bytes:
            self._command_bytes += data
            raw: bytes | bytearray | memoryview = self._command_bytes
            self._command_bytes = bytearray()
        else:
            raw = data
        self._command_complete(context, raw)

    # What requestor, acceptor and C-STORE receiver call

    def answer(self, pdu: bytes) -> None:
        """Send, unless the association is over."""
        if not self.is_over and self._transport is not None:
            self.active_s = self.loop.time()
            self._transport.write(pdu)
            # Having written, the kernel would wait for more of ours to carry the next ACK.
            self._acknowledge_at_once()

    def touch(self) -> None:
        """Note a sign of life."""
        self.active_s = self.loop.time()

    def answer_plainly(self, context: AcceptedContext, command: Command, status: int) -> None:
        """Answer a request with its status and nothing else (PS3.7 9.3)."""
        field = commands.number(command, commands.COMMAND_FIELD) or 0
        encoded = commands.encode_command(
            {
                commands.AFFECTED_SOP_CLASS_UID: commands.raw_value(
                    command, commands.AFFECTED_SOP_CLASS_UID
                ),
                commands.COMMAND_FIELD: field | commands.ANSWER,
                commands.MESSAGE_ID_BEING_RESPONDED_TO: commands.raw_value(
                    command, commands.MESSAGE_ID
                ),
                commands.COMMAND_DATA_SET_TYPE: commands.NO_DATA_SET,
                commands.STATUS: status,
            }
        )
        self.send_message(context, encoded, None)

    def send_message(
        self, context: AcceptedContext, command: bytes, data_set: bytes | None
    ) -> None:
        """Send a message in PDUs the peer takes (PS3.8 D.1)."""
        for pdu in commands.command_messages(
            context.context_id, command, data_set, self.peer_pdu_bytes_max
        ):
            self.answer(pdu)

    def hold_commands(self, hold: bool) -> None:
        """Let no further command in, or let them in again."""
        self._reader.holds_commands = hold
        if not hold and not self.is_over:
            self._guarded(0)

    def hold_reading(self, hold: bool) -> None:
        """Stand still while a sink is busy."""
        self.set_hold(Hold.SINK, hold)

    def set_hold(self, reason: int, hold: bool) -> None:
        """Add or take away a reason to stand still."""
        if hold:
            self._reader.holds |= reason
        else:
            self._reader.holds &= ~reason
            if not self.is_over:
                self._guarded(0)

    def give_up(self, cause: str, bug: BaseException | None = None) -> None:
        """Abort as the user of the service; a bug is reported to the loop's handler."""
        if bug is not None:
            self._report(cause, bug)
        self.abort(cause, _BY_USER, AbortReason.NOT_SPECIFIED)

    def abort(self, cause: str, source: int = _BY_USER, reason: int = 0) -> None:
        """Send A-ABORT and close (PS3.8 9.2.3, AA-1 and AA-8).

        The peer gets a moment to take it: closing over unread bytes would reset the connection
        and take the A-ABORT with it.
        """
        if self.is_over:
            return
        if self._transport is not None:
            self._transport.write(abort_pdu(source, reason))
        self.over(cause)
        self.close_after(min(self.timers.artim_s, _LAST_WORDS_S))

    def peer_released(self) -> None:
        """Answer an A-RELEASE-RQ and wait for the peer to close (PS3.8 9.2.3, AR-2, AR-4)."""
        self.answer(RELEASE_RP_BYTES)
        self.over("the peer released the association", by_peer=True)
        self.close_after(self.timers.artim_s)

    def over(self, cause: str, *, by_peer: bool = False) -> None:
        """End the association, once; the socket may live a little longer."""
        if self.is_over:
            return
        self.is_over = True
        self.is_associated = False
        self.is_ended_by_peer = by_peer
        self.cause = cause
        self._reader.holds |= Hold.CLOSED
        try:
            if self.stores is not None:
                self.stores.over()
        except Exception as bug:  # noqa: BLE001 - the socket has to be closed all the same
            self._report(cause, bug)
        self.ended()

    def close(self) -> None:
        """Close when everything is sent; a peer that does not take it is cut off."""
        if self._transport is not None:
            self._transport.close()
            self.close_after(self.timers.artim_s, cut=True)

    def close_after(self, wait_s: float, *, cut: bool = False) -> None:
        """Close if the peer has not done so by then (ARTIM, PS3.8 9.1.5)."""
        if self._closing is not None:
            self._closing.cancel()
        if not self.lost.done():
            # In state 13 whatever arrives is dropped; reading goes on so that a FIN is seen.
            self._closing = self.loop.call_later(wait_s, self.cut if cut else self.close)

    def cut(self) -> None:
        """Drop the socket without a word."""
        self.over("the connection was cut")
        if self._transport is not None:
            self._transport.abort()

    def start_messages(
        self, accepted: Mapping[int, AcceptedContext], peer_pdu_bytes_max: int
    ) -> None:
        """Let P-DATA in. A peer that announces 0 takes PDUs of any length; ours stay modest."""
        self.accepted = accepted
        ours = self.limits.pdu_bytes_max
        self.peer_pdu_bytes_max = min(peer_pdu_bytes_max or ours, ours)
        self.is_associated = True
        self._reader.use_full_buffer()

    @property
    def is_mid_message(self) -> bool:
        """Say whether the peer owes us the rest of something."""
        return self._reader.is_mid_pdu or self._awaits_data_set or bool(self._command_bytes)

    @property
    def is_waiting_for_us(self) -> bool:
        """Say whether the next step is ours, so that the peer's silence means nothing."""
        stores = self.stores
        return self._reader.is_stalled or (stores is not None and stores.is_busy)

    # Inside

    def _report(self, cause: str, bug: BaseException) -> None:
        self.loop.call_exception_handler(
            {"message": f"DICOM association aborted: {cause}", "exception": bug}
        )

    def _new_context(self, context_id: int) -> AcceptedContext:
        context = self.accepted.get(context_id)
        if context is None or self._awaits_data_set or self._command_bytes:
            raise ProtocolViolation(
                f"presentation context {context_id} here", AbortReason.INVALID_PARAMETER_VALUE
            )
        self._context = context
        return context

    def _command_complete(
        self, context: AcceptedContext, raw: bytes | bytearray | memoryview
    ) -> None:
        try:
            command = commands.parse_command(raw)
        except CommandError as error:
            raise ProtocolViolation(str(error), AbortReason.INVALID_PARAMETER_VALUE) from error
        data_set_type = commands.number(command, commands.COMMAND_DATA_SET_TYPE)
        self._awaits_data_set = data_set_type not in (None, commands.NO_DATA_SET)
        self.command_received(context, command, self._awaits_data_set)

    def _guarded(self, count: int) -> None:
        """Advance the reader; whatever goes wrong in it ends this association and no other."""
        if self.is_over:
            # Nothing is parsed any more; the room is given back so that a FIN can be read.
            self._reader.forget()
            return
        try:
            self._reader.received(count)
        except ProtocolViolation as violation:
            self.abort(f"protocol violation: {violation}", _BY_PROVIDER, violation.reason)
        except Exception as bug:  # noqa: BLE001 - reported; the other associations go on
            self.give_up("an internal error", bug)
        self._sync_reading()

    def _sync_reading(self) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        stalled = self._reader.is_stalled and not self.is_over
        wanted = not (stalled or self._is_write_full)
        if wanted and not self._is_reading:
            self._is_reading = True
            transport.resume_reading()
        elif not wanted and self._is_reading:
            self._is_reading = False
            transport.pause_reading()

    def _acknowledge_at_once(self) -> None:
        """Re-arm TCP_QUICKACK; the kernel forgets it by and by.

        Peers that write a PDU header and its body apart with Nagle on wait for our ACK in between,
        and the kernel would delay that for 40 ms.
        """
        if _QUICKACK is not None and self._socket is not None:
            try:
                self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
            except OSError:
                self._let_go_of_socket()  # It is gone; the transport will say so.

    def _let_go_of_socket(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
