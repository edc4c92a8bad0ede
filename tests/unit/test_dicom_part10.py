"""The prefix we write is the same for ever; the prefix others write is found whatever its shape."""

from __future__ import annotations

import hashlib
import io
import random
import struct

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudmig.dicom.digest import StreamDigests
from cloudmig.dicom.part10 import (
    IMPLEMENTATION_CLASS_UID,
    PREFIX_BYTES_MAX,
    NotPart10,
    file_prefix,
    read_prefix,
)

CT, SOP, SYNTAX = "1.2.840.10008.5.1.4.1.1.2", "1.2.3.4.5", "1.2.840.10008.1.2.4.90"
PREFIX = file_prefix(CT, SOP, SYNTAX)
DATA_SET = bytes.fromhex("080016005549") + struct.pack("<H", 4) + b"1.2\0"


def element(number: int, vr: bytes, value: bytes, group: int = 2) -> bytes:
    if vr in {b"OB", b"UN", b"OW"}:
        return struct.pack("<HH2s2xI", group, number, vr, len(value)) + value
    return struct.pack("<HH2sH", group, number, vr, len(value)) + value


def a_file(*meta: bytes) -> bytes:
    return bytes(128) + b"DICM" + b"".join(meta) + DATA_SET


def test_the_prefix_never_changes() -> None:
    """It is part of every file digest: another byte here and no manifest would agree any more."""
    assert hashlib.sha256(PREFIX).hexdigest() == (
        "d006fffc26a3cbc022357bcbb1b74ddc926522bf6997977c887c0e20b4e98de7"
    )


def test_others_can_read_what_we_write() -> None:
    read = pydicom.dcmread(io.BytesIO(PREFIX + DATA_SET))

    assert read.file_meta.MediaStorageSOPClassUID == CT
    assert read.file_meta.MediaStorageSOPInstanceUID == SOP
    assert read.file_meta.TransferSyntaxUID == SYNTAX
    assert read.file_meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert read.file_meta.FileMetaInformationGroupLength == len(PREFIX) - 144
    assert read.SOPClassUID == "1.2"


@pytest.mark.parametrize(
    "data_set",
    [
        element(0x0010, b"UI", b"1.2.840.10008.1.2.1\0") + DATA_SET,
        struct.pack("<HHI", 2, 0x0010, 18) + b"1.2.840.10008.1.2\0" + DATA_SET,
        element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID.encode() + b"\0") + DATA_SET,
    ],
    ids=["explicit", "implicit", "of ours"],
)
def test_elements_of_group_0002_within_a_data_set_stay_part_of_it(data_set: bytes) -> None:
    """Some send them: what is stored must be found again as it came."""
    assert read_prefix(PREFIX + data_set) == (len(PREFIX), SYNTAX)
    digests = StreamDigests()
    for at in range(0, len(PREFIX + data_set), 7):
        digests.update((PREFIX + data_set)[at : at + 7])
    assert digests.result().dataset_sha256 == hashlib.sha256(data_set).hexdigest()


@given(st.from_regex(r"[0-9.]{0,64}", fullmatch=True), st.binary(max_size=64))
def test_what_we_write_we_find_again(sop_instance_uid: str, data: bytes) -> None:
    prefix = file_prefix(CT, sop_instance_uid, SYNTAX)

    assert read_prefix(prefix + b"\x08\x00" + data) == (len(prefix), SYNTAX)


@pytest.mark.parametrize(
    "meta",
    [
        [element(0x10, b"UI", b"1.2.840.10008.1.2.1\0")],
        [element(0, b"UL", struct.pack("<I", 999)), element(0x10, b"UI", b"1.2.840.10008.1.2.1 ")],
        [element(1, b"OB", b"\0\1"), element(0x10, b"UI", b"1.2.840.10008.1.2.1")],
        [
            element(0x10, b"UI", b"1.2.840.10008.1.2.1"),
            element(0x16, b"AE", b"SENDER"),
            element(0x102, b"OB", b"private" * 1000),
        ],
    ],
    ids=["no group length", "a wrong group length", "a long element", "private information"],
)
def test_any_group_0002_is_walked_to_its_end(meta: list[bytes]) -> None:
    file = a_file(*meta)

    assert read_prefix(file) == (len(file) - len(DATA_SET), "1.2.840.10008.1.2.1")


def test_a_file_without_a_transfer_syntax_says_so() -> None:
    assert read_prefix(a_file(element(2, b"UI", b"1.2")))[1] == ""


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"DICM",
        bytes(128),
        bytes(128) + b"DICN" + DATA_SET,
        DATA_SET,
        PREFIX[:-1],
        PREFIX[:140],
        a_file(element(0x102, b"OB", bytes(PREFIX_BYTES_MAX))),
        bytes(128) + b"DICM" + struct.pack("<HH2s2xI", 2, 0x102, b"OB", 0xFFFFFFFF) + DATA_SET,
    ],
    ids=["empty", "DICM", "preamble", "DICN", "bare", "torn", "torn early", "huge", "undefined"],
)
def test_what_is_no_part_10_file_is_named_as_that(data: bytes) -> None:
    with pytest.raises(NotPart10):
        read_prefix(data)


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    for hostile in (data, bytes(128) + b"DICM" + data, bytes(128) + b"DICM\x02\0" + data):
        try:
            read_prefix(hostile)
        except NotPart10:
            continue


@pytest.mark.parametrize("text", ["1." * 35_000, "ä" * 70_000, ""])
def test_a_prefix_can_be_written_for_any_uid_a_peer_may_send(text: str) -> None:
    """The command of a C-STORE is a stranger's; the object it names goes to quarantine."""
    prefix = file_prefix(text, text, SYNTAX)

    assert read_prefix(prefix + DATA_SET) == (len(prefix), SYNTAX)


def digests_in_pieces(file: bytes, chance: random.Random) -> StreamDigests:
    stream, position = StreamDigests(), 0
    while position < len(file):
        size = chance.choice([1, 2, 7, 131, 1000])
        stream.update(memoryview(file)[position : position + size])
        position += size
    return stream


@pytest.mark.parametrize("seed", range(20))
def test_digests_do_not_depend_on_how_the_bytes_arrive(seed: int) -> None:
    chance = random.Random(seed)
    data = DATA_SET + chance.randbytes(chance.randint(0, 5000))
    file = file_prefix(CT, "1.2" * chance.randint(1, 10), SYNTAX) + data

    found = digests_in_pieces(file, chance).result()

    assert found.size_bytes == len(file)
    assert found.file_sha256 == hashlib.sha256(file).hexdigest()
    assert found.dataset_sha256 == hashlib.sha256(data).hexdigest()


def test_the_data_set_digest_is_the_same_whoever_wrote_group_0002() -> None:
    ours, theirs = PREFIX + DATA_SET, a_file(element(0x10, b"UI", SYNTAX.encode()))

    digests = [digests_in_pieces(file, random.Random(1)).result() for file in (ours, theirs)]

    assert digests[0].dataset_sha256 == digests[1].dataset_sha256
    assert digests[0].file_sha256 != digests[1].file_sha256


def test_an_empty_data_set_has_the_digest_of_nothing() -> None:
    found = digests_in_pieces(PREFIX, random.Random(1)).result()

    assert found.dataset_sha256 == hashlib.sha256(b"").hexdigest()


@pytest.mark.parametrize(
    "file",
    [b"", b"no DICOM at all", PREFIX[:-3], bytes(3 << 20)],
    ids=["", "text", "torn", "zeros"],
)
def test_what_is_no_part_10_file_has_a_file_digest_only(file: bytes) -> None:
    stream = StreamDigests()
    for start in range(0, len(file), 100_000):
        stream.update(file[start : start + 100_000])

    found = stream.result()

    assert found.file_sha256 == hashlib.sha256(file).hexdigest()
    assert found.dataset_sha256 == ""
