"""Command sets: group 0000 in Implicit VR Little Endian (PS3.7 6.3.1).

Parsed and built by hand because each object on the wire costs one of each, and a general data set
codec is ten times slower than the handful of fields needed here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Final

__all__ = [
    "Command",
    "CommandError",
    "command_messages",
    "encode_command",
    "number",
    "parse_command",
    "raw_value",
    "store_answer",
    "text",
]

# Elements of group 0000 (PS3.7 E.1).
AFFECTED_SOP_CLASS_UID: Final = 0x0002
COMMAND_FIELD: Final = 0x0100
MESSAGE_ID: Final = 0x0110
MESSAGE_ID_BEING_RESPONDED_TO: Final = 0x0120
MOVE_DESTINATION: Final = 0x0600
PRIORITY: Final = 0x0700
COMMAND_DATA_SET_TYPE: Final = 0x0800
STATUS: Final = 0x0900
AFFECTED_SOP_INSTANCE_UID: Final = 0x1000
REMAINING: Final = 0x1020
COMPLETED: Final = 0x1021
FAILED: Final = 0x1022
WARNING: Final = 0x1023
MOVE_ORIGINATOR_AET: Final = 0x1030
MOVE_ORIGINATOR_MESSAGE_ID: Final = 0x1031

# Values of the command field (PS3.7 E.1); an answer has the high bit.
C_STORE_RQ: Final = 0x0001
C_GET_RQ: Final = 0x0010
C_FIND_RQ: Final = 0x0020
C_MOVE_RQ: Final = 0x0021
C_ECHO_RQ: Final = 0x0030
C_CANCEL_RQ: Final = 0x0FFF
ANSWER: Final = 0x8000

NO_DATA_SET: Final = 0x0101
HAS_DATA_SET: Final = 0x0001

#: Element number -> value, padding included.
Command = Mapping[int, bytes]

_ELEMENT = struct.Struct("<HHL")
_UNSIGNED_SHORT = struct.Struct("<H")
_PDV_HEADER = struct.Struct(">BBLLBB")  # PDU type, reserved, PDU length, PDV length, ID, control
_GROUP_LENGTH = struct.Struct("<HHLL")
#: From the command field to the head of (0000,1000), the fixed middle of a C-STORE answer.
_STORE_ANSWER = struct.Struct("<HHLH HHLH HHLH HHLH HHL")


class CommandError(ValueError):
    """The bytes are no command set."""


def parse_command(data: bytes | bytearray | memoryview) -> dict[int, bytes]:
    """Return the elements of a command set (PS3.7 6.3.1). Raises `CommandError`."""
    data = bytes(data)  # Slices of it are three times as fast as slices of a view.
    command: dict[int, bytes] = {}
    position, end = 0, len(data)
    unpack = _ELEMENT.unpack_from
    while position < end:
        if end - position < 8:
            raise CommandError("a command set ends within an element")
        group, element, length = unpack(data, position)
        position += 8
        if group or length > end - position:
            raise CommandError("a command set holds another group or is cut short")
        command[element] = data[position : position + length]
        position += length
    if len(command.get(COMMAND_FIELD, b"")) != 2:
        raise CommandError("a command set has no command field")
    return command


def number(command: Command, element: int) -> int | None:
    """Return an unsigned short, or None where it is absent or has another length."""
    value = command.get(element, b"")
    return int.from_bytes(value, "little") if len(value) == 2 else None


def raw_value(command: Command, element: int) -> bytes:
    """Return a value as sent, or nothing."""
    return command.get(element, b"")


def text(command: Command, element: int) -> str:
    """Return a UID or AE title without its padding. Any byte is kept, none is trusted."""
    return command.get(element, b"").strip(b"\0 ").decode("latin-1")


def encode_command(fields: Mapping[int, int | str | bytes]) -> bytes:
    """Return a command set with its group length; `fields` in ascending order of element."""
    body = bytearray()
    for element, value in fields.items():
        if isinstance(value, int):
            encoded = _UNSIGNED_SHORT.pack(value)
        elif isinstance(value, str):
            pad = b" " if element in (MOVE_DESTINATION, MOVE_ORIGINATOR_AET) else b"\0"
            encoded = value.encode("ascii")
            encoded += pad * (len(encoded) % 2)
        else:
            encoded = value
        body += _ELEMENT.pack(0, element, len(encoded)) + encoded
    return _GROUP_LENGTH.pack(0, 0, 4, len(body)) + bytes(body)


def command_messages(
    context_id: int, command: bytes, data_set: bytes | None, pdu_bytes_max: int
) -> Iterator[bytes]:
    """Yield the P-DATA-TF PDUs of one message (PS3.8 9.3.5, Annex E) within the limit."""
    parts = [(command, 1)]
    if data_set is not None:
        parts.append((data_set, 0))
    room = max(pdu_bytes_max - 6, 2)
    for content, kind in parts:
        position = 0
        while True:
            piece = content[position : position + room]
            position += len(piece)
            last = position >= len(content)
            size = len(piece) + 2
            control = kind | (2 if last else 0)
            yield _PDV_HEADER.pack(4, 0, size + 4, size, context_id, control) + piece
            if last:
                break


def store_answer(
    heads: dict[tuple[int, bytes, int], bytes],
    context_id: int,
    message_id: int,
    sop_class_uid: bytes,
    sop_instance_uid: bytes,
    status: int,
) -> bytes:
    """Return a whole C-STORE answer (PS3.7 9.3.1.2) as one PDU.

    `heads` keeps what does not change between two objects of a series, so that an answer costs
    one dictionary look-up and one pack.
    """
    key = (context_id, sop_class_uid, len(sop_instance_uid))
    head = heads.get(key)
    if head is None:
        body_size = 8 + len(sop_class_uid) + _STORE_ANSWER.size + len(sop_instance_uid)
        size = 12 + body_size + 2
        head = (
            _PDV_HEADER.pack(4, 0, size + 4, size, context_id, 3)
            + _GROUP_LENGTH.pack(0, 0, 4, body_size)
            + _ELEMENT.pack(0, AFFECTED_SOP_CLASS_UID, len(sop_class_uid))
            + sop_class_uid
        )
        if len(heads) < 64:  # A peer that varies its classes must not fill our memory.
            heads[key] = head
    middle = _STORE_ANSWER.pack(
        *(0, COMMAND_FIELD, 2, C_STORE_RQ | ANSWER),
        *(0, MESSAGE_ID_BEING_RESPONDED_TO, 2, message_id),
        *(0, COMMAND_DATA_SET_TYPE, 2, NO_DATA_SET),
        *(0, STATUS, 2, status),
        *(0, AFFECTED_SOP_INSTANCE_UID, len(sop_instance_uid)),
    )
    return head + middle + sop_instance_uid
