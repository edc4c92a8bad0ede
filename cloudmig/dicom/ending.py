"""Whether a data set ends before its last element does: cut off by a full disk, or on its way.

No pixel is read: lengths are held against the size of the whole. Where that of the pixels is
undefined, the delimiter behind their fragments is looked for (PS3.5 A.4). What stands behind the
pixels is not looked at, and a cut between two elements leaves no trace.
"""

from __future__ import annotations

import mmap
import zlib
from typing import Literal

from cloudmig.dicom.header import (
    DEFLATED,
    EXPLICIT_VR_BIG_ENDIAN,
    IMPLICIT_VR,
    ITEM_LITTLE_ENDIAN,
    PIXEL_TAGS,
    UNDEFINED,
    EndsEarly,
    HeaderUnreadable,
    walk_elements,
)

__all__ = ["ends_early", "ends_with_its_pixels"]

_PIXEL_DATA_ITSELF = {"little": b"\xe0\x7f\x10\x00", "big": b"\x7f\xe0\x00\x10"}
_SEQUENCE_END = b"\xfe\xff\xdd\xe0"
_PIECE_BYTES = 1 << 20
#: How often something is looked at again: what a stranger made may not hold us up.
_FOUND_MAX, _WALKS_MAX, _FRAGMENTS_MAX = 100, 64, 100_000
_ELEMENTS_MAX = 200_000  #: In all walks.


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
    head = 8 if transfer_syntax_uid in IMPLICIT_VR else 12
    at = start - 1
    for _ in range(_FOUND_MAX):  # The first may be an icon's.
        at = beginning.find(_PIXEL_DATA_ITSELF[order], at + 1, end)
        if at < 0:
            return False
        value_bytes = int.from_bytes(beginning[at + head - 4 : at + head], order)
        if at + head + value_bytes == size_bytes:
            return True
        if value_bytes == UNDEFINED and tail.endswith(_SEQUENCE_END + bytes(4)):
            return True
    return False


def ends_early(  # noqa: PLR0911 - one for each way in which it is known
    dataset: memoryview, transfer_syntax_uid: str, *, size_bytes: int, walked_bytes_max: int
) -> bool:
    """Say whether a data set of `size_bytes` that begins with `dataset` ends before it should.

    Between one long element and the next, and of what is inflated, `walked_bytes_max` are looked
    at. What does not show in these is not called so.
    """
    if transfer_syntax_uid in DEFLATED:
        return len(dataset) == size_bytes and _stops_inflating(dataset, walked_bytes_max)
    at = elements = 0
    for _ in range(_WALKS_MAX):
        if elements > _ELEMENTS_MAX:
            return False
        next_at: int | None = at
        with dataset[at : at + walked_bytes_max] as window:
            is_last = at + len(window) == size_bytes
            try:
                for tag, start, value_bytes in walk_elements(window, transfer_syntax_uid):
                    if tag in PIXEL_TAGS:
                        return _value_ends_early(dataset, at + start, value_bytes, size_bytes)
                    elements += 1
                    next_at = None if value_bytes == UNDEFINED else at + start + value_bytes
                if is_last:
                    return False
            except EndsEarly:
                if is_last:
                    return True
            except HeaderUnreadable:
                return False  # Something else stands behind the elements.
        if next_at is None or next_at <= at:
            return False
        if next_at > size_bytes:
            return True
        at = next_at  # Behind an element that is longer than the window.
    return False


def _value_ends_early(dataset: memoryview, start: int, value_bytes: int, size_bytes: int) -> bool:
    """Say whether the pixels go beyond the end, or their fragments have none."""
    if value_bytes != UNDEFINED:
        return start + value_bytes > size_bytes
    for _ in range(_FRAGMENTS_MAX):
        head = bytes(dataset[start : start + 8])
        if len(head) < 8:
            return start + 8 > size_bytes
        if head[:4] == _SEQUENCE_END or head[:4] != ITEM_LITTLE_ENDIAN:
            return False
        start += 8 + int.from_bytes(head[4:], "little")
    return False


def _stops_inflating(dataset: memoryview, bytes_max: int) -> bool:
    """Say whether a deflated data set breaks off. Kept is nothing of it, read no bomb's end."""
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = 0
    try:
        piece = unpacker.decompress(dataset, _PIECE_BYTES)
        while not unpacker.eof and inflated < bytes_max:
            if len(piece) < _PIECE_BYTES:
                return True  # Everything was taken, and there is no end.
            inflated += len(piece)
            piece = unpacker.decompress(unpacker.unconsumed_tail, _PIECE_BYTES)
    except zlib.error:
        return True  # Damaged: nobody gets at what stands behind.
    return False
