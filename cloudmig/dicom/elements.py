"""A strict walk over a whole data set: every element, every item, every fragment, to the last byte.

For comparing what two parties wrote of one instance. A parser that is kind to damage is no witness:
here a value that ends early, an element told twice or a byte too many is an error (PS3.5 7.1).
Values are views of the file, never copies. No dictionary is needed: what a value means is left to
whoever compares.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from cloudmig.dicom.header import (
    DEFLATED,
    EXPLICIT_VR_BIG_ENDIAN,
    IMPLICIT_VR,
    PIXEL_DATA,
    UNKNOWN_VRS,
)

__all__ = ["PIXEL_DATA", "DataSet", "Element", "Torn", "as_fragments", "as_items", "read_data_set"]

_UNDEFINED = 0xFFFFFFFF
_LONG_VRS = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
)
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_DEPTH_MAX = 100
_INFLATED_BYTES_MAX = 1 << 30
#: What gzip puts after its stream, seen in real files, and a byte of padding.
_DEFLATE_TRAILER_BYTES_MAX = 9


class Torn(ValueError):
    """The bytes are no whole data set. `where` is the path of tags to the place, never a value."""

    def __init__(self, where: str) -> None:
        super().__init__(f"not a whole data set at {where or 'its beginning'}")
        self.where = where


@dataclass(frozen=True, slots=True)
class Element:
    """One element: with a value, with items, or with the fragments of encapsulated pixels."""

    tag: int
    vr: bytes  #: Empty where the encoding does not tell it.
    value: memoryview
    items: tuple[DataSet, ...] | None = None
    fragments: tuple[memoryview, ...] | None = None  #: The offset table comes first.


DataSet = Mapping[int, Element]


def read_data_set(data: memoryview, transfer_syntax_uid: str) -> DataSet:
    """Return the elements of an encoded data set by tag. Raises `Torn`."""
    if transfer_syntax_uid in DEFLATED:
        data = _inflated(data)
    order = ">" if transfer_syntax_uid == EXPLICIT_VR_BIG_ENDIAN else "<"
    walk = _Walk(data, order)
    found, _ = walk.elements(
        0, len(data), implicit=transfer_syntax_uid in IMPLICIT_VR, path="", depth=0
    )
    return found


def as_items(element: Element, order: str) -> tuple[DataSet, ...] | None:
    """Return the items of a sequence that stands there as unexplained bytes, None if it is none.

    Without a dictionary an implicit element or one of VR UN does not tell that it is a sequence;
    its items are then encoded implicitly (PS3.5 6.2.2, note on UN).
    """
    if element.items is not None:
        return element.items
    if element.vr not in {b"", b"UN"}:
        return None
    try:
        items, _ = _Walk(element.value, order).items(
            0, len(element.value), implicit=True, path="", depth=0
        )
    except Torn:
        return None
    return items


def as_fragments(element: Element, order: str) -> tuple[memoryview, ...] | None:
    """Return the fragments of pixels that were encapsulated in a defined length, or None."""
    if element.fragments is not None:
        return element.fragments
    try:
        fragments, _ = _Walk(element.value, order).fragments(0, len(element.value), path="")
    except Torn:
        return None
    return fragments or None


class _Walk:
    """Reads one stretch of bytes. A position is an offset in it; an `end` is never passed."""

    def __init__(self, data: memoryview, order: str) -> None:
        self._data = data
        self._head = struct.Struct(order + "HHI").unpack_from
        self._explicit_head = struct.Struct(order + "HH2sH").unpack_from
        self._length = struct.Struct(order + "I").unpack_from

    def elements(
        self,
        position: int,
        end: int,
        *,
        implicit: bool,
        path: str,
        depth: int,
        open_end: bool = False,
    ) -> tuple[DataSet, int]:
        """Read elements up to `end`; with `open_end`, up to the delimiter of their item."""
        if depth > _DEPTH_MAX:
            raise Torn(path)
        found: dict[int, Element] = {}
        while position < end or open_end:
            if position + 8 > end:
                raise Torn(path or "its end")
            group, element, _ = self._head(self._data, position)
            tag = group << 16 | element
            if open_end and tag == _ITEM_END:
                return found, position + 8
            name = f"{path}({group:04x},{element:04x})"
            if tag in found or group == 0xFFFE:
                raise Torn(name)
            found[tag], position = self._element(
                tag, position, end, implicit=implicit, path=name, depth=depth
            )
        return found, position

    def _element(
        self, tag: int, position: int, end: int, *, implicit: bool, path: str, depth: int
    ) -> tuple[Element, int]:
        vr, length, position = self._tag_head(position, end, implicit=implicit, path=path)
        stop = end if length == _UNDEFINED else position + length
        if stop > end:
            raise Torn(path)
        value = self._data[position:stop] if length != _UNDEFINED else self._data[:0]
        if length == _UNDEFINED and tag == PIXEL_DATA:
            fragments, position = self.fragments(position, end, path=path, open_end=True)
            return Element(tag, vr, value, fragments=fragments), position
        if length == _UNDEFINED or vr == b"SQ":
            items, position = self.items(
                position,
                stop,
                implicit=implicit or vr == b"UN",
                path=path,
                depth=depth + 1,
                open_end=length == _UNDEFINED,
            )
            return Element(tag, vr, value, items=items), position
        return Element(tag, vr, value), stop

    def _tag_head(
        self, position: int, end: int, *, implicit: bool, path: str
    ) -> tuple[bytes, int, int]:
        if implicit:
            return b"", self._head(self._data, position)[2], position + 8
        _, _, vr, length = self._explicit_head(self._data, position)
        position += 8
        if not (vr.isalpha() and vr.isupper()) and vr not in UNKNOWN_VRS:
            raise Torn(path)
        if vr in _LONG_VRS:
            if position + 4 > end:
                raise Torn(path)
            (length,) = self._length(self._data, position)
            position += 4
        return vr, length, position

    def items(
        self,
        position: int,
        end: int,
        *,
        implicit: bool,
        path: str,
        depth: int,
        open_end: bool = False,
    ) -> tuple[tuple[DataSet, ...], int]:
        """Read the items of a sequence."""
        found: list[DataSet] = []
        while position < end or open_end:
            tag, length, position = self._item_head(position, end, path)
            if tag == _SEQUENCE_END and open_end:
                return tuple(found), position
            if tag != _ITEM:
                raise Torn(path)
            is_open = length == _UNDEFINED
            stop = end if is_open else position + length
            if stop > end:
                raise Torn(path)
            inside, position = self.elements(
                position,
                stop,
                implicit=implicit,
                path=f"{path}[{len(found)}].",
                depth=depth,
                open_end=is_open,
            )
            found.append(inside)
        return tuple(found), position

    def fragments(
        self, position: int, end: int, *, path: str, open_end: bool = False
    ) -> tuple[tuple[memoryview, ...], int]:
        """Read the items of encapsulated pixel data (PS3.5 A.4)."""
        found: list[memoryview] = []
        while position < end or open_end:
            tag, length, position = self._item_head(position, end, path)
            if tag == _SEQUENCE_END:
                return tuple(found), position
            if tag != _ITEM or position + length > end:
                raise Torn(path)
            found.append(self._data[position : position + length])
            position += length
        return tuple(found), position

    def _item_head(self, position: int, end: int, path: str) -> tuple[int, int, int]:
        if position + 8 > end:
            raise Torn(path)
        group, element, length = self._head(self._data, position)
        return group << 16 | element, length, position + 8


def _inflated(data: memoryview) -> memoryview:
    """Inflate a data set (PS3.5 A.5), bounded. A byte of padding may follow, or zlib's trailer."""
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = unpacker.decompress(data, _INFLATED_BYTES_MAX)
    except zlib.error as error:
        raise Torn("its deflated bytes") from error
    if not unpacker.eof or len(unpacker.unused_data) > _DEFLATE_TRAILER_BYTES_MAX:
        raise Torn("its deflated bytes")
    return memoryview(inflated)
