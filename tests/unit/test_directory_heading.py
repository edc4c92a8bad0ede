"""What the beginning of a file says, whatever lies behind it."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from cloudmig.demo.studies import Instance
from cloudmig.dicom.part10 import file_prefix, read_prefix
from cloudmig.model.files import FileKind
from cloudmig.sources.directory.heading import BEGINNING_BYTES, Heading, read_heading
from tests.integration.migration_world import a_study

EXPLICIT = "1.2.840.10008.1.2.1"
INSTANCE: Instance = a_study(1).instances()[0]


def heading_of(body: bytes, tmp_path: Path, *, header_bytes_max: int = 1 << 28) -> Heading:
    path = tmp_path / "file"
    path.write_bytes(body)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return read_heading(descriptor, len(body), header_bytes_max=header_bytes_max)
    finally:
        os.close(descriptor)


def private(size_bytes: int) -> bytes:
    """Return a private element of exactly this many bytes, before the Study Instance UID."""
    return struct.pack("<HH2sHI", 0x0009, 0x1001, b"OB", 0, size_bytes - 12) + bytes(
        size_bytes - 12
    )


def padded(to: int) -> bytes:
    """Return an instance whose group 0009 makes its header end `to` bytes into the file."""
    body = INSTANCE.part10()
    offset, _ = read_prefix(body)
    group_10 = body.index(b"\x10\0\x10\0PN", offset)
    return body[:group_10] + private(to - group_10) + body[group_10:]


@pytest.mark.parametrize("before", [-9, -1, 0, 1, 7, 8, 9, 100_000])
def test_a_header_is_read_whole_wherever_the_first_look_ends(before: int, tmp_path: Path) -> None:
    """Also where it ends exactly between two elements: the rest must not be taken for missing."""
    found = heading_of(padded(BEGINNING_BYTES + before), tmp_path)

    assert found.kind is FileKind.INSTANCE
    assert found.sop_instance_uid == INSTANCE.sop_instance_uid
    assert found.study_instance_uid == INSTANCE.study_instance_uid


def test_a_header_beyond_its_limit_is_too_costly(tmp_path: Path) -> None:
    found = heading_of(padded(300_000), tmp_path, header_bytes_max=200_000)

    assert found.kind is FileKind.TOO_COSTLY


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", FileKind.EMPTY),
        (b"GIF89a" + bytes(300), FileKind.NOT_DICOM),
        (bytes(400), FileKind.NOT_DICOM),
        (INSTANCE.data_set(), FileKind.NO_PART10_HEADER),
        (INSTANCE.part10()[128:], FileKind.NO_PART10_HEADER),
        (INSTANCE.part10()[132:], FileKind.NO_PART10_HEADER),
        (INSTANCE.part10()[:200], FileKind.UNREADABLE),
        (file_prefix("1.2", "1.2.3", "") + INSTANCE.data_set(), FileKind.UNREADABLE),
        (file_prefix("1.2", "1.2.3", EXPLICIT) + b"\4\0\0\x12UL\4\0\0\0\0\0", FileKind.DICOMDIR),
        (INSTANCE.part10(), FileKind.INSTANCE),
        (file_prefix("1.2", "1.2.3", EXPLICIT) + b"\4\0\x30\x11CS\2\0CD" + INSTANCE.data_set(),
         FileKind.INSTANCE),
        (INSTANCE.part10().replace(INSTANCE.series_instance_uid.encode(), b"x" * len(
            INSTANCE.series_instance_uid)), FileKind.UNUSABLE_UID),
    ],
    ids=["nothing", "a GIF", "zeros", "a bare data set", "no preamble", "no DICM", "torn",
         "no syntax", "DICOMDIR", "instance", "left of a DICOMDIR", "bad series"],
)  # fmt: skip
def test_every_file_is_of_one_kind(body: bytes, kind: FileKind, tmp_path: Path) -> None:
    assert heading_of(body, tmp_path).kind is kind
