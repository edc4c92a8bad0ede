"""Whether a file ends before its data set does: cut off by a full disk, or a copy that broke.

No pixel is read: the length of the pixel data is held against the size of the file. Where that
length is undefined, the delimiter behind the fragments is looked for near the end (PS3.5 A.4).
What stands behind the pixels is not looked at.
"""

from __future__ import annotations

import mmap
import os
import zlib
from typing import Literal

from cloudmig.dicom.header import (
    DEFLATED,
    EXPLICIT_VR_BIG_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    UNDEFINED,
    EndsEarly,
    find_pixel_data,
)
from cloudmig.dicom.part10 import read_prefix

__all__ = ["is_torn"]

_PIXEL_DATA_ITSELF = {"little": b"\xe0\x7f\x10\x00", "big": b"\x7f\xe0\x00\x10"}
_SEQUENCE_END = b"\xfe\xff\xdd\xe0\0\0\0\0"
_TAIL_BYTES = 64 << 10  #: In which the delimiter of fragments is looked for.
_PIECE_BYTES = 1 << 20


def is_torn(
    file: int, size_bytes: int, beginning: bytes, transfer_syntax_uid: str, *, bytes_max: int
) -> bool:
    """Say whether an open Part 10 file, whose header was read, ends before its data set does.

    Looks at `bytes_max` of it at most: what does not show in these is not called torn.
    """
    if _pixels_reach_the_end(file, size_bytes, beginning, transfer_syntax_uid):
        return False
    length = min(size_bytes, bytes_max)
    with mmap.mmap(file, length, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as view:
        offset, _ = read_prefix(view)
        with view[offset:] as dataset:
            if transfer_syntax_uid in DEFLATED:
                return length == size_bytes and _stops_inflating(dataset, bytes_max)
            try:
                pixels = find_pixel_data(dataset, transfer_syntax_uid)
            except EndsEarly:
                return length == size_bytes
    if pixels is None:
        return False
    _, start, value_bytes = pixels
    if value_bytes == UNDEFINED:
        return not _has_delimiter(file, offset + start, size_bytes)
    return offset + start + value_bytes > size_bytes


def _pixels_reach_the_end(
    file: int, size_bytes: int, beginning: bytes, transfer_syntax_uid: str
) -> bool:
    """Settle nearly every image without walking there: its pixels end where the file does."""
    order: Literal["big", "little"] = (
        "big" if transfer_syntax_uid == EXPLICIT_VR_BIG_ENDIAN else "little"
    )
    head = 8 if transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN else 12
    at = beginning.find(_PIXEL_DATA_ITSELF[order])
    while at >= 0:
        value_bytes = int.from_bytes(beginning[at + head - 4 : at + head], order)
        if at + head + value_bytes == size_bytes:
            return True
        if value_bytes == UNDEFINED and os.pread(file, 8, size_bytes - 8) == _SEQUENCE_END:
            return True
        at = beginning.find(_PIXEL_DATA_ITSELF[order], at + 1)  # That was an icon's, perhaps.
    return False


def _has_delimiter(file: int, start: int, size_bytes: int) -> bool:
    tail = max(start, size_bytes - _TAIL_BYTES)
    return _SEQUENCE_END in os.pread(file, size_bytes - tail, tail)


def _stops_inflating(dataset: memoryview, bytes_max: int) -> bool:
    """Say whether a deflated data set breaks off. Kept is nothing of it, read no bomb's end."""
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = len(unpacker.decompress(dataset, _PIECE_BYTES))
        while not unpacker.eof and unpacker.unconsumed_tail and inflated < bytes_max:
            inflated += len(unpacker.decompress(unpacker.unconsumed_tail, _PIECE_BYTES))
    except zlib.error:
        return True  # Damaged: nobody gets at what stands behind.
    return not unpacker.eof and not unpacker.unconsumed_tail
