"""Takes one part of an answer as it arrives: looks who it is, then stages it (design 5).

What lies before the data set is replaced by our own, so the UIDs have to be known before the first
byte is kept: the beginning is held back until the header says them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from cloudmig.dicom.header import (
    IMPLICIT_VR_LITTLE_ENDIAN,
    HeaderUnreadable,
    Identity,
    read_elements,
    read_identity,
    uid_text,
)
from cloudmig.dicom.part10 import NotPart10, read_prefix
from cloudmig.errors import SpoolFull
from cloudmig.model.references import is_usable_uid
from cloudmig.sources.arrivals import identity_of
from cloudmig.staging import StagedBytes, StagingArea

__all__ = ["PartTooLarge", "TakenPart", "take_part"]

#: A header longer than this is looked at when the object is complete, as in DIMSE.
_BEGINNING_BYTES_MAX = 1 << 20
_DICM_ENDS = 132
_EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
_MEDIA_STORAGE_SOP_CLASS_UID = 0x00020002
_MEDIA_STORAGE_SOP_INSTANCE_UID = 0x00020003


class PartTooLarge(Exception):  # noqa: N818 - named for what happened, as in errors.py
    """The object goes beyond our own limit; nothing of it is kept."""

    def __init__(self, sop_instance_uid: str) -> None:
        super().__init__("an object beyond the limit")
        self.sop_instance_uid = sop_instance_uid


@dataclass(frozen=True, slots=True)
class TakenPart:
    """A complete part: where it lies, and who it says it is."""

    held: StagedBytes
    identity: Identity | None  #: None where the data set cannot be read.
    sop_class_uid: str
    called_sop_instance_uid: str  #: What its file name would be: asked for, or of its header.
    transfer_syntax_uid: str


@dataclass(frozen=True, slots=True)
class _Beginning:
    """What the first bytes of a part say."""

    dataset_offset: int = 0
    transfer_syntax_uid: str = ""
    sop_class_uid: str = ""  #: Of its header, else of group 0002.
    sop_instance_uid: str = ""
    identity: Identity | None = None
    is_enough: bool = False
    is_part10: bool = True


async def take_part(
    area: StagingArea,
    pieces: AsyncIterator[bytes],
    *,
    credit_bytes: int,
    asked_sop_instance_uid: str,
    object_bytes_max: int,
) -> TakenPart:
    """Stage one part; the credit is this function's from here on.

    Raises `SpoolFull`, `PartTooLarge`, and whatever reading the pieces does; then nothing is held.
    """
    try:
        first, beginning = await _read_beginning(pieces)
    except BaseException:
        area.memory.give(credit_bytes)
        raise
    called = beginning.sop_instance_uid
    if beginning.identity is None or not called:
        called = asked_sop_instance_uid or called
    writer = area.open(
        sop_class_uid=beginning.sop_class_uid,
        sop_instance_uid=called,
        transfer_syntax_uid=beginning.transfer_syntax_uid,
        credit_bytes=credit_bytes,
    )
    try:
        size = len(first) - beginning.dataset_offset
        with memoryview(first) as view, view[beginning.dataset_offset :] as dataset:
            wait = writer.write(dataset) if len(dataset) else None
        if wait is not None:
            await wait
        del first
        async for piece in pieces:
            size += len(piece)
            if size > object_bytes_max:
                raise PartTooLarge(called)
            if (wait := writer.write(memoryview(piece))) is not None:
                await wait
        if size > object_bytes_max:
            raise PartTooLarge(called)
        held = writer.complete_at_once() or await writer.complete()
    except SpoolFull:
        raise
    except BaseException:
        writer.discard()
        raise
    identity = beginning.identity
    if beginning.is_part10 and (identity is None or not _is_named(identity)):
        identity = identity_of(held, beginning.transfer_syntax_uid)
    held.beginning = bytearray()
    return TakenPart(held, identity, beginning.sop_class_uid, called, beginning.transfer_syntax_uid)


async def _read_beginning(pieces: AsyncIterator[bytes]) -> tuple[bytearray, _Beginning]:
    """Return the first bytes of a part, as many as it takes to know it, and what they say."""
    first = bytearray()
    look_again_at = _DICM_ENDS
    async for piece in pieces:
        first += piece
        if len(first) < look_again_at:
            continue
        beginning = _look(first)
        if beginning.is_enough or len(first) >= _BEGINNING_BYTES_MAX:
            return first, beginning
        look_again_at = 2 * len(first)  # Not every time: a slow sender makes many small pieces.
    return first, _look(first)


def _look(first: bytearray) -> _Beginning:
    try:
        offset, transfer_syntax_uid = read_prefix(first)
    except NotPart10:
        return _look_at_no_part10(first)
    try:
        with memoryview(first) as view, view[offset:] as dataset:
            identity = read_identity(dataset, transfer_syntax_uid)
    except HeaderUnreadable:
        return _Beginning(offset, transfer_syntax_uid, *_named_in_group_0002(first))
    # Cut between two elements, a header reads as if it were whole: it is enough with all UIDs.
    return _Beginning(
        offset,
        transfer_syntax_uid,
        identity.sop_class_uid,
        identity.sop_instance_uid,
        identity,
        is_enough=_is_named(identity),
    )


def _look_at_no_part10(first: bytearray) -> _Beginning:
    """Find out what it is called, so that a person knows, if it is a data set at least.

    In which transfer syntax nobody says; a name is a name in either (PS3.5 A.1, A.2).
    """
    for transfer_syntax_uid in (_EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN):
        try:
            identity = read_identity(first, transfer_syntax_uid)
        except HeaderUnreadable:
            continue
        if is_usable_uid(identity.sop_instance_uid):
            return _Beginning(
                sop_class_uid=identity.sop_class_uid,
                sop_instance_uid=identity.sop_instance_uid,
                is_enough=True,
                is_part10=False,
            )
    return _Beginning(is_part10=False)


def _named_in_group_0002(first: bytearray) -> tuple[str, str]:
    """Return SOP class and instance as the file calls itself (PS3.10 table 7.1-1)."""
    tags = _MEDIA_STORAGE_SOP_CLASS_UID, _MEDIA_STORAGE_SOP_INSTANCE_UID
    try:
        with memoryview(first) as view, view[_DICM_ENDS:] as meta:
            found = read_elements(meta, _EXPLICIT_VR_LITTLE_ENDIAN, tags, last=tags[-1])
    except HeaderUnreadable:
        return "", ""
    sop_class_uid, sop_instance_uid = (uid_text(found.get(tag, b"")) for tag in tags)
    return sop_class_uid, sop_instance_uid


def _is_named(identity: Identity) -> bool:
    return bool(
        identity.sop_instance_uid and identity.study_instance_uid and identity.series_instance_uid
    )
