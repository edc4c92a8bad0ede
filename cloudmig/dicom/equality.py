"""Says whether two files hold one instance: equal elements and an equal pixel bitstream.

What a store may write differently: group 0002, group lengths, padding, defined and undefined
lengths, implicit and explicit VR, byte order, deflation of what is not compressed, how the bytes of
a compressed frame are cut into fragments. What it may not: any value, an element more or less
(private ones too, and an empty one is not none), the transfer syntax of compressed pixels, one
byte of pixels. Nothing is decoded.

Run as a child process with limits on memory and time, because strangers wrote the bytes:
`python -m cloudmig.dicom.equality A B BYTES`, where A and B are descriptors of files that are open
and BYTES is the memory it may take beside these, which are mapped. See `cloudmig.dicom.compare`.
"""

from __future__ import annotations

import array
import json
import mmap
import os
import resource
import sys
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise

from cloudmig.dicom.elements import (
    PIXEL_DATA,
    DataSet,
    Element,
    Torn,
    as_fragments,
    as_items,
    read_data_set,
)
from cloudmig.dicom.header import EXPLICIT_VR_BIG_ENDIAN
from cloudmig.dicom.part10 import NotPart10, read_prefix

__all__ = ["compared"]

_CPU_S_MAX = 120
_DIFFERENCES_MAX = 20
_PIECE_BYTES = 1 << 20

#: Between these a store may convert: the pixels are the same bits (PS3.5 A.1, A.2, A.3, A.5).
_NATIVE = frozenset({
    "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", EXPLICIT_VR_BIG_ENDIAN,
})  # fmt: skip
_RLE_LOSSLESS = "1.2.840.10008.1.2.5"
_NUMBER_OF_FRAMES = 0x00280008
_DATA_SET_TRAILING_PADDING = 0xFFFCFFFC
#: VRs of text that trailing spaces do not belong to, of several values and of one (PS3.5 6.2).
_TEXT_VRS = frozenset({
    b"AE", b"AS", b"CS", b"DA", b"DS", b"DT", b"IS", b"LO", b"PN", b"SH", b"TM", b"UC", b"UI",
})  # fmt: skip
#: Of those, the ones to which leading spaces do not belong either.
_LED_TEXT_VRS = frozenset({b"AE", b"CS", b"DS", b"IS", b"LO", b"SH"})
_ONE_TEXT_VRS = frozenset({b"LT", b"ST", b"UR", b"UT"})
#: Bytes of one number, where that is more than one.
_WIDTHS = {
    b"AT": 2, b"OW": 2, b"SS": 2, b"US": 2, b"FL": 4, b"OF": 4, b"OL": 4, b"SL": 4, b"UL": 4,
    b"FD": 8, b"OD": 8, b"OV": 8, b"SV": 8, b"UV": 8,
}  # fmt: skip
_TYPECODES = {2: "H", 4: "I", 8: "Q"}
#: VRs that say as much of the same bytes: native pixels may be written as either (PS3.5 8.1.2).
_ALIKE = frozenset({b"OB", b"OW"})


def compared(first: memoryview, second: memoryview) -> tuple[list[str], str]:
    """Return the tags in which two Part 10 files differ, and why that could not be decided."""
    try:
        left = _File(first)
    except (Torn, NotPart10) as error:
        try:
            _File(second)
        except (Torn, NotPart10):
            return [], "neither is a whole data set"
        return [_where(error)], ""
    try:
        right = _File(second)
    except (Torn, NotPart10) as error:
        return [_where(error)], ""
    return list(islice(_differences(left, right), _DIFFERENCES_MAX)), ""


def _where(error: Torn | NotPart10) -> str:
    return error.where if isinstance(error, Torn) else "file meta information"


class _File:
    """A Part 10 file, taken apart."""

    def __init__(self, file: memoryview) -> None:
        offset, self.transfer_syntax_uid = read_prefix(file)
        if not self.transfer_syntax_uid:
            raise Torn("(0002,0010)")
        self.order = ">" if self.transfer_syntax_uid == EXPLICIT_VR_BIG_ENDIAN else "<"
        self.data_set = read_data_set(file[offset:], self.transfer_syntax_uid)


def _differences(left: _File, right: _File) -> Iterator[str]:
    """Yield the path of each element that differs; tags only, never values."""
    ours, theirs = left.transfer_syntax_uid, right.transfer_syntax_uid
    if ours != theirs and not {ours, theirs} <= _NATIVE:
        yield "transfer syntax"
        return
    yield from _Comparison(left, right).walk("", left.data_set, right.data_set)


class _Comparison:
    def __init__(self, left: _File, right: _File) -> None:
        self._left, self._right = left, right

    def walk(self, path: str, left: DataSet, right: DataSet) -> Iterator[str]:
        for tag in sorted(left.keys() | right.keys()):
            # Group lengths are retired, trailing padding means nothing (PS3.5 7.2, PS3.10 7.2).
            if tag & 0xFFFF == 0 or tag == _DATA_SET_TRAILING_PADDING:
                continue
            name = f"{path}({tag >> 16:04x},{tag & 0xFFFF:04x})"
            ours, theirs = left.get(tag), right.get(tag)
            if ours is None or theirs is None:
                yield name
            elif ours.fragments is not None or theirs.fragments is not None:
                if not self._same_pixels(ours, theirs, left, right):
                    yield name
            elif ours.items is None and theirs.items is None:
                if not self._same_value(ours, theirs):
                    yield from self._hidden_sequence(name, ours, theirs)
            else:
                yield from self._sequence(name, ours, theirs)

    def _sequence(self, name: str, ours: Element, theirs: Element) -> Iterator[str]:
        first = as_items(ours, self._left.order)
        second = as_items(theirs, self._right.order)
        if first is None or second is None or len(first) != len(second):
            yield name
            return
        for number, (one, other) in enumerate(zip(first, second, strict=True)):
            yield from self.walk(f"{name}[{number}].", one, other)

    def _hidden_sequence(self, name: str, ours: Element, theirs: Element) -> Iterator[str]:
        """Two values differ as bytes: perhaps both are sequences that do not say so."""
        if not ours.value or not theirs.value:
            yield name
            return
        yield from self._sequence(name, ours, theirs)

    def _same_value(self, ours: Element, theirs: Element) -> bool:
        if ours.vr != theirs.vr and not _may_differ(ours.vr, theirs.vr):
            return False
        first, second = ours.value, theirs.value
        vr = next((vr for vr in (ours.vr, theirs.vr) if vr not in {b"", b"UN"}), b"")
        if self._left.order != self._right.order:
            if self._left.order == ">":
                first = _swapped(first, vr)
            else:
                second = _swapped(second, vr)
        return _equal_bytes(first, second) or _equal_but_padding(
            first, second, vr or _vr_of(ours.tag)
        )

    def _same_pixels(self, ours: Element, theirs: Element, left: DataSet, right: DataSet) -> bool:
        """Compare frame by frame: a frame's bits are its fragments one after the other."""
        first = as_fragments(ours, self._left.order)
        second = as_fragments(theirs, self._right.order)
        if not first or not second or ours.tag != PIXEL_DATA:
            return False
        if not (_is_right_table(first) and _is_right_table(second)):
            # An offset table that points elsewhere hides frames: then it must be the same one.
            return _equal_pieces(first, second)
        if _equal_pieces(first[1:], second[1:]):
            return True
        if self._left.transfer_syntax_uid == _RLE_LOSSLESS:
            return False  # Each frame is one fragment; another cut is another image (PS3.5 A.4.2).
        frames, others = _frames(first, left), _frames(second, right)
        return frames is not None and others is not None and _equal_pieces(frames, others)


def _may_differ(first: bytes, second: bytes) -> bool:
    """Say whether one of them only tells less than the other."""
    return bool({first, second} & {b"", b"UN"}) or {first, second} == _ALIKE


def _swapped(value: memoryview, vr: bytes) -> memoryview:
    width = _WIDTHS.get(vr, 1)
    if width == 1 or len(value) % width:
        return value
    numbers = array.array(_TYPECODES[width], value.tobytes())
    numbers.byteswap()
    return memoryview(numbers).cast("B")


def _equal_bytes(first: memoryview, second: memoryview) -> bool:
    """Compare in pieces: a view is compared byte by byte, slowly, a copy is not."""
    return len(first) == len(second) and all(
        bytes(first[start : start + _PIECE_BYTES]) == bytes(second[start : start + _PIECE_BYTES])
        for start in range(0, len(first), _PIECE_BYTES)
    )


def _equal_pieces(first: Sequence[memoryview], second: Sequence[memoryview]) -> bool:
    return len(first) == len(second) and all(map(_equal_bytes, first, second))


def _equal_but_padding(first: memoryview, second: memoryview, vr: bytes) -> bool:
    if vr in _ONE_TEXT_VRS:
        return bytes(first).rstrip(b" \0") == bytes(second).rstrip(b" \0")
    if vr in _TEXT_VRS:
        return _texts(first, vr) == _texts(second, vr)
    shorter, longer = sorted((first, second), key=len)
    # A byte that makes an odd length even; of even lengths each byte counts.
    return (
        len(shorter) % 2 == 1
        and len(longer) == len(shorter) + 1
        and longer[-1] == 0
        and _equal_bytes(shorter, longer[:-1])
    )


def _texts(value: memoryview, vr: bytes) -> list[bytes]:
    texts = [each.rstrip(b" \0") for each in bytes(value).split(b"\\")]
    if vr == b"PN":  # Empty groups at the end may be left out (PS3.5 6.2.1.2).
        return [each.rstrip(b"= ") for each in texts]
    return [each.lstrip(b" ") for each in texts] if vr in _LED_TEXT_VRS else texts


def _vr_of(tag: int) -> bytes:
    """Return what the dictionary says of a tag; empty of a private one."""
    # Imported here: it takes long, and few comparisons need it.
    from pydicom.datadict import dictionary_VR  # noqa: PLC0415

    try:
        return dictionary_VR(tag).encode("ascii")
    except KeyError:
        return b""


def _is_right_table(fragments: Sequence[memoryview]) -> bool:
    """Say whether the offset table is empty or points to beginnings of fragments (PS3.5 A.4)."""
    offsets = _offsets(fragments[0])
    if offsets is None:
        return False
    starts, position = set(), 0
    for each in fragments[1:]:
        starts.add(position)
        position += 8 + len(each)
    return (
        set(offsets) <= starts
        and (not offsets or offsets[0] == 0)
        and all(one < other for one, other in pairwise(offsets))
    )


def _offsets(table: memoryview) -> list[int] | None:
    if len(table) % 4:
        return None
    return [int.from_bytes(table[at : at + 4], "little") for at in range(0, len(table), 4)]


def _frames(fragments: Sequence[memoryview], data_set: DataSet) -> list[memoryview] | None:
    """Return the bits of each frame, None where nothing tells which fragments are one frame."""
    count, pieces = _number_of_frames(data_set), fragments[1:]
    if count == 1:
        return [memoryview(b"".join(pieces))]
    if len(pieces) == count:
        return list(pieces)
    offsets = _offsets(fragments[0]) or []
    if len(offsets) != count:
        return None
    frames: dict[int, list[memoryview]] = {}
    position, current = 0, 0
    for each in pieces:
        current = position if position in set(offsets) else current
        frames.setdefault(current, []).append(each)
        position += 8 + len(each)
    return [memoryview(b"".join(each)) for each in frames.values()]


def _number_of_frames(data_set: DataSet) -> int:
    element = data_set.get(_NUMBER_OF_FRAMES)
    said = b"" if element is None else bytes(element.value[:16]).strip(b" \0")
    return int(said) if said.isdigit() else 1


def _main() -> None:
    *files, memory_bytes_max = [int(number) for number in sys.argv[1:4]]
    allowed = memory_bytes_max + sum(os.fstat(file).st_size for file in files)
    resource.setrlimit(resource.RLIMIT_AS, (allowed, allowed))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_S_MAX, _CPU_S_MAX))
    found, undecided = compared(*map(_mapped, files))
    answer = {"equal": not found and not undecided, "differences": found, "undecided": undecided}
    sys.stdout.write(json.dumps(answer))


def _mapped(file: int) -> memoryview:
    if not os.fstat(file).st_size:
        return memoryview(b"")
    return memoryview(mmap.mmap(file, 0, access=mmap.ACCESS_READ))


if __name__ == "__main__":
    _main()
