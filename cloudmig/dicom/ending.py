"""Whether a data set ends before its last element does: cut off by a full disk, or on its way.

No pixel is read: the length of the pixel data is held against the size of the whole. Where that
length is undefined, the delimiter behind the fragments is looked for near the end (PS3.5 A.4).
What stands behind the pixels is not looked at.
"""

from __future__ import annotations

import mmap
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

__all__ = ["TAIL_BYTES", "ends_early", "ends_with_its_pixels"]

#: In so many last bytes the delimiter of fragments is looked for.
TAIL_BYTES = 64 << 10

_PIXEL_DATA_ITSELF = {"little": b"\xe0\x7f\x10\x00", "big": b"\x7f\xe0\x00\x10"}
_SEQUENCE_END = b"\xfe\xff\xdd\xe0\0\0\0\0"
_PIECE_BYTES = 1 << 20


def ends_with_its_pixels(
    beginning: bytes | bytearray | mmap.mmap,
    transfer_syntax_uid: str,
    *,
    start: int,
    end: int,
    size_bytes: int,
    tail: bytes,
) -> bool:
    """Settle nearly every image without walking there: its pixels end where it does.

    - `start`, `end`: where in `beginning` an element of pixels may begin.
    - `size_bytes`, `tail`: the size of all that `beginning` begins, and its last bytes, 8 at least.
    """
    order: Literal["big", "little"] = (
        "big" if transfer_syntax_uid == EXPLICIT_VR_BIG_ENDIAN else "little"
    )
    head = 8 if transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN else 12
    at = beginning.find(_PIXEL_DATA_ITSELF[order], start, end)
    while at >= 0:
        value_bytes = int.from_bytes(beginning[at + head - 4 : at + head], order)
        if at + head + value_bytes == size_bytes:
            return True
        if value_bytes == UNDEFINED and tail.endswith(_SEQUENCE_END):
            return True
        at = beginning.find(_PIXEL_DATA_ITSELF[order], at + 1, end)  # An icon's, perhaps.
    return False


def ends_early(
    dataset: memoryview, transfer_syntax_uid: str, *, size_bytes: int, tail: bytes, bytes_max: int
) -> bool:
    """Say whether a data set of `size_bytes` that begins with `dataset` ends before it should.

    - `tail`: its last bytes, `TAIL_BYTES` of them if there are so many.
    - `bytes_max`: how many are inflated at most.

    What does not show in these is not called so.
    """
    is_whole = len(dataset) == size_bytes
    if transfer_syntax_uid in DEFLATED:
        return is_whole and _stops_inflating(dataset, bytes_max)
    try:
        pixels = find_pixel_data(dataset, transfer_syntax_uid)
    except EndsEarly:
        return is_whole
    if pixels is None:
        return False
    _, start, value_bytes = pixels
    if value_bytes == UNDEFINED:
        behind = size_bytes - start
        return behind <= 0 or _SEQUENCE_END not in tail[-behind:]
    return start + value_bytes > size_bytes


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
