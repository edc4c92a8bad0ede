"""One association over a blocking socket: PDUs and messages (PS3.8 section 9.3, PS3.7 annex F).

Written for this PACS alone, with threads and blocking calls, and sharing no code with
`cloudmig.dimse`: a mistake in the one cannot hide behind the same mistake in the other. The data
set bytes go out as they are given.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cloudmig.demo.pacs.commands import (
    NO_DATA_SET,
    Command,
    Element,
    decode_command,
    encode_command,
)

__all__ = ["Link", "Message", "PeerAborted", "PeerGone", "PeerReleased"]

_PDV_HEADER_BYTES = 6
_DEFAULT_PDU_BYTES = 65_536
_RELEASE_RQ, _RELEASE_RP, _ABORT, _P_DATA = 5, 6, 7, 4


class PeerGone(ConnectionError):  # noqa: N818 - an end, mostly a good one
    """The connection is closed, in whatever way."""


class PeerReleased(PeerGone):
    """The peer asked to release the association, and was answered."""


class PeerAborted(PeerGone):
    """The peer aborted."""


@dataclass(frozen=True, slots=True)
class Message:
    """A DIMSE message as it came in."""

    context_id: int
    command: Command
    data_set: bytes


class Link:
    """An association that is established: sends and receives messages."""

    def __init__(
        self, connection: socket.socket, contexts: Mapping[int, tuple[str, str]], pdu_bytes_max: int
    ) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.contexts = contexts  #: Context ID -> (abstract syntax, transfer syntax), accepted.
        self.calling_aet = ""
        self._connection = connection
        self._pdu_bytes_max = pdu_bytes_max or _DEFAULT_PDU_BYTES
        self._received = bytearray()
        self._closing = threading.Lock()

    def context_for(self, abstract_syntax: str, transfer_syntax: str) -> int | None:
        """Find the accepted context of this class and syntax."""
        for context_id, pair in self.contexts.items():
            if pair == (abstract_syntax, transfer_syntax):
                return context_id
        return None

    def send(
        self, context_id: int, command: Mapping[int, int | str], data_set: bytes | None = None
    ) -> None:
        """Send one message, in PDUs no longer than the peer takes."""
        coded = encode_command(command, has_data_set=data_set is not None)
        parts = list(self._fragments(context_id, coded, command=True))
        if data_set is not None:
            parts += self._fragments(context_id, data_set, command=False)
        self._send_all(b"".join(parts))

    def send_endless(
        self, context_id: int, command: Mapping[int, int | str], bytes_max: int
    ) -> None:
        """Send a command and a data set whose last fragment never comes."""
        coded = encode_command(command, has_data_set=True)
        self._send_all(b"".join(self._fragments(context_id, coded, command=True)))
        fragment = bytes(min(self._pdu_bytes_max, _DEFAULT_PDU_BYTES) - _PDV_HEADER_BYTES)
        pdu = _p_data(context_id, 0, fragment)
        for _ in range(bytes_max // len(fragment)):
            self._send_all(pdu)

    def receive(self) -> Message:
        """Wait for the next whole message; raise `PeerGone` when there will be none."""
        command, data_set = bytearray(), bytearray()
        decoded: Command | None = None
        while True:
            kind, body = self.read_pdu()
            if kind == _RELEASE_RQ:
                self._send_all(struct.pack(">BBII", _RELEASE_RP, 0, 4, 0))
                raise PeerReleased
            if kind != _P_DATA:
                raise PeerAborted if kind == _ABORT else PeerGone
            for context_id, control, fragment in _presentation_data_values(body):
                (command if control & 1 else data_set).extend(fragment)
                if control == 3:  # A command, and its last fragment.
                    decoded = decode_command(bytes(command))
                    if decoded[Element.DATA_SET_TYPE] == NO_DATA_SET:
                        return Message(context_id, decoded, b"")
                elif control == 2 and decoded is not None:
                    return Message(context_id, decoded, bytes(data_set))

    def read_pdu(self) -> tuple[int, bytes]:
        """Read one PDU: its type and what follows the length."""
        kind, _, length = struct.unpack(">BBI", self._exactly(6))
        return kind, self._exactly(length)

    def is_waiting(self) -> bool:
        """Tell whether something has come in: a C-CANCEL, an abort, or the end."""
        if self._received:
            return True
        try:
            return bool(select.select([self._connection], [], [], 0)[0])
        except (OSError, ValueError):  # Closed from another thread.
            return True

    def release(self) -> None:
        """Ask for release and wait for the answer, however the peer takes it."""
        try:
            self._send_all(struct.pack(">BBII", _RELEASE_RQ, 0, 4, 0))
            while self.read_pdu()[0] not in {_RELEASE_RP, _ABORT}:
                continue
        except PeerGone:
            return
        finally:
            self.close()

    def await_close(self, wait_max_s: float) -> None:
        """Leave closing to the peer, so that what was sent last is read (PS3.8 9.2, state 13)."""
        try:
            self._connection.settimeout(wait_max_s)
            while self._connection.recv(1 << 16):
                continue
        except OSError:
            return
        finally:
            self.close()

    def abort(self) -> None:
        """Send A-ABORT and close (PS3.8 9.3.8)."""
        try:
            self._send_all(struct.pack(">BBIBBBB", _ABORT, 0, 4, 0, 0, 0, 0))
        except PeerGone:
            return
        finally:
            self.close()

    def close(self) -> None:
        """Close the connection; a second time does nothing."""
        with self._closing:
            try:
                self._connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                self._received.clear()  # The peer was quicker.
            self._connection.close()

    def _fragments(self, context_id: int, data: bytes, *, command: bool) -> Iterator[bytes]:
        room = self._pdu_bytes_max - _PDV_HEADER_BYTES
        for start in range(0, max(len(data), 1), room):
            last = 2 if start + room >= len(data) else 0
            yield _p_data(context_id, int(command) | last, data[start : start + room])

    def _send_all(self, data: bytes) -> None:
        try:
            self._connection.sendall(data)
        except OSError as error:
            raise PeerGone from error

    def _exactly(self, length: int) -> bytes:
        while len(self._received) < length:
            try:
                part = self._connection.recv(1 << 18)
            except OSError as error:
                raise PeerGone from error
            if not part:
                raise PeerGone
            self._received += part
        taken = bytes(self._received[:length])
        del self._received[:length]
        return taken


def _p_data(context_id: int, control: int, fragment: bytes) -> bytes:
    """Wrap one fragment in one P-DATA-TF PDU (PS3.8 9.3.5, control header E.2)."""
    length = len(fragment)
    head = struct.pack(">BBIIBB", _P_DATA, 0, length + 6, length + 2, context_id, control)
    return head + fragment


def _presentation_data_values(body: bytes) -> Iterator[tuple[int, int, bytes]]:
    offset = 0
    while offset < len(body):
        length, context_id, control = struct.unpack_from(">IBB", body, offset)
        yield context_id, control, body[offset + 6 : offset + 4 + length]
        offset += 4 + length
