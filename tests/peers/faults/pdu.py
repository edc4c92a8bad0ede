"""PDUs and DIMSE commands as bytes, as far as a proxy needs them (PS3.8 9.3, PS3.7 6.3 and E.1)."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

__all__ = [
    "ABORT", "C_FIND_RQ", "C_GET_RQ", "C_GET_RSP", "C_MOVE_RQ", "C_MOVE_RSP", "C_STORE_RQ",
    "C_STORE_RSP", "P_DATA", "Command", "Fragment", "fragments", "p_data", "read_pdu", "study_of",
    "with_study",
]  # fmt: skip

P_DATA = 0x04
#: A-ABORT by the service user, without a reason (PS3.8 9.3.8).
ABORT = bytes([0x07, 0, 0, 0, 0, 4, 0, 0, 0, 0])

C_STORE_RQ, C_STORE_RSP = 0x0001, 0x8001
C_GET_RQ, C_GET_RSP = 0x0010, 0x8010
C_FIND_RQ = 0x0020
C_MOVE_RQ, C_MOVE_RSP = 0x0021, 0x8021

_NO_DATA_SET = 0x0101
_AFFECTED_CLASS, _COMMAND_FIELD, _MESSAGE_ID, _RESPONDED_TO = 0x0002, 0x0100, 0x0110, 0x0120
_DATA_SET_TYPE, _STATUS, _AFFECTED_INSTANCE = 0x0800, 0x0900, 0x1000
_STUDY_INSTANCE_UID = struct.pack("<HH", 0x0020, 0x000D)


async def read_pdu(reader: asyncio.StreamReader) -> bytes:
    """Return one whole PDU. Raises `IncompleteReadError` at the end of the connection."""
    head = await reader.readexactly(6)
    return head + await reader.readexactly(int.from_bytes(head[2:6], "big"))


@dataclass(frozen=True, slots=True)
class Fragment:
    """One presentation data value: a piece of a command or of a data set."""

    context_id: int
    control: int
    body: bytes

    @property
    def of_command(self) -> bool:
        """Say whether it belongs to a command."""
        return bool(self.control & 1)

    @property
    def is_last(self) -> bool:
        """Say whether it ends its command or data set."""
        return bool(self.control & 2)


def fragments(pdu: bytes) -> Iterator[Fragment]:
    """Yield the presentation data values of a P-DATA-TF PDU."""
    place = 6
    while place < len(pdu):
        (length,) = struct.unpack_from(">I", pdu, place)
        body = pdu[place + 6 : place + 4 + length]
        yield Fragment(pdu[place + 4], pdu[place + 5], body)
        place += 4 + length


def p_data(fragment: Fragment) -> bytes:
    """Return a P-DATA-TF PDU with this one value."""
    item = struct.pack(">IBB", len(fragment.body) + 2, fragment.context_id, fragment.control)
    return struct.pack(">BxI", P_DATA, len(item) + len(fragment.body)) + item + fragment.body


@dataclass(frozen=True, slots=True)
class Command:
    """A command set: element number in group 0000 -> value, implicit VR little endian."""

    values: Mapping[int, bytes]

    @classmethod
    def decode(cls, body: bytes) -> Command:
        """Read a command set."""
        values, place = {}, 0
        while place < len(body):
            group, element, length = struct.unpack_from("<HHI", body, place)
            assert group == 0, "a command holds group 0000 only"
            values[element] = body[place + 8 : place + 8 + length]
            place += 8 + length
        return cls(values)

    def encode(self) -> bytes:
        """Return its bytes, with the right group length."""
        body = b"".join(
            struct.pack("<HHI", 0, element, len(value)) + value
            for element, value in sorted(self.values.items())
            if element != 0
        )
        return struct.pack("<HHII", 0, 0, 4, len(body)) + body

    def _number(self, element: int) -> int:
        value = self.values.get(element, b"")
        return int(struct.unpack("<H", value)[0]) if len(value) == 2 else -1

    @property
    def field(self) -> int:
        """Return what it asks or answers."""
        return self._number(_COMMAND_FIELD)

    @property
    def status(self) -> int:
        """Return the status of an answer."""
        return self._number(_STATUS)

    @property
    def has_data_set(self) -> bool:
        """Say whether a data set follows."""
        return self._number(_DATA_SET_TYPE) != _NO_DATA_SET

    @property
    def sop_instance_uid(self) -> str:
        """Return the instance that a C-STORE is about."""
        return self.values.get(_AFFECTED_INSTANCE, b"").rstrip(b"\0 ").decode("ascii")

    def with_status(self, status: int) -> Command:
        """Return the same answer with another status."""
        return Command({**self.values, _STATUS: struct.pack("<H", status)})

    def answered(self, status: int) -> Command:
        """Return the answer to this request, without a data set."""
        kept = {
            element: self.values[element]
            for element in (_AFFECTED_CLASS, _AFFECTED_INSTANCE)
            if element in self.values
        }
        return Command(
            {
                **kept,
                _COMMAND_FIELD: struct.pack("<H", self.field | 0x8000),
                _RESPONDED_TO: self.values[_MESSAGE_ID],
                _DATA_SET_TYPE: struct.pack("<H", _NO_DATA_SET),
                _STATUS: struct.pack("<H", status),
            }
        )


def study_of(identifier: bytes) -> str:
    """Return the Study Instance UID of an identifier, or nothing."""
    found = _study_value(identifier)
    return "" if found is None else identifier[found].rstrip(b"\0 ").decode("ascii")


def with_study(identifier: bytes, study_instance_uid: str) -> bytes:
    """Return the identifier with another Study Instance UID, padded to even length with NUL."""
    found = _study_value(identifier)
    assert found is not None, "the identifier of a retrieve names a study"
    value = study_instance_uid.encode("ascii")
    value += b"\0" * (len(value) % 2)
    explicit = identifier[found.start - 4 : found.start - 2] == b"UI"
    form = "<H" if explicit else "<I"
    length_at = found.start - struct.calcsize(form)
    return identifier[:length_at] + struct.pack(form, len(value)) + value + identifier[found.stop :]


def _study_value(identifier: bytes) -> slice | None:
    place = identifier.find(_STUDY_INSTANCE_UID)
    if place < 0:
        return None
    if identifier[place + 4 : place + 6] == b"UI":
        (length,) = struct.unpack_from("<H", identifier, place + 6)
    else:
        (length,) = struct.unpack_from("<I", identifier, place + 4)
    return slice(place + 8, place + 8 + length)
