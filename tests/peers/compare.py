"""Whether two Part 10 files say the same: element by element, and the pixel bitstream.

Ignored are group 0002 and group length elements, which every hop writes anew (PS3.5 7.2), and Data
Set Trailing Padding, which has no significance (PS3.10 7.2). Values are compared as they would be
encoded in Implicit VR Little Endian, so that byte order and VR alone make no difference. Hostile
content meets limits of memory and time: every comparison has a process of its own, forked from one
that has pydicom loaded, because thousands of interpreters would take longer than the migration.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import warnings
from multiprocessing.connection import Connection
from pathlib import Path

import pydicom
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.encaps import generate_fragments
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element

__all__ = ["difference", "difference_in_child"]

_MEMORY_BYTES_MAX = 3 << 30
_PROCESSOR_TIME_MAX_S = 120
_TIME_MAX_S = 300
_context = multiprocessing.get_context("forkserver")
#: Values of words that pydicom does not swap, and the bytes of a word (PS3.5 7.3).
_SWAPPED = {"OW": 2, "OB or OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}
_PADDING = 0xFFFCFFFC
_PIXELS = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))


def difference_in_child(first: Path, second: Path) -> str:
    """Return `difference` as a child with limits found it; empty means equal."""
    _context.set_forkserver_preload([__name__])
    receiving, sending = _context.Pipe(duplex=False)
    child = _context.Process(target=_answer, args=(sending, str(first), str(second)))
    child.start()
    sending.close()
    try:
        return str(receiving.recv()) if receiving.poll(_TIME_MAX_S) else "took too long to compare"
    except EOFError:
        child.join()
        return f"could not be compared (exit {child.exitcode})"
    finally:
        receiving.close()
        child.kill()
        child.join()


def _answer(sending: Connection, first: str, second: str) -> None:
    """Compare within limits; the answer names tags only, never values."""
    _limit()
    sending.send(difference(Path(first), Path(second)))


def difference(first: Path, second: Path) -> str:
    """Return where two files first differ, or an empty string."""
    one, other = pydicom.dcmread(first, force=True), pydicom.dcmread(second, force=True)
    syntaxes = [str(each.file_meta.get("TransferSyntaxUID", "")) for each in (one, other)]
    compressed = [uid.startswith("1.2.840.10008.1.2.4") or uid.endswith(".5") for uid in syntaxes]
    if syntaxes[0] != syntaxes[1] and any(compressed):
        return f"transfer syntax {syntaxes[0]} became {syntaxes[1]}"
    return _difference(one, other, "")


def _difference(one: Dataset, other: Dataset, path: str) -> str:
    tags = [
        {each.tag for each in data_set if each.tag.element and each.tag != _PADDING}
        for data_set in (one, other)
    ]
    if tags[0] != tags[1]:
        (tag, *_) = sorted(tags[0] ^ tags[1])
        return f"{path}{tag} is only in the {'first' if tag in tags[0] else 'second'}"
    for tag in sorted(tags[0]):
        here = f"{path}{tag}"
        mine, theirs = one[tag], other[tag]
        if mine.VR == "SQ" and theirs.VR == "SQ":
            if len(mine.value) != len(theirs.value):
                return f"{here} has {len(mine.value)} items and {len(theirs.value)}"
            for number, items in enumerate(zip(mine.value, theirs.value, strict=True)):
                found = _difference(*items, f"{here}[{number}]")
                if found:
                    return found
        elif not _equal(mine, theirs, one, other):
            return f"{here} differs"
    return ""


def _equal(mine: DataElement, theirs: DataElement, one: Dataset, other: Dataset) -> bool:
    if mine.tag in _PIXELS:
        return _bitstream(mine, one) == _bitstream(theirs, other)
    if mine.VR == theirs.VR and mine.VR not in _SWAPPED and mine.value == theirs.value:
        return True
    return _encoded(mine, one) == _encoded(theirs, other)


def _encoded(element: DataElement, owner: Dataset) -> bytes:
    """Return the value in Implicit VR Little Endian, without padding."""
    if isinstance(element.value, bytes):
        return _little_endian(element, owner).rstrip(b"\0 ")
    buffer = DicomBytesIO()
    buffer.is_little_endian = True
    buffer.is_implicit_VR = True
    write_data_element(buffer, element, owner.get("SpecificCharacterSet") or None)
    return buffer.getvalue()[8:].rstrip(b"\0 ")


def _little_endian(element: DataElement, owner: Dataset) -> bytes:
    """Return a value of bytes that pydicom leaves in the byte order of the file."""
    content = bytes(element.value)
    width = _SWAPPED.get(element.VR)
    if width is None or owner.original_encoding[1] is not False:
        return content
    whole = len(content) - len(content) % width
    swapped = bytearray(content)
    for offset in range(width):
        swapped[offset:whole:width] = content[width - 1 - offset : whole : width]
    return bytes(swapped)


def _bitstream(pixels: DataElement, owner: Dataset) -> bytes:
    """Return the pixel bytes; of encapsulated ones all fragments, without the offset table."""
    if not pixels.is_undefined_length:
        return _little_endian(pixels, owner).rstrip(b"\0")
    content = bytes(pixels.value)
    fragments = list(generate_fragments(content))
    return b"".join(fragments[1:])


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES_MAX, _MEMORY_BYTES_MAX))
    resource.setrlimit(resource.RLIMIT_CPU, (_PROCESSOR_TIME_MAX_S, _PROCESSOR_TIME_MAX_S))
    warnings.simplefilter("ignore")
    # The dictionary's VR of a private element may not fit what an implicit file holds.
    pydicom.config.convert_wrong_length_to_UN = True
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE


def main() -> None:
    """Compare the two files named on the command line, within limits."""
    _limit()
    print(difference(Path(sys.argv[1]), Path(sys.argv[2])) or "equal")


if __name__ == "__main__":
    main()
