"""The header walk finds UIDs in any encoding, and no bytes can make it hang, grow or fall over."""

from __future__ import annotations

import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence

from cloudmig.dicom.header import (
    DEFLATED,
    STUDY_INSTANCE_UID,
    EndsEarly,
    HeaderUnreadable,
    Identity,
    read_elements,
    read_identity,
)

IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATE = "1.2.840.10008.1.2.1.99"
SYNTAXES = [IMPLICIT, EXPLICIT, BIG, DEFLATE]
IDENTITY = Identity("1.2.840.10008.5.1.4.1.1.2", "1.2.3.4", "1.2.3", "1.2.3.1")
UNDEFINED = 0xFFFFFFFF


def encoded(dataset: Dataset, syntax: str) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian = syntax != BIG
    buffer.is_implicit_VR = syntax == IMPLICIT
    write_dataset(buffer, dataset)
    data = buffer.getvalue()
    if syntax in DEFLATED:
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        return packer.compress(data) + packer.flush()
    return data


def an_image() -> Dataset:
    image = Dataset()
    image.SpecificCharacterSet = "ISO_IR 192"
    image.SOPClassUID, image.SOPInstanceUID = IDENTITY.sop_class_uid, IDENTITY.sop_instance_uid
    image.StudyDate = "20260101"
    image.StudyInstanceUID = IDENTITY.study_instance_uid
    image.SeriesInstanceUID = IDENTITY.series_instance_uid
    image.Rows = 512
    return image


def nested(depth: int, *, undefined: bool) -> Sequence:
    """Return a sequence that holds UIDs which are not those of the image, `depth` levels deep."""
    item = Dataset()
    item.StudyInstanceUID = "9.9"
    item.SOPInstanceUID = "9.9.9"
    item.is_undefined_length_sequence_item = undefined
    if depth > 1:
        item.ReferencedSeriesSequence = nested(depth - 1, undefined=undefined)
        item["ReferencedSeriesSequence"].is_undefined_length = undefined
    return Sequence([item, item])


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_the_uids_are_found_in_every_encoding(syntax: str) -> None:
    assert read_identity(encoded(an_image(), syntax), syntax) == IDENTITY


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("undefined", [False, True], ids=["defined", "undefined"])
@pytest.mark.parametrize("depth", [1, 2, 6])
def test_uids_inside_sequences_are_somebody_elses(syntax: str, undefined: bool, depth: int) -> None:
    image = an_image()
    image.ReferencedStudySequence = nested(depth, undefined=undefined)
    image["ReferencedStudySequence"].is_undefined_length = undefined

    assert read_identity(encoded(image, syntax), syntax) == IDENTITY


def test_an_unknown_element_of_undefined_length_is_implicit_inside() -> None:
    """PS3.5 6.2.2: whatever the transfer syntax of the rest."""
    inner = struct.pack("<HHI", 0x0020, 0x000D, 4) + b"9.9\0"
    item = struct.pack("<HHI", 0xFFFE, 0xE000, UNDEFINED) + inner
    item += struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
    unknown = struct.pack("<HH2s2xI", 0x0019, 0x1001, b"UN", UNDEFINED) + item
    unknown += struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    data = encoded(an_image(), EXPLICIT)
    at = data.index(b"\x20\x00\x0d\x00UI")

    assert read_identity(data[:at] + unknown + data[at:], EXPLICIT) == IDENTITY


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_an_image_without_uids_has_an_empty_identity(syntax: str) -> None:
    image = Dataset()
    image.StudyDate = "20260101"
    image.PatientSex = "O"

    assert read_identity(encoded(image, syntax), syntax) == Identity("", "", "", "")


def test_padding_is_no_part_of_a_uid() -> None:
    for padding in (b"\0", b" ", b"\0\0\0"):
        value = b"1.2.3" + padding
        data = struct.pack("<HHI", 0x0020, 0x000D, len(value)) + value
        assert read_identity(data, IMPLICIT).study_instance_uid == "1.2.3"


def test_nothing_behind_the_last_tag_is_looked_at() -> None:
    """The pixels may be torn, or still on their way: the UIDs are known."""
    data = encoded(an_image(), EXPLICIT)
    torn = data + struct.pack("<HH2s2xI", 0x7FE0, 0x0010, b"OW", 1 << 30) + b"\0" * 10

    assert read_identity(torn, EXPLICIT) == IDENTITY


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
def test_a_header_torn_anywhere_is_named_or_lacks_uids(syntax: str) -> None:
    """Torn between two elements it looks like a short one; torn elsewhere it cannot be read."""
    image = an_image()
    del image.Rows
    image.ReferencedStudySequence = nested(2, undefined=True)
    image["ReferencedStudySequence"].is_undefined_length = True
    data = encoded(image, syntax)

    for end in range(len(data)):
        try:
            found = read_identity(data[:end], syntax)
        except HeaderUnreadable:
            continue
        assert found.series_instance_uid == ""


def test_elements_out_of_order_are_found_up_to_the_last() -> None:
    study = struct.pack("<HHI", 0x0020, 0x000D, 4) + b"1.2\0"
    sop = struct.pack("<HHI", 0x0008, 0x0018, 4) + b"1.3\0"
    series = struct.pack("<HHI", 0x0020, 0x000E, 4) + b"1.4\0"

    assert read_identity(study + sop + series, IMPLICIT) == Identity("", "1.3", "1.2", "1.4")


def moved(element: bytes, *, behind: bytes, syntax: str) -> bytes:
    """Return an image with one of its elements elsewhere."""
    data = encoded(an_image(), syntax)
    start = data.index(element)
    end = data.index(b"\x20\x00\x0e\x00", start)
    rest = data[:start] + data[end:]
    return rest + data[start:end] + behind


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
def test_a_uid_behind_an_element_that_should_come_later_is_found(syntax: str) -> None:
    """What it is called stands there, and every reader finds it."""
    pixels = struct.pack("<HHI" if syntax == IMPLICIT else "<HH4xI", 0x7FE0, 0x0010, 1 << 30)
    for behind in (b"", pixels, b"\x30\x00\x01"):
        data = moved(b"\x20\x00\x0d\x00", behind=behind, syntax=syntax)

        assert read_identity(data, syntax) == IDENTITY


def test_what_is_missing_is_not_looked_for_behind_the_pixels() -> None:
    data = struct.pack("<HHI", 0x7FE0, 0x0010, 2) + b"PX"
    data += struct.pack("<HHI", 0x0008, 0x0018, 4) + b"1.3\0"

    assert read_identity(data, IMPLICIT).sop_instance_uid == ""
    with pytest.raises(EndsEarly):
        read_elements(data[:6], IMPLICIT, {0x00080018}, last=0x00080018, needed={0x00080018})


def test_what_was_read_is_given_where_more_of_it_may_be_in_the_rest_of_the_file() -> None:
    rows = struct.pack("<HHI", 0x0028, 0x0010, 2) + b"\1\0"
    study, uids = STUDY_INSTANCE_UID, frozenset({STUDY_INSTANCE_UID})

    assert read_elements(rows + rows[:3], IMPLICIT, uids, last=study, needed=uids) == {}
    with pytest.raises(EndsEarly):
        read_elements(rows, IMPLICIT, uids, last=study, needed=uids, is_whole=False)
    assert read_elements(rows, IMPLICIT, uids, last=study, is_whole=False) == {}


def test_any_element_can_be_asked_for() -> None:
    data = encoded(an_image(), EXPLICIT)

    found = read_elements(data, EXPLICIT, {0x00080020, STUDY_INSTANCE_UID}, last=0x0020000D)

    assert found == {0x00080020: b"20260101", STUDY_INSTANCE_UID: b"1.2.3\0"}


def test_an_answer_may_be_in_any_kind_of_buffer() -> None:
    data = encoded(an_image(), IMPLICIT)
    for kind in (bytes, bytearray, memoryview):
        assert read_identity(kind(data), IMPLICIT) == IDENTITY


HOSTILE: dict[str, tuple[str, Callable[[], bytes]]] = {
    "a million elements": (
        IMPLICIT, lambda: b"".join(struct.pack("<HHI", 8, n & 0xF, 0) for n in range(1_000_000)),
    ),
    "a million items": (
        IMPLICIT,
        lambda: struct.pack("<HHI", 8, 0x1110, UNDEFINED)
        + struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 1_000_000,
    ),
    "nested 500,000 deep": (
        IMPLICIT,
        lambda: struct.pack("<HHIHHI", 8, 0x1110, UNDEFINED, 0xFFFE, 0xE000, UNDEFINED) * 500_000,
    ),
    "nested 100,000 deep, explicit": (
        EXPLICIT,
        lambda: (
            struct.pack("<HH2s2xI", 8, 0x1110, b"SQ", UNDEFINED)
            + struct.pack("<HHI", 0xFFFE, 0xE000, UNDEFINED)
        ) * 100_000,
    ),
    "a sequence without items": (
        IMPLICIT, lambda: struct.pack("<HHIHHI", 8, 0x1110, UNDEFINED, 8, 0x18, 0) * 10,
    ),
    "a sequence without end": (
        IMPLICIT, lambda: struct.pack("<HHIHHI", 8, 0x1110, UNDEFINED, 0xFFFE, 0xE000, 0),
    ),
    "a length of 4 GB": (IMPLICIT, lambda: struct.pack("<HHI", 8, 0x18, UNDEFINED - 1)),
    "an item of 4 GB": (
        IMPLICIT,
        lambda: struct.pack("<HHIHHI", 8, 0x1110, UNDEFINED, 0xFFFE, 0xE000, UNDEFINED - 1),
    ),
    "no value representation": (EXPLICIT, lambda: struct.pack("<HHI", 8, 0x18, 4) + b"1.2\0"),
    "a bomb": (DEFLATE, lambda: _deflated(b"\x08\0\x05\0CS\0\0" * 50_000_000)),
    "no deflated data": (DEFLATE, lambda: b"\xff" * 1000),
}  # fmt: skip


def _deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(1, wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bytes_cost_little_time_and_memory(name: str) -> None:
    syntax, make = HOSTILE[name]
    data = make()
    tracemalloc.start()
    began = time.process_time()
    try:
        with pytest.raises(HeaderUnreadable):
            read_identity(data, syntax)
        took_s = time.process_time() - began
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert took_s < 5  # Measured with tracing, which costs a factor of about five.
    assert peak_bytes < 40 << 20


@given(st.binary(max_size=400), st.sampled_from(SYNTAXES))
def test_no_bytes_break_the_walk(data: bytes, syntax: str) -> None:
    try:
        read_identity(data, syntax)
    except HeaderUnreadable:
        return


@given(st.data())
def test_a_damaged_header_is_read_or_named(data: st.DataObject) -> None:
    syntax = data.draw(st.sampled_from(SYNTAXES))
    image = an_image()
    image.ReferencedStudySequence = nested(2, undefined=True)
    image["ReferencedStudySequence"].is_undefined_length = True
    damaged = bytearray(encoded(image, syntax))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))

    try:
        read_identity(damaged, syntax)
    except HeaderUnreadable:
        return
