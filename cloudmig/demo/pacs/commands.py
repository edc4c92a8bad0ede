"""Command sets (PS3.7 section 6.3 and annex E): always implicit VR, little endian."""

from __future__ import annotations

import struct
from collections.abc import Mapping

__all__ = ["Command", "Element", "Field", "decode_command", "encode_command", "response_to"]

#: Element number in group 0000 -> value. A UID or AE title is a string, the rest are numbers.
Command = dict[int, int | str]


class Element:
    """The element numbers this PACS reads or writes (PS3.7 annex E.1)."""

    AFFECTED_SOP_CLASS_UID = 0x0002
    COMMAND_FIELD = 0x0100
    MESSAGE_ID = 0x0110
    MESSAGE_ID_BEING_RESPONDED_TO = 0x0120
    MOVE_DESTINATION = 0x0600
    PRIORITY = 0x0700
    DATA_SET_TYPE = 0x0800
    STATUS = 0x0900
    AFFECTED_SOP_INSTANCE_UID = 0x1000
    REMAINING = 0x1020
    COMPLETED = 0x1021
    FAILED = 0x1022
    WARNING = 0x1023
    MOVE_ORIGINATOR = 0x1030
    MOVE_ORIGINATOR_MESSAGE_ID = 0x1031


class Field:
    """Command fields (PS3.7 annex E.1); a response is its request with the high bit set."""

    C_STORE_RQ = 0x0001
    C_GET_RQ = 0x0010
    C_FIND_RQ = 0x0020
    C_MOVE_RQ = 0x0021
    C_ECHO_RQ = 0x0030
    C_CANCEL_RQ = 0x0FFF


NO_DATA_SET = 0x0101
_HAS_DATA_SET = 0x0001
_TEXTS = frozenset({0x0002, 0x0003, 0x0600, 0x0902, 0x1000, 0x1001, 0x1030})
_UIDS = frozenset({0x0002, 0x0003, 0x1000, 0x1001})


def encode_command(command: Mapping[int, int | str], *, has_data_set: bool) -> bytes:
    """Encode in tag order with the group length first (PS3.7 6.3.1)."""
    told = {**command, Element.DATA_SET_TYPE: _HAS_DATA_SET if has_data_set else NO_DATA_SET}
    body = b"".join(_element(number, value) for number, value in sorted(told.items()))
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def _element(number: int, value: int | str) -> bytes:
    if isinstance(value, int):
        return struct.pack("<HHIH", 0, number, 2, value)
    padding = b"\0" if number in _UIDS else b" "
    coded = value.encode()
    coded += padding * (len(coded) % 2)
    return struct.pack("<HHI", 0, number, len(coded)) + coded


def decode_command(data: bytes) -> Command:
    """Decode a command set; what is longer than its element says raises `struct.error`."""
    command: Command = {}
    offset = 0
    while offset < len(data):
        _, number, length = struct.unpack_from("<HHI", data, offset)
        offset += 8
        value = data[offset : offset + length]
        offset += length
        if number in _TEXTS:
            command[number] = value.rstrip(b"\0 ").decode("ascii", "replace")
        elif length == 2:
            (command[number],) = struct.unpack("<H", value)
    return command


def response_to(request: Mapping[int, int | str], status: int) -> Command:
    """Begin the response that answers a request (PS3.7 9.3)."""
    field = request[Element.COMMAND_FIELD]
    assert isinstance(field, int), "decoded as a number"
    return {
        Element.AFFECTED_SOP_CLASS_UID: request.get(Element.AFFECTED_SOP_CLASS_UID, ""),
        Element.COMMAND_FIELD: field | 0x8000,
        Element.MESSAGE_ID_BEING_RESPONDED_TO: request[Element.MESSAGE_ID],
        Element.STATUS: status,
    }
