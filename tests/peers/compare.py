"""Whether two Part 10 files say the same: element by element, and the pixel bitstream.

Ignored are group 0002 and group length elements, which every hop writes anew (PS3.5 7.2). Run as a
program, so that hostile content meets limits of memory and time: it prints `equal` or the first
difference (tags only, never values).
"""

from __future__ import annotations

import resource
import subprocess
import sys
import warnings
from pathlib import Path

import pydicom
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.encaps import generate_fragments

__all__ = ["difference", "difference_in_child"]

_MEMORY_BYTES_MAX = 3 << 30
_PROCESSOR_TIME_MAX_S = 120
_PIXELS = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))


def difference_in_child(first: Path, second: Path) -> str:
    """Return `difference` as a child with limits found it; empty means equal."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.peers.compare", str(first), str(second)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if done.returncode != 0:
        return f"could not be compared (exit {done.returncode})"
    answer = done.stdout.strip()
    return "" if answer == "equal" else answer


def difference(first: Path, second: Path) -> str:
    """Return where two files first differ, or an empty string."""
    one, other = pydicom.dcmread(first, force=True), pydicom.dcmread(second, force=True)
    syntaxes = [str(each.file_meta.get("TransferSyntaxUID", "")) for each in (one, other)]
    compressed = [uid.startswith("1.2.840.10008.1.2.4") or uid.endswith(".5") for uid in syntaxes]
    if syntaxes[0] != syntaxes[1] and any(compressed):
        return f"transfer syntax {syntaxes[0]} became {syntaxes[1]}"
    return _difference(one, other, "")


def _difference(one: Dataset, other: Dataset, path: str) -> str:
    # Iterating a data set gives its elements; its keys are the tags.
    tags = [{tag for tag in each.keys() if tag.element} for each in (one, other)]  # noqa: SIM118
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
        elif not _equal(mine, theirs):
            return f"{here} differs"
    return ""


def _equal(mine: DataElement, theirs: DataElement) -> bool:
    if mine.tag in _PIXELS:
        return _bitstream(mine) == _bitstream(theirs)
    if mine.VR != theirs.VR and "UN" in (mine.VR, theirs.VR):
        return str(mine.value) == str(theirs.value)
    if isinstance(mine.value, bytes) and isinstance(theirs.value, bytes):
        return mine.value.rstrip(b"\0 ") == theirs.value.rstrip(b"\0 ")
    return bool(mine.value == theirs.value)


def _bitstream(pixels: DataElement) -> bytes:
    """Return the pixel bytes; of encapsulated ones all fragments, without the offset table."""
    content = bytes(pixels.value)
    if not pixels.is_undefined_length:
        return content.rstrip(b"\0")
    fragments = list(generate_fragments(content))
    return b"".join(fragments[1:])


def main() -> None:
    """Compare the two files named on the command line, within limits."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES_MAX, _MEMORY_BYTES_MAX))
    resource.setrlimit(resource.RLIMIT_CPU, (_PROCESSOR_TIME_MAX_S, _PROCESSOR_TIME_MAX_S))
    warnings.simplefilter("ignore")
    print(difference(Path(sys.argv[1]), Path(sys.argv[2])) or "equal")


if __name__ == "__main__":
    main()
