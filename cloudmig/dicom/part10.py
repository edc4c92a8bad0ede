"""Part 10 files: the prefix we write before a data set, and where the data set of a file begins.

The prefix is deterministic: it names the object and its transfer syntax and nothing else (no time,
no AE title, no version), so the same data set always makes the same file (PS3.10 section 7.1).
"""

from __future__ import annotations

import struct

__all__ = [
    "IMPLEMENTATION_CLASS_UID", "NotPart10", "file_prefix", "read_file_meta", "read_prefix",
]  # fmt: skip

#: Names cloudmig as the writer of group 0002, for ever: changing it would change every file digest.
IMPLEMENTATION_CLASS_UID = "2.25.207276357322716971911581537223729775924"

_PREAMBLE = bytes(128) + b"DICM"
_VERSION = b"\x02\x00\x01\x00OB\x00\x00\x02\x00\x00\x00\x00\x01"  # (0002,0001) = 00 01
_LONG_VRS = frozenset({b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UC", b"UN", b"UR", b"UT"})
_GROUP_LENGTH, _TRANSFER_SYNTAX, _IMPLEMENTATION = 0x0000, 0x0010, 0x0012
_GROUP_LENGTH_ENDS = 144
_VALUE_BYTES_MAX = 0xFFFE
#: A group 0002 larger than this is no group 0002.
PREFIX_BYTES_MAX = 1 << 20


class NotPart10(ValueError):
    """The bytes do not begin with a preamble, `DICM` and a readable group 0002."""


def file_prefix(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """Return preamble, `DICM` and group 0002 for a data set (PS3.10 table 7.1-1)."""
    meta = b"".join(
        (
            _VERSION,
            _uid_element(0x0002, sop_class_uid),
            _uid_element(0x0003, sop_instance_uid),
            _uid_element(_TRANSFER_SYNTAX, transfer_syntax_uid),
            _uid_element(0x0012, IMPLEMENTATION_CLASS_UID),
        )
    )
    return _PREAMBLE + struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(meta)) + meta


def _uid_element(element: int, text: str) -> bytes:
    # Cut at what the length field can say. An object with such a UID goes to quarantine, whole.
    value = text.encode("ascii", "replace")[:_VALUE_BYTES_MAX]
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HH2sH", 2, element, b"UI", len(value)) + value


def read_prefix(data: bytes | bytearray | memoryview) -> tuple[int, str]:
    """Return the offset of the data set and the Transfer Syntax UID of a Part 10 file's beginning.

    Raises `NotPart10`; a beginning that is too short to tell counts as that, too.
    """
    position, meta = read_file_meta(data)
    return position, meta.get(_TRANSFER_SYNTAX, b"").decode("ascii", "replace").rstrip("\0 ")


def read_file_meta(data: bytes | bytearray | memoryview) -> tuple[int, dict[int, bytes]]:
    """Return the offset of the data set, and the values of group 0002 by element number.

    It is walked element by element: its group length is optional in the field. Raises `NotPart10`.
    What we wrote ends where it says: some data sets have elements of group 0002 themselves.
    """
    if bytes(data[128:132]) != b"DICM":
        raise NotPart10("no DICM after the preamble")
    position, meta = 132, dict[int, bytes]()
    try:
        while struct.unpack_from("<H", data, position)[0] == 2:
            _, element, vr = struct.unpack_from("<HH2s", data, position)
            if vr in _LONG_VRS:
                (length,) = struct.unpack_from("<I", data, position + 8)
                start = position + 12
            else:
                (length,) = struct.unpack_from("<H", data, position + 6)
                start = position + 8
            position = start + length
            if position > PREFIX_BYTES_MAX:
                raise NotPart10("group 0002 has no end")
            meta[element] = bytes(data[start:position])
            if element == _IMPLEMENTATION and _is_end_of_ours(meta, position):
                break
    except struct.error:
        # A file may end with group 0002 (an empty data set); a shorter one is torn.
        if position != len(data):
            raise NotPart10("group 0002 is torn") from None
    return position, meta


def _is_end_of_ours(meta: dict[int, bytes], position: int) -> bool:
    written = int.from_bytes(meta.get(_GROUP_LENGTH, b""), "little")
    is_ours = meta[_IMPLEMENTATION].rstrip(b"\0") == IMPLEMENTATION_CLASS_UID.encode("ascii")
    return is_ours and position == _GROUP_LENGTH_ENDS + written
