"""What ends before its data set does is noticed, wherever it was cut; nothing whole is."""

from __future__ import annotations

import csv
import os
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from cloudmig.dicom.ending import ends_early
from cloudmig.dicom.part10 import file_prefix
from cloudmig.model.files import FileKind
from cloudmig.sources.arrivals import is_torn
from cloudmig.sources.directory.heading import BEGINNING_BYTES, read_heading
from cloudmig.staging import MemoryBudget, Spool, StagingArea, StagingLimits

CT = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
BIG, DEFLATED, RLE = "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5"
UNDEFINED = 0xFFFFFFFF
CORPUS = Path(
    os.environ.get("CLOUDMIG_SHARED", Path(__file__).parents[2].parent / "shared"), "corpus"
)


def element(
    tag: int, vr: bytes, value: bytes, syntax: str = EXPLICIT, length: int | None = None
) -> bytes:
    order = ">" if syntax == BIG else "<"
    size_bytes = len(value) if length is None else length
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    if syntax == IMPLICIT:
        return head + struct.pack("<I", size_bytes) + value
    if vr in {b"OB", b"OW", b"SQ"}:
        return head + vr + bytes(2) + struct.pack(order + "I", size_bytes) + value
    return head + vr + struct.pack(order + "H", size_bytes) + value


def header(syntax: str = EXPLICIT) -> bytes:
    return b"".join((
        element(0x00080016, b"UI", CT.encode() + b"\0", syntax),
        element(0x00080018, b"UI", b"1.2.3.40", syntax),
        element(0x0020000D, b"UI", b"1.2.30", syntax),
        element(0x0020000E, b"UI", b"1.2.31", syntax),
    ))  # fmt: skip


def item(value: bytes) -> bytes:
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(value)) + value


END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
PIXELS = bytes(range(250)) * 8
FRAGMENTS = item(b"") + item(PIXELS) + item(PIXELS)


def pixels(syntax: str = EXPLICIT) -> bytes:
    return element(0x7FE00010, b"OW", PIXELS, syntax)


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


ENCAPSULATED = element(0x7FE00010, b"OB", FRAGMENTS, length=UNDEFINED) + END
ICON = element(0x00880200, b"SQ", item(pixels()), length=UNDEFINED) + END
TRAILING = element(0xFFFCFFFC, b"OB", bytes(100))
#: Name -> transfer syntax, data set, bytes at its end whose loss costs no pixel.
WHOLE: dict[str, tuple[str, Callable[[], bytes], int]] = {
    "explicit": (EXPLICIT, lambda: header() + pixels(), 0),
    "implicit": (IMPLICIT, lambda: header(IMPLICIT) + pixels(IMPLICIT), 0),
    "big endian": (BIG, lambda: header(BIG) + pixels(BIG), 0),
    "encapsulated": (RLE, lambda: header() + ENCAPSULATED, 0),
    "with an icon": (EXPLICIT, lambda: header() + ICON + pixels(), 0),
    "encapsulated, with an icon": (RLE, lambda: header() + ICON + ENCAPSULATED, 0),
    "padded": (EXPLICIT, lambda: header() + pixels() + TRAILING, len(TRAILING)),
    "encapsulated and padded": (RLE, lambda: header() + ENCAPSULATED + TRAILING, len(TRAILING)),
    "behind a long header": (
        EXPLICIT,
        lambda: header() + element(0x60003000, b"OW", bytes(BEGINNING_BYTES)) + pixels(),
        0,
    ),
    "float pixels": (
        EXPLICIT,
        lambda: header() + element(0x7FE00008, b"OW", PIXELS),
        0,
    ),
    "deflated": (DEFLATED, lambda: deflated(header() + pixels()), 0),
    "no image": (EXPLICIT, lambda: header() + element(0x0040A730, b"SQ", item(PIXELS)), 0),
    "no image, undefined": (
        EXPLICIT,
        lambda: header() + element(0x0040A730, b"SQ", item(PIXELS), length=UNDEFINED) + END,
        0,
    ),
    "much behind fragments": (
        RLE,
        lambda: header() + ENCAPSULATED + element(0xFFFCFFFC, b"OB", bytes(100_000)),
        100_012,
    ),
    "a long element that is no image": (
        EXPLICIT,
        lambda: header() + element(0x00420011, b"OB", bytes(2 << 20)),
        0,
    ),
    "pixels behind a long element": (
        EXPLICIT,
        lambda: header() + element(0x60003000, b"OW", bytes(2 << 20)) + pixels() + TRAILING,
        len(TRAILING),
    ),
    "rubbish behind": (
        EXPLICIT,
        lambda: header() + element(0x0040A730, b"SQ", item(PIXELS)) + bytes(100),
        100,
    ),
}  # fmt: skip


def kind_of(body: bytes, path: Path, *, header_bytes_max: int = 1 << 28) -> FileKind:
    path.write_bytes(body)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return read_heading(descriptor, len(body), header_bytes_max=header_bytes_max).kind
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_file_is_an_instance_and_one_cut_anywhere_is_torn(
    name: str, tmp_path: Path
) -> None:
    syntax, make, idle_bytes = WHOLE[name]
    dataset = make()
    body = file_prefix(CT, "1.2.3.40", syntax) + dataset

    assert kind_of(body, tmp_path / "whole") is FileKind.INSTANCE
    end = len(body) - idle_bytes
    for lost in (1, 2, 7, 8, 9, 100, 1000, 1990):
        if lost < len(dataset) - idle_bytes - len(header()):
            assert kind_of(body[: end - lost], tmp_path / "cut") is FileKind.TORN, lost


@pytest.mark.parametrize("memory_bytes_max", [4 << 20, 1], ids=["in memory", "on disk"])
@pytest.mark.parametrize("name", WHOLE)
async def test_a_whole_arrival_is_whole_and_one_cut_anywhere_is_torn(
    name: str, memory_bytes_max: int, tmp_path: Path
) -> None:
    syntax, make, idle_bytes = WHOLE[name]
    dataset = make()
    limits = StagingLimits(credit_bytes=1, memory_object_bytes_max=memory_bytes_max)
    spool = Spool(tmp_path / "spool", bytes_max=1 << 24)
    spool.clean()
    area = StagingArea(MemoryBudget(8 << 20), spool, limits)

    async def arrives_torn(data: bytes) -> bool:
        writer = area.open(
            sop_class_uid=CT,
            sop_instance_uid="1.2.3.40",
            transfer_syntax_uid=syntax,
            credit_bytes=await area.take_credit(),
        )
        if (wait := writer.write(memoryview(data))) is not None:
            await wait
        held = await writer.complete()
        assert (held.path is None) == (memory_bytes_max > 1)
        try:
            return is_torn(held, syntax)
        finally:
            held.release()

    assert not await arrives_torn(dataset)
    end = len(dataset) - idle_bytes
    for lost in (1, 2, 7, 8, 9, 100, 1000, 1990):
        if lost < end - len(header()):
            assert await arrives_torn(dataset[: end - lost]), lost


def private_sequence(group: int, vr: bytes, inner: str, syntax: str) -> bytes:
    """Return a private sequence of undefined length, its items in the VR of another syntax."""
    order = ">" if inner == BIG else "<"
    code = element(0x00080100, b"SH", b"CODE", inner) + element(0x00080102, b"SH", b"DCM ", inner)
    head = struct.pack(order + "HHI", 0xFFFE, 0xE000, UNDEFINED)
    ends = struct.pack(order + "HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    tag = struct.pack((">" if syntax == BIG else "<") + "HH", group, 0x1001)
    if syntax == IMPLICIT:
        return tag + b"\xff\xff\xff\xff" + head + code + ends
    return tag + vr + bytes(2) + b"\xff\xff\xff\xff" + head + code + ends


@pytest.mark.parametrize(
    ("syntax", "vr", "inner"),
    [(EXPLICIT, b"SQ", IMPLICIT), (EXPLICIT, b"UN", EXPLICIT), (BIG, b"UN", BIG),
     (BIG, b"UN", IMPLICIT), (IMPLICIT, b"", EXPLICIT)],
)  # fmt: skip
def test_a_sequence_whose_items_are_coded_otherwise_makes_no_torn_or_unreadable_file(
    syntax: str, vr: bytes, inner: str, tmp_path: Path
) -> None:
    """As old software left them when it wrote explicit what it had in implicit VR (CP 246)."""
    prefix, plain = file_prefix(CT, "1.2.3.40", syntax), header(syntax)
    report = element(0x0040A730, b"SQ", b"", syntax)
    before, behind = (private_sequence(group, vr, inner, syntax) for group in (0x0019, 0x0029))
    at = plain.index(element(0x0020000D, b"UI", b"1.2.30", syntax))
    rows = element(0x00280010, b"US", b"\1\1", syntax)
    body = prefix + plain[:at] + before + plain[at:] + rows + behind

    assert kind_of(body + report, tmp_path / "a") is FileKind.INSTANCE
    for lost in range(1, len(behind) - 1):  # One zero may be padding.
        assert kind_of(body[:-lost], tmp_path / "a") is FileKind.TORN, lost


@pytest.mark.parametrize("vr", [b"??", b"--"])
def test_an_element_of_a_vr_that_its_writer_did_not_know_makes_no_unreadable_file(
    vr: bytes, tmp_path: Path
) -> None:
    prefix, odd = file_prefix(CT, "1.2.3.40", EXPLICIT), element(0x00091001, vr, b"abcd")
    at = header().index(element(0x0020000D, b"UI", b"1.2.30"))
    for rest in (pixels(), element(0x0040A730, b"SQ", item(PIXELS))):
        body = prefix + header()[:at] + odd + header()[at:] + odd + rest
        assert kind_of(body, tmp_path / "a") is FileKind.INSTANCE
        assert kind_of(body[:-1], tmp_path / "a") is FileKind.TORN


def test_the_private_syntax_of_ge_is_implicit(tmp_path: Path) -> None:
    body = file_prefix(CT, "1.2.3.40", "1.2.840.113619.5.2") + header(IMPLICIT) + pixels(IMPLICIT)

    assert kind_of(body, tmp_path / "a") is FileKind.INSTANCE
    assert kind_of(body[:-1], tmp_path / "a") is FileKind.TORN


def test_zeros_behind_the_last_element_are_no_beginning_of_another(tmp_path: Path) -> None:
    prefix = file_prefix(CT, "1.2.3.40", EXPLICIT)
    report = header() + element(0x0040A730, b"SQ", item(PIXELS))

    assert kind_of(prefix + report + bytes(3), tmp_path / "a") is FileKind.INSTANCE
    assert kind_of(prefix + report + b"\x40\0\x40", tmp_path / "a") is FileKind.TORN


def test_only_so_much_of_a_file_is_looked_at(tmp_path: Path) -> None:
    """Pixels behind that are not called torn: nothing is known of them."""
    overlay = element(0x60003000, b"OW", bytes(1 << 20))
    body = file_prefix(CT, "1.2.3.40", EXPLICIT) + header() + overlay + pixels()

    assert kind_of(body[:-2], tmp_path / "a", header_bytes_max=200_000) is FileKind.INSTANCE
    assert kind_of(body[:-2], tmp_path / "a", header_bytes_max=2 << 20) is FileKind.TORN


def test_behind_a_crowd_of_tiny_elements_nobody_looks() -> None:
    """The event loop waits meanwhile: 64 MiB of them held it up for seconds."""
    tiny, cut = (
        element(0x00091001, b"", b"", IMPLICIT),
        element(0x00091001, b"", b"", IMPLICIT)[:-1],
    )
    for tiny_count, is_seen in ((1000, True), (300_000, False)):
        crowd = memoryview(tiny * tiny_count + cut)

        told = ends_early(crowd, IMPLICIT, size_bytes=len(crowd), walked_bytes_max=1 << 20)

        assert told == is_seen


def test_a_deflated_bomb_costs_no_memory_and_is_no_torn_file(tmp_path: Path) -> None:
    bomb = deflated(header() + element(0x7FE00010, b"OW", bytes(64 << 20)))
    body = file_prefix(CT, "1.2.3.40", DEFLATED) + bomb

    assert kind_of(body, tmp_path / "bomb", header_bytes_max=8 << 20) is FileKind.INSTANCE


def test_a_deflated_data_set_of_any_size_is_whole(tmp_path: Path) -> None:
    """zlib may hold some output back when it has taken everything."""
    prefix = file_prefix(CT, "1.2.3.40", DEFLATED)
    for more in range(0, 600, 7):
        data = deflated(header() + element(0x7FE00010, b"OW", bytes((1 << 20) - 100 + more)))
        assert kind_of(prefix + data, tmp_path / "a") is FileKind.INSTANCE, more
        assert kind_of(prefix + data[:-1], tmp_path / "a") is FileKind.TORN, more


def test_a_deflated_data_set_that_cannot_be_unpacked_to_its_end_is_torn(tmp_path: Path) -> None:
    """Behind the damage nothing is left: its pixels end there."""
    noise = random.Random(1).randbytes(3 << 20)
    stream = bytearray(deflated(header() + element(0x7FE00010, b"OW", noise)))
    stream[-(300 << 10) :] = b"\xff" * (300 << 10)

    body = file_prefix(CT, "1.2.3.40", DEFLATED) + stream
    assert kind_of(body, tmp_path / "damaged") is FileKind.TORN


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpus of real files is not here")
def test_of_real_files_only_the_one_that_is_known_to_be_torn_is_called_so(tmp_path: Path) -> None:
    with (CORPUS / "MANIFEST.csv").open(newline="", encoding="utf-8") as file:
        known = {row["file"] for row in csv.DictReader(file) if "truncated" in row["notable"]}

    torn = set()
    for path in CORPUS.rglob("*.dcm"):
        descriptor = os.open(path, os.O_RDONLY)
        found = read_heading(descriptor, path.stat().st_size, header_bytes_max=1 << 28)
        os.close(descriptor)
        if found.kind is FileKind.TORN:
            torn.add(path.name)

    assert torn == known == {"odd-truncated-mr-001.dcm"}
