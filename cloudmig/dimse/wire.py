"""Cuts a byte stream into PDUs and P-DATA fragments, in place (PS3.8 9.3).

No socket and no clock here. Bytes lie in one buffer per association and are handed on as views of
it, without a copy. A fragment may be handed on in pieces, before its PDU is complete: so what an
association holds of an object is bounded by the buffer, whatever PDU size the peer likes.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final, Protocol

from cloudmig.dimse.limits import Limits

__all__ = ["AbortReason", "Hold", "PduEvents", "PduReader", "ProtocolViolation"]

ASSOCIATE_RQ: Final = 1
ASSOCIATE_AC: Final = 2
ASSOCIATE_RJ: Final = 3
P_DATA: Final = 4
RELEASE_RQ: Final = 5
RELEASE_RP: Final = 6
ABORT: Final = 7

_FIRST_BUFFER_BYTES = 8 * 1024  #: Enough until there is an association: silent sockets are cheap.
_PDU_HEADER = struct.Struct(">BBL")
_PDV_HEADER = struct.Struct(">LBB")


class AbortReason(IntEnum):
    """Why the upper layer gives up (PS3.8 9.3.8, source 2)."""

    NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    UNRECOGNIZED_PARAMETER = 4
    UNEXPECTED_PARAMETER = 5
    INVALID_PARAMETER_VALUE = 6


class ProtocolViolation(Exception):  # noqa: N818 - not an error of ours
    """The peer does not keep to PS3.8; the association cannot go on."""

    def __init__(self, message: str, reason: AbortReason) -> None:
        super().__init__(message)
        self.reason = reason


class Hold:
    """Why the reader stands still: bits of a plain integer. It goes on when none is left."""

    NONE: Final = 0
    SINK: Final = 1  #: Whoever takes the object is busy with the last piece.
    ANSWERS: Final = 2  #: Nobody has taken the answers that came.
    CLOSED: Final = 4  #: Nothing that still comes matters.


class PduEvents(Protocol):
    """Takes what the reader finds. May raise `ProtocolViolation`."""

    def control_pdu(self, pdu_type: int, pdu: memoryview) -> None:
        """Take a whole PDU that is not P-DATA, its header included."""

    def fragment(self, context_id: int, is_command: bool, is_last: bool, data: memoryview) -> None:
        """Take a piece of a message; `is_last` with the last piece of its last fragment."""


class PduReader:
    """The buffer of an association and the place in the PDU it has reached."""

    def __init__(self, events: PduEvents, limits: Limits) -> None:
        self._events = events
        self._limits = limits
        self._buffer = bytearray(min(_FIRST_BUFFER_BYTES, limits.buffer_bytes))
        self._view = memoryview(self._buffer)
        self._start = 0  #: First byte not handed on yet.
        self._end = 0  #: First free byte.
        self._pdu_left = 0
        self._pdv_left = 0
        self._context_id = 0
        self._is_command = False
        self._is_last = False
        self._parsing = False
        self._blocked = False
        self.holds: int = Hold.NONE
        self.holds_commands = False  #: Let no further command in; A-ABORT and A-RELEASE still pass.

    @property
    def is_stalled(self) -> bool:
        """Say whether more bytes would only pile up."""
        return bool(self.holds) or self._blocked

    @property
    def is_mid_pdu(self) -> bool:
        """Say whether the stream stopped within a PDU."""
        return self._start < self._end or bool(self._pdu_left or self._pdv_left)

    def use_full_buffer(self) -> None:
        """Take the buffer of an association that carries objects."""
        self._resize(self._limits.buffer_bytes)

    def get_buffer(self) -> memoryview:
        """Return the free room; never empty."""
        if self._end == len(self._buffer):
            self._move_to_front()
            if self._end == len(self._buffer):
                # Only bytes read before a pause took effect come here: let them in all the same.
                self._resize(2 * len(self._buffer))
        return self._view[self._end :]

    def received(self, count: int) -> None:
        """Note that `count` bytes were written into the room, and hand on what is complete."""
        self._end += count
        self.advance()

    def forget(self) -> None:
        """Drop whatever lies in the buffer: the association is over."""
        self._start = self._end = 0

    def advance(self) -> None:
        """Hand on all there is, until something holds it up."""
        if self._parsing:
            return  # The loop further up the stack goes on by itself.
        self._parsing = True
        try:
            while self._start < self._end and not self.holds and self._step():
                pass
        finally:
            self._parsing = False
        if not self.is_stalled:
            self._move_to_front()

    def _step(self) -> bool:
        """Hand on one piece or read one header. Return False when bytes are missing."""
        if self._pdv_left:
            start = self._start
            count = min(self._pdv_left, self._end - start)
            self._start = start + count
            self._hand_on(self._view[start : start + count])
            return True
        if self._pdu_left:
            return self._read_pdv_header()
        return self._read_pdu()

    def _hand_on(self, piece: memoryview) -> None:
        self._pdv_left -= len(piece)
        is_last = self._is_last and not self._pdv_left
        self._events.fragment(self._context_id, self._is_command, is_last, piece)

    def _read_pdv_header(self) -> bool:
        self._blocked = False
        if self._end - self._start < 6:
            return False
        length, context_id, control = _PDV_HEADER.unpack_from(self._buffer, self._start)
        rest = self._pdu_left - 4 - length
        if length < 2 or rest < 0 or 0 < rest < 6:
            raise ProtocolViolation(
                "a PDV does not fit its PDU", AbortReason.INVALID_PARAMETER_VALUE
            )
        if self.holds_commands and control & 1:
            self._blocked = True
            return False
        self._start += 6
        self._pdu_left = rest
        self._pdv_left = length - 2
        self._context_id = context_id
        self._is_command = bool(control & 1)
        self._is_last = bool(control & 2)
        if not self._pdv_left:
            self._hand_on(self._view[0:0])
        return True

    def _read_pdu(self) -> bool:
        available = self._end - self._start
        if available < 6:
            return False
        pdu_type, _, length = _PDU_HEADER.unpack_from(self._buffer, self._start)
        if pdu_type == P_DATA:
            if not 6 <= length <= self._limits.data_pdu_bytes_max:
                raise ProtocolViolation(
                    f"a P-DATA PDU of {length} bytes", AbortReason.INVALID_PARAMETER_VALUE
                )
            self._start += 6
            self._pdu_left = length
            return True
        if not ASSOCIATE_RQ <= pdu_type <= ABORT:
            raise ProtocolViolation(f"PDU type {pdu_type}", AbortReason.UNRECOGNIZED_PDU)
        is_small = pdu_type in (ASSOCIATE_RJ, RELEASE_RQ, RELEASE_RP, ABORT)
        if length > (64 if is_small else self._limits.associate_pdu_bytes_max):
            raise ProtocolViolation(
                f"a PDU of type {pdu_type} and {length} bytes", AbortReason.INVALID_PARAMETER_VALUE
            )
        total = 6 + length
        if available < total:
            if total > len(self._buffer):
                self._resize(total)
            return False
        start = self._start
        self._start = start + total
        self._events.control_pdu(pdu_type, self._view[start : start + total])
        return True

    def _move_to_front(self) -> None:
        if self._start:
            rest = self._end - self._start
            if rest:  # Part of a header, or of an A-ASSOCIATE PDU: a few bytes.
                self._view[:rest] = bytes(self._view[self._start : self._end])
            self._start, self._end = 0, rest

    def _resize(self, size: int) -> None:
        # Replaced, not resized: the transport or a sink may still hold a view of the old one.
        rest = self._end - self._start
        size = max(size, rest + 1)
        buffer = bytearray(size)
        buffer[:rest] = self._view[self._start : self._end]
        self._buffer, self._view = buffer, memoryview(buffer)
        self._start, self._end = 0, rest
