"""The judge's own view of a Part 10 file: where the data set begins, and its digest.

PS3.10 7.1: 128 bytes, "DICM", then the elements of group 0002 in Explicit VR Little Endian.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

__all__ = ["FileMeta", "NotPart10", "dataset_sha256", "read_file_meta"]

#: VRs whose length is 32 bits after two reserved bytes (PS3.5 7.1.2).
_LONG_VRS = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"UC", b"UN", b"UR", b"UT"))


class NotPart10(ValueError):  # noqa: N818 - reads as what was found
    """The bytes have no preamble, or their file meta does not end."""


@dataclass(frozen=True, slots=True)
class FileMeta:
    """What group 0002 says, and where it ends."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    dataset_offset: int


def read_file_meta(content: bytes) -> FileMeta:
    """Walk group 0002 element by element; its group length is not trusted."""
    if content[128:132] != b"DICM":
        raise NotPart10("no DICM after 128 bytes")
    position = 132
    values: dict[int, str] = {}
    while content[position : position + 2] == b"\x02\x00":
        element, vr = struct.unpack_from("<H2s", content, position + 2)
        if vr in _LONG_VRS:
            (length,) = struct.unpack_from("<I", content, position + 8)
            start = position + 12
        else:
            (length,) = struct.unpack_from("<H", content, position + 6)
            start = position + 8
        position = start + length
        if position > len(content):
            raise NotPart10("file meta is cut off")
        values[element] = content[start:position].rstrip(b"\0 ").decode("ascii", "replace")
    return FileMeta(
        sop_class_uid=values.get(0x0002, ""),
        sop_instance_uid=values.get(0x0003, ""),
        transfer_syntax_uid=values.get(0x0010, ""),
        dataset_offset=position,
    )


def dataset_sha256(content: bytes) -> str:
    """Return the SHA-256 of everything after the file meta."""
    return hashlib.sha256(memoryview(content)[read_file_meta(content).dataset_offset :]).hexdigest()
