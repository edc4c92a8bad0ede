"""What a store may write differently, and what it may not: each case with bytes made by hand."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from cloudmig.dicom.compare import compare_files
from cloudmig.dicom.equality import compared
from cloudmig.dicom.part10 import file_prefix

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
DEFLATED, BIG_ENDIAN = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
JPEG, RLE = "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.5"
LONG = {"OB", "OW", "SQ", "UN", "UT"}
UNDEFINED = 0xFFFFFFFF
EQUAL: tuple[list[str], str] = ([], "")


def element(
    tag: int, vr: str, value: bytes, *, length: int | None = None, order: str = "<"
) -> bytes:
    """Encode one element with explicit VR; a wrong length may be told."""
    said = len(value) if length is None else length
    head = struct.pack(order + "HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    if vr in LONG:
        return head + struct.pack(order + "HI", 0, said) + value
    return head + struct.pack(order + "H", said) + value


def implicit(tag: int, value: bytes, *, length: int | None = None) -> bytes:
    said = len(value) if length is None else length
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, said) + value


def item(content: bytes, *, is_open: bool = False) -> bytes:
    if is_open:
        return implicit(0xFFFEE000, content, length=UNDEFINED) + implicit(0xFFFEE00D, b"")
    return implicit(0xFFFEE000, content)


def fragments(*pieces: bytes, table: Sequence[int] = ()) -> bytes:
    """Encode encapsulated pixel data of undefined length."""
    content = item(struct.pack(f"<{len(table)}I", *table)) + b"".join(map(item, pieces))
    return element(0x7FE00010, "OB", content + implicit(0xFFFEE0DD, b""), length=UNDEFINED)


def file(data_set: bytes, syntax: str = EXPLICIT) -> memoryview:
    return memoryview(file_prefix("1.2", "1.2.3", syntax) + data_set)


NAME = element(0x00100010, "PN", b"DOE^JANE")
CREATOR = element(0x00090010, "LO", b"ACME 1.0")
PRIVATE = element(0x00091001, "LO", b"secret")
ROWS = element(0x00280010, "US", b"\x02\x00")
PIXELS = element(0x7FE00010, "OW", bytes(range(16)))
FRAMES = element(0x00280008, "IS", b"2 ")
PLAIN = CREATOR + PRIVATE + NAME + ROWS + PIXELS


def group_length(group: int, size_bytes: int) -> bytes:
    return element(group << 16, "UL", struct.pack("<I", size_bytes))


def of_sequence(content: bytes, *, vr: str = "SQ", is_open: bool = False) -> bytes:
    if is_open:
        content += implicit(0xFFFEE0DD, b"")
        return element(0x00081140, vr, content, length=UNDEFINED)
    return element(0x00081140, vr, content)


INSIDE = element(0x00081155, "UI", b"1.2.34")

#: What a store may do, by what it does: what it was given, and what it gives back.
MAY = {
    "rewrites group 0002": (
        file(PLAIN),
        memoryview(
            file_prefix("1.2", "1.2.3", EXPLICIT)[:144]
            + element(0x00020010, "UI", EXPLICIT.encode() + b"\0")
            + element(0x00020016, "AE", b"STORE ")
            + PLAIN
        ),
    ),
    "drops group lengths": (
        file(CREATOR + PRIVATE + group_length(0x10, len(NAME)) + NAME + PIXELS),
        file(CREATOR + PRIVATE + NAME + PIXELS),
    ),
    "adds trailing padding": (
        file(PLAIN), file(PLAIN + element(0xFFFCFFFC, "OB", bytes(8))),
    ),
    "pads a name with another byte": (
        file(element(0x00100010, "PN", b"DOE^JAN\0")), file(element(0x00100010, "PN", b"DOE^JAN ")),
    ),
    "pads an odd value": (
        file(element(0x7FE00010, "OB", b"\1\2\3")), file(element(0x7FE00010, "OB", b"\1\2\3\0")),
    ),
    "takes spaces off numbers": (
        file(element(0x00201041, "DS", b" 1.50\\ 2 ")), file(element(0x00201041, "DS", b"1.50\\2")),
    ),
    "takes empty groups off a name": (
        file(element(0x00100010, "PN", b"DOE^JANE==")), file(NAME),
    ),
    "writes it with implicit VR": (
        file(PLAIN),
        file(
            implicit(0x00090010, b"ACME 1.0")
            + implicit(0x00091001, b"secret")
            + implicit(0x00100010, b"DOE^JANE")
            + implicit(0x00280010, b"\x02\x00")
            + implicit(0x7FE00010, bytes(range(16))),
            IMPLICIT,
        ),
    ),
    "pads otherwise with implicit VR": (
        file(implicit(0x00100010, b"DOE^JAN\0"), IMPLICIT),
        file(implicit(0x00100010, b"DOE^JAN "), IMPLICIT),
    ),
    "knows no private VR": (
        file(PLAIN), file(PLAIN.replace(PRIVATE, element(0x00091001, "UN", b"secret"))),
    ),
    "deflates it": (
        file(PLAIN), file(zlib.compress(PLAIN, wbits=-15), DEFLATED),
    ),
    "turns big endian round": (
        file(
            element(0x00100010, "PN", b"DOE^JANE", order=">")
            + element(0x00280010, "US", b"\x00\x02", order=">")
            + element(0x7FE00010, "OW", b"\x01\x00\x03\x02", order=">"),
            BIG_ENDIAN,
        ),
        file(NAME + ROWS + element(0x7FE00010, "OW", b"\x00\x01\x02\x03")),
    ),
    "closes what was open": (
        file(of_sequence(item(INSIDE, is_open=True), is_open=True)),
        file(of_sequence(item(INSIDE))),
    ),
    "does not know that it is a sequence": (
        file(of_sequence(item(INSIDE))),
        file(implicit(0x00081140, item(implicit(0x00081155, b"1.2.34"))), IMPLICIT),
    ),
    "closes an unknown sequence": (
        file(
            implicit(0x00091001, item(implicit(0x00090102, b"ab")) + implicit(0xFFFEE0DD, b""),
            length=UNDEFINED), IMPLICIT,
        ),
        file(implicit(0x00091001, item(implicit(0x00090102, b"ab"), is_open=True)), IMPLICIT),
    ),
    "cuts the only frame otherwise": (
        file(fragments(b"abcdef"), JPEG), file(fragments(b"ab", b"cdef"), JPEG),
    ),
    "cuts one frame of two otherwise": (
        file(FRAMES + fragments(b"abcd", b"efgh"), JPEG),
        file(FRAMES + fragments(b"ab", b"cd", b"efgh", table=(0, 20)), JPEG),
    ),
    "adds an offset table": (
        file(FRAMES + fragments(b"abcd", b"efgh"), JPEG),
        file(FRAMES + fragments(b"abcd", b"efgh", table=(0, 12)), JPEG),
    ),
    "gives encapsulated pixels a length": (
        file(fragments(b"abcdef"), JPEG),
        file(element(0x7FE00010, "OB", item(b"") + item(b"abcdef")), JPEG),
    ),
}  # fmt: skip

#: What it may not do, and the tag that is named.
MAY_NOT = {
    "coerces the patient's name": (
        file(PLAIN), file(PLAIN.replace(b"DOE^JANE", b"DOE^JOHN")), "(0010,0010)",
    ),
    "loses an element": (file(PLAIN), file(PLAIN.replace(NAME, b"")), "(0010,0010)"),
    "adds an element": (
        file(NAME), file(element(0x00080080, "LO", b"OURS") + NAME), "(0008,0080)",
    ),
    "loses a private element": (
        file(PLAIN), file(PLAIN.replace(PRIVATE, b"")), "(0009,1001)",
    ),
    "loses a private creator": (
        file(PLAIN), file(PLAIN.replace(CREATOR, b"")), "(0009,0010)",
    ),
    "empties an element": (
        file(NAME), file(element(0x00100010, "PN", b"")), "(0010,0010)",
    ),
    "leaves out an empty element": (
        file(element(0x00080050, "SH", b"") + NAME), file(NAME), "(0008,0050)",
    ),
    "changes one byte of pixels": (
        file(PLAIN), file(PLAIN[:-1] + b"\xff"), "(7fe0,0010)",
    ),
    "truncates the pixels and says so": (
        file(PLAIN), file(PLAIN.replace(PIXELS, element(0x7FE00010, "OW", bytes(range(14))))),
        "(7fe0,0010)",
    ),
    "truncates the pixels and does not say so": (
        file(PLAIN), file(PLAIN[:-2]), "(7fe0,0010)",
    ),
    "adds pixels": (
        file(PLAIN), file(PLAIN.replace(PIXELS, element(0x7FE00010, "OW", bytes(range(18))))),
        "(7fe0,0010)",
    ),
    "adds a zero to even pixels": (
        file(element(0x7FE00010, "OB", b"\1\2")), file(element(0x7FE00010, "OB", b"\1\2\0\0")),
        "(7fe0,0010)",
    ),
    "makes an even length odd": (
        file(element(0x7FE00010, "OB", b"\1\2")), file(element(0x7FE00010, "OB", b"\1\2\0")),
        "(7fe0,0010)",
    ),
    "changes what a number means": (
        file(element(0x00280106, "US", b"\xff\xff")), file(element(0x00280106, "SS", b"\xff\xff")),
        "(0028,0106)",
    ),
    "changes an item": (
        file(of_sequence(item(INSIDE))),
        file(of_sequence(item(INSIDE.replace(b"1.2.34", b"1.2.35")))), "(0008,1140)[0].(0008,1155)",
    ),
    "loses an item": (
        file(of_sequence(item(INSIDE) + item(INSIDE))), file(of_sequence(item(INSIDE))),
        "(0008,1140)",
    ),
    "transcodes the pixels": (file(fragments(b"abcd"), JPEG), file(PLAIN), "transfer syntax"),
    "calls compressed pixels by another name": (
        file(fragments(b"abcd"), JPEG), file(fragments(b"abcd"), RLE), "transfer syntax",
    ),
    "changes a fragment": (
        file(fragments(b"abcd"), JPEG), file(fragments(b"abce"), JPEG), "(7fe0,0010)",
    ),
    "loses a fragment": (
        file(FRAMES + fragments(b"abcd", b"efgh"), JPEG), file(FRAMES + fragments(b"abcd"), JPEG),
        "(7fe0,0010)",
    ),
    "moves the border of two frames": (
        file(FRAMES + fragments(b"abcd", b"efgh"), JPEG),
        file(FRAMES + fragments(b"ab", b"cdefgh"), JPEG), "(7fe0,0010)",
    ),
    "cuts frames so that nothing tells them": (
        file(FRAMES + fragments(b"abcd", b"efgh"), JPEG),
        file(FRAMES + fragments(b"ab", b"cd", b"efgh"), JPEG), "(7fe0,0010)",
    ),
    "cuts a frame of RLE": (
        file(fragments(b"abcd"), RLE), file(fragments(b"ab", b"cd"), RLE), "(7fe0,0010)",
    ),
    "points its offset table elsewhere": (
        file(FRAMES + fragments(b"abcd", b"efgh"), JPEG),
        file(FRAMES + fragments(b"abcd", b"efgh", table=(0, 14)), JPEG), "(7fe0,0010)",
    ),
    "ends the fragments without their end": (
        file(fragments(b"abcd"), JPEG), file(fragments(b"abcd")[:-8], JPEG), "(7fe0,0010)",
    ),
    "appends bytes": (file(PLAIN), file(PLAIN + b"\0\0"), "its end"),
    "tells an element twice": (file(NAME), file(NAME + NAME), "(0010,0010)"),
    "gives back no DICOM": (file(NAME), memoryview(b"<html>"), "file meta information"),
}  # fmt: skip


@pytest.mark.parametrize("name", MAY)
def test_a_store_may_do_that(name: str) -> None:
    given, held = MAY[name]

    assert compared(given, held) == EQUAL
    assert compared(held, given) == EQUAL


@pytest.mark.parametrize("name", MAY_NOT)
def test_a_store_may_not_do_that(name: str) -> None:
    given, held, tag = MAY_NOT[name]

    assert compared(given, held) == ([tag], "")
    assert compared(held, given) == ([tag], "")


def test_two_torn_files_cannot_be_decided() -> None:
    torn = file(PLAIN[:-2])

    found, undecided = compared(torn, file(NAME + PIXELS[:-4]))

    assert found == []
    assert undecided


def test_a_sequence_that_nests_for_ever_is_torn() -> None:
    deep = b""
    for _ in range(200):
        deep = of_sequence(item(deep))

    assert compared(file(deep), file(deep))[1]


def test_not_more_differences_are_named_than_a_person_reads() -> None:
    many = b"".join(element(0x00400000 + n, "LO", b"ab") for n in range(1, 50))

    assert len(compared(file(many), file(b""))[0]) == 20


async def test_a_child_process_decides(tmp_path: Path) -> None:
    given, held, tag = MAY_NOT["coerces the patient's name"]
    for name, content in (("given", given), ("held", held), ("empty", b"")):
        (tmp_path / name).write_bytes(content)

    same = await compare_files(tmp_path / "given", tmp_path / "given")
    other = await compare_files(tmp_path / "given", tmp_path / "held")
    empty = await compare_files(tmp_path / "empty", tmp_path / "given")
    late = await compare_files(tmp_path / "given", tmp_path / "held", time_max_s=0.0)

    assert same.equal
    assert (other.equal, other.differences) == (False, (tag,))
    assert (empty.equal, empty.differences) == (False, ("file meta information",))
    assert (late.equal, late.undecided) == (False, "the comparison took too long")
    with pytest.raises(FileNotFoundError):
        await compare_files(tmp_path / "given", tmp_path / "gone")


async def test_a_comparison_that_needs_too_much_is_not_decided(
    tmp_path: Path,
) -> None:
    """A child that dies of its limits says nothing; that is never taken for equal."""
    bomb = zlib.compress(element(0x7FE00010, "OW", bytes(256 << 20)), wbits=-15)
    (tmp_path / "bomb").write_bytes(file(bomb, DEFLATED))
    both = tmp_path / "bomb", tmp_path / "bomb"

    told = await compare_files(*both, memory_bytes_max=128 << 20)

    assert not told.equal
    assert told.undecided.startswith("the comparison ended")
    assert (await compare_files(*both)).equal


_CTRL_C = """
import asyncio, os, signal, sys
from pathlib import Path
from cloudmig.dicom.compare import compare_files

async def main():
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, lambda: None)
    comparing = asyncio.create_task(compare_files(Path(sys.argv[1]), Path(sys.argv[2])))
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    while not children.read_text() and not comparing.done():
        await asyncio.sleep(0)
    os.killpg(0, signal.SIGINT)
    answer = await comparing
    print(answer.equal, answer.undecided)

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc says which children there are")
def test_ctrl_c_does_not_make_a_variant_a_conflict(tmp_path: Path) -> None:
    """The terminal sends it to the whole group; `run` finishes what is under way."""
    paths = [tmp_path / "first.dcm", tmp_path / "second.dcm"]
    for path in paths:
        path.write_bytes(file(NAME + ROWS + PIXELS))

    ended = subprocess.run(
        [sys.executable, "-c", _CTRL_C, *map(str, paths)],
        capture_output=True, text=True, timeout=60, check=False, start_new_session=True,
    )  # fmt: skip

    assert ended.stdout == "True \n", ended.stderr
