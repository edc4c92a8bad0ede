"""A tap on the wire between an agent and a PACS: counts what really went by, whoever asked.

    with Tap(pacs.host, pacs.port) as tap: ...  # connect to tap.port instead
    tap.stored["1.2.3"]  # C-STORE requests that carried this instance

Bytes pass unchanged; a copy of them is read here by PS3.8 9.3 (PDUs) and PS3.7 9.3 (commands). For
C-GET it stands before the PACS, for C-MOVE before the agent's own port.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from types import TracebackType
from typing import Self

__all__ = ["CommandReader", "Tap"]

_PIECE_BYTES = 1 << 18
_HEAD = struct.Struct(">BxI")  # PS3.8 9.3.1: type, reserved, length
_P_DATA_TF = 0x04
_AFFECTED_SOP_INSTANCE_UID = 0x1000
_COMMAND_FIELD = 0x0100
_C_STORE_RQ = 0x0001
#: The requests that are counted by name (PS3.7 E.1).
_REQUESTS = {0x0010: "C-GET", 0x0020: "C-FIND", 0x0021: "C-MOVE", _C_STORE_RQ: "C-STORE"}


class CommandReader:
    """Finds DIMSE commands in one direction of an association."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._command = bytearray()

    def feed(self, piece: bytes) -> Iterator[tuple[int, str]]:
        """Yield (Command Field, Affected SOP Instance UID) of each command that is complete."""
        self._pending += piece
        while len(self._pending) >= _HEAD.size:
            kind, length = _HEAD.unpack_from(self._pending)
            end = _HEAD.size + length
            if len(self._pending) < end:
                return
            if kind == _P_DATA_TF:
                yield from self._read_values(bytes(self._pending[_HEAD.size : end]))
            del self._pending[:end]

    def _read_values(self, body: bytes) -> Iterator[tuple[int, str]]:
        """Walk the presentation data values (PS3.8 9.3.5.1); bit 0 says command, bit 1 last."""
        position = 0
        while position + 6 <= len(body):
            (length,) = struct.unpack_from(">I", body, position)
            control = body[position + 5]
            if control & 1:
                self._command += body[position + 6 : position + 4 + length]
                if control & 2:
                    yield _read_command(bytes(self._command))
                    self._command.clear()
            position += 4 + length


def _read_command(encoded: bytes) -> tuple[int, str]:
    """Read a command set: always Implicit VR Little Endian (PS3.7 6.3.1)."""
    field, instance, position = 0, "", 0
    while position + 8 <= len(encoded):
        group, element, length = struct.unpack_from("<HHI", encoded, position)
        value = encoded[position + 8 : position + 8 + length]
        if (group, element) == (0, _COMMAND_FIELD):
            (field,) = struct.unpack("<H", value)
        elif (group, element) == (0, _AFFECTED_SOP_INSTANCE_UID):
            instance = value.rstrip(b"\0 ").decode("ascii", "replace")
        position += 8 + length
    return field, instance


class Tap:
    """Listens on a port of its own and passes every connection on. A context manager."""

    host = "127.0.0.1"

    def __init__(self, target_host: str, target_port: int, *, port: int = 0) -> None:
        self._target = (target_host, target_port)
        self._listening = socket.create_server((self.host, port))
        self.port: int = self._listening.getsockname()[1]
        self.stored: Counter[str] = Counter()  #: SOP Instance UID -> C-STORE requests.
        self.requests: Counter[str] = Counter()  #: "C-FIND" and so on.
        self.calls = 0  #: Connections, those included that nobody answered.
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _end(self._listening)
        with self._lock:
            for each in self._open:
                _end(each)

    def clear(self) -> None:
        """Count from here on."""
        with self._lock:
            self.stored.clear()
            self.requests.clear()
            self.calls = 0

    def _accept(self) -> None:
        while True:
            try:
                caller, _ = self._listening.accept()
            except OSError:
                return  # Closed: the test is over.
            with self._lock:
                self.calls += 1
            try:
                called = socket.create_connection(self._target, timeout=10)
            except OSError:
                _end(caller)  # Who is not there looks so to the caller, too.
                continue
            called.settimeout(None)
            for each in (caller, called):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open += [caller, called]
            for pair in ((caller, called), (called, caller)):
                threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _pass_on(self, sender: socket.socket, receiver: socket.socket) -> None:
        reader = CommandReader()
        with contextlib.suppress(OSError):  # A reset on one side is passed on as the end.
            while piece := sender.recv(_PIECE_BYTES):
                # The sender may wait for this ACK: it must not be us who make the PACS slow.
                sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
                # Counted before it is passed on: what the agent has, was counted.
                for field, instance in reader.feed(piece):
                    self._count(field, instance)
                receiver.sendall(piece)
        _end(sender)
        _end(receiver)

    def _count(self, field: int, instance: str) -> None:
        with self._lock:
            if field in _REQUESTS:
                self.requests[_REQUESTS[field]] += 1
            if field == _C_STORE_RQ:
                self.stored[instance] += 1


def _end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
