"""A walk over the top-level elements of an encoded data set: no library, no recursion, no pixels.

Used where every microsecond counts (each arriving instance, each IMAGE-level answer) and where the
bytes come from a stranger: it allocates nothing that the data names, and stops at the last element
asked for (PS3.5 section 7).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

__all__ = [
    "IMPLICIT_VR", "ITEM_LITTLE_ENDIAN", "NAMING_TAGS", "PIXEL_DATA", "PIXEL_TAGS", "UNKNOWN_VRS",
    "EndsEarly", "HeaderUnreadable", "Identity", "read_elements", "read_identity", "walk_elements",
]  # fmt: skip

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
#: Data sets in implicit VR. GE's own differs from the standard's in the byte order of the pixels.
IMPLICIT_VR = frozenset({IMPLICIT_VR_LITTLE_ENDIAN, "1.2.840.113619.5.2"})
EXPLICIT_VR_BIG_ENDIAN = "1.2.840.10008.1.2.2"
#: Deflated data sets: PS3.5 A.5, and JPIP Referenced Deflate, A.7.
DEFLATED = frozenset(
    {"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"}
)

#: How much of a deflated data set is inflated at most, to find its UIDs.
_INFLATED_BYTES_MAX = 1 << 20
UNDEFINED = 0xFFFFFFFF  #: A length that only the end of the value tells (PS3.5 7.1.1).
_LONG_VRS = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
)
#: Written by some where they did not know the VR; like other unknown ones with a short length.
UNKNOWN_VRS = frozenset({b"??", b"--"})
ITEM_LITTLE_ENDIAN = b"\xfe\xff\x00\xe0"
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_ELEMENTS_MAX = 200_000  #: In what is walked; a header with more is an attack, not an image.

SOP_CLASS_UID = 0x00080016
SOP_INSTANCE_UID = 0x00080018
STUDY_INSTANCE_UID = 0x0020000D
SERIES_INSTANCE_UID = 0x0020000E
PIXEL_DATA = 0x7FE00010
#: Float, double float and other pixel data: (7FE0,0008) to (7FE0,0010).
PIXEL_TAGS = range(0x7FE00008, PIXEL_DATA + 1)
#: What an object needs to have a place. Not all have a SOP class.
NAMING_TAGS = frozenset({SOP_INSTANCE_UID, STUDY_INSTANCE_UID, SERIES_INSTANCE_UID})
_IDENTITY = NAMING_TAGS | {SOP_CLASS_UID}


class HeaderUnreadable(ValueError):
    """The bytes are no data set in the transfer syntax they came in, or end too early."""


class EndsEarly(HeaderUnreadable):
    """The bytes end before the data set that they begin does."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The UIDs a data set gives itself. Empty where it has none; perhaps invalid."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str


def read_identity(data: bytes | bytearray | memoryview, transfer_syntax_uid: str) -> Identity:
    """Return the UIDs of an encoded data set. Raises `HeaderUnreadable`."""
    found = read_elements(
        data, transfer_syntax_uid, _IDENTITY, last=SERIES_INSTANCE_UID, needed=NAMING_TAGS
    )
    return Identity(
        sop_class_uid=uid_text(found.get(SOP_CLASS_UID, b"")),
        sop_instance_uid=uid_text(found.get(SOP_INSTANCE_UID, b"")),
        study_instance_uid=uid_text(found.get(STUDY_INSTANCE_UID, b"")),
        series_instance_uid=uid_text(found.get(SERIES_INSTANCE_UID, b"")),
    )


def uid_text(value: bytes) -> str:
    """Return a UI value as text, without its padding (PS3.5 section 9.1)."""
    return value.decode("ascii", "replace").strip("\0 ")


def read_elements(
    data: bytes | bytearray | memoryview,
    transfer_syntax_uid: str,
    wanted: Collection[int],
    *,
    last: int,
    needed: AbstractSet[int] = frozenset(),
    is_whole: bool = True,
) -> dict[int, bytes]:
    """Return the raw values of `wanted` top-level tags up to the tag `last`.

    Tags are integers, group in the high half. Elements out of order (seen in old archives) end the
    walk only when their tag is past `last`, and not while one of `needed` may still come before
    the pixels. Where `data` is not the whole data set, that must be in it. Raises
    `HeaderUnreadable`.
    """
    if transfer_syntax_uid in DEFLATED:
        data, is_whole = _inflate(data)
    found: dict[int, bytes] = {}
    is_past = False
    try:
        for tag, start, length in walk_elements(data, transfer_syntax_uid):
            is_past = is_past or tag > last
            if tag > last and (needed <= found.keys() or tag >= PIXEL_TAGS[0]):
                return found
            if length != UNDEFINED and tag in wanted:
                if start + length > len(data):
                    raise EndsEarly("ends in the middle of a value")
                found[tag] = bytes(data[start : start + length])
    except HeaderUnreadable as error:
        if is_past and (is_whole or not isinstance(error, EndsEarly)):
            return found  # It has been read; more of it was only hoped for.
        raise
    if not is_whole:
        raise EndsEarly("ends before its header does")
    return found


def walk_elements(
    data: bytes | bytearray | memoryview, transfer_syntax_uid: str
) -> Iterator[tuple[int, int, int]]:
    """Yield tag, offset of the value and length (perhaps `UNDEFINED`) of top-level elements.

    Nothing is inflated. Raises `HeaderUnreadable` where there is no element, and `EndsEarly` where
    the data end before an element does; that of the last one is noticed after it was yielded.
    """
    order = ">" if transfer_syntax_uid == EXPLICIT_VR_BIG_ENDIAN else "<"
    implicit = transfer_syntax_uid in IMPLICIT_VR
    position, end = 0, len(data)
    short = struct.Struct(order + "HH2sH").unpack_from
    plain = struct.Struct(order + "HHI").unpack_from
    count = 0
    while position + 8 <= end:
        count += 1
        if count > _ELEMENTS_MAX:
            raise HeaderUnreadable("too many elements")
        if implicit:
            group, element, length = plain(data, position)
            position += 8
            vr = b""
        else:
            group, element, vr, length = short(data, position)
            position += 8
            if vr in _LONG_VRS:
                if position + 4 > end:
                    raise EndsEarly("ends in the middle of an element")
                (length,) = struct.unpack_from(order + "I", data, position)
                position += 4
            elif not vr.isalpha() and vr not in UNKNOWN_VRS:
                raise HeaderUnreadable("an element has no value representation")
        yield group << 16 | element, position, length
        if length == UNDEFINED:
            position = _skip_somehow(data, position, order, implicit=implicit or vr == b"UN")
        else:
            position += length
    if position > end or any(data[position:end]):  # Some pad what they write with zeros.
        raise EndsEarly("ends in the middle of an element")


def _skip_somehow(
    data: bytes | bytearray | memoryview, position: int, order: str, *, implicit: bool
) -> int:
    """Return the position after a sequence of undefined length, also if it is coded otherwise.

    Old software left the items of a private sequence as they were, when it wrote explicit what it
    had in implicit VR, and wrote explicit what belongs into UN (CP 246 of DICOM).
    """
    try:
        return _skip_undefined(data, position, order, implicit=implicit)
    except HeaderUnreadable as error:
        head = bytes(data[position : position + 14])  # Of its first item, and what is in that.
        seen_order = "<" if head.startswith(ITEM_LITTLE_ENDIAN) else ">"
        seen_implicit = not head[12:].isalpha()
        if (seen_order, seen_implicit) == (order, implicit):
            raise
        try:
            return _skip_undefined(data, position, seen_order, implicit=seen_implicit)
        except HeaderUnreadable as other:
            raise error if isinstance(error, EndsEarly) else other from None


def _skip_undefined(
    data: bytes | bytearray | memoryview, position: int, order: str, *, implicit: bool
) -> int:
    """Return the position after a sequence of undefined length, however deep it nests."""
    tag_length = struct.Struct(order + "HHI").unpack_from
    explicit_head = struct.Struct(order + "HH2sH").unpack_from
    modes = [implicit]  # One entry per open sequence: UN of undefined length is implicit inside.
    in_item = [False]
    end = len(data)
    for _ in range(_ELEMENTS_MAX):
        if position + 8 > end:
            raise EndsEarly("a sequence has no end")
        group, element, length = tag_length(data, position)
        tag = group << 16 | element
        if tag == _SEQUENCE_END:
            position += 8
            modes.pop()
            in_item.pop()
            if not modes:
                return position
            continue
        if tag == _ITEM_END:
            position += 8
            in_item[-1] = False
            continue
        if tag == _ITEM:
            position += 8
            if length == UNDEFINED:
                in_item[-1] = True
            else:
                position += length
            continue
        if not in_item[-1]:
            raise HeaderUnreadable("something else than an item in a sequence")
        vr = b""
        position += 8
        if not modes[-1]:
            _, _, vr, length = explicit_head(data, position - 8)
            if vr in _LONG_VRS:
                if position + 4 > end:
                    raise EndsEarly("ends in the middle of an element")
                (length,) = struct.unpack_from(order + "I", data, position)
                position += 4
        if length == UNDEFINED:
            modes.append(modes[-1] or vr == b"UN")
            in_item.append(False)
        else:
            position += length
    raise HeaderUnreadable("too many elements in a sequence")


def _inflate(data: bytes | bytearray | memoryview) -> tuple[bytes, bool]:
    """Inflate a bounded prefix (PS3.5 A.5), never a bomb; say whether that was all."""
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = unpacker.decompress(data, _INFLATED_BYTES_MAX)
    except zlib.error as error:
        raise HeaderUnreadable("not a deflated data set") from error
    return inflated, unpacker.eof
