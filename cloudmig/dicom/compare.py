"""Decide whether two files with one SOP Instance UID are a variant or a conflict.

Equal elements and an equal pixel bitstream, written differently (lengths, group length elements,
endianness), make a variant; anything else is a conflict. The comparison parses what a stranger
sent, so it runs in a child process with limits on memory and time:
`python -m cloudmig.dicom.compare A B`. Pixels are compared as bytes, never decoded.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Comparison", "compare_files"]

_MEMORY_BYTES_MAX = 4 << 30
_CPU_S_MAX = 120
_DIFFERENCES_MAX = 20


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two files compare. `differences` are tags, never values."""

    equal: bool
    differences: tuple[str, ...] = ()
    undecided: str = ""  #: Why it could not be decided; then the files count as different.


async def compare_files(first: Path, second: Path, *, time_max_s: float = 180.0) -> Comparison:
    """Compare two Part 10 files element by element in a limited child process."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cloudmig.dicom.compare", str(first), str(second),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(time_max_s):
            output, _ = await child.communicate()
    except TimeoutError:
        return Comparison(equal=False, undecided="the comparison took too long")
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode != 0:
        return Comparison(equal=False, undecided=f"the comparison ended with {child.returncode}")
    answer = json.loads(output)
    return Comparison(answer["equal"], tuple(answer["differences"]))


def _differences(first: Path, second: Path) -> Iterator[str]:
    # Imported here: only the child parses.
    import pydicom  # noqa: PLC0415
    from pydicom.dataelem import DataElement  # noqa: PLC0415
    from pydicom.dataset import Dataset  # noqa: PLC0415

    def elements(dataset: Dataset) -> dict[int, DataElement]:
        return {int(e.tag): e for e in dataset if e.tag.element != 0}  # group lengths differ freely

    def walk(path: str, left: Dataset, right: Dataset) -> Iterator[str]:
        ours, theirs = elements(left), elements(right)
        for tag in sorted(ours.keys() | theirs.keys()):
            name = f"{path}({tag >> 16:04x},{tag & 0xFFFF:04x})"
            if tag not in ours or tag not in theirs:
                yield name
                continue
            a, b = ours[tag], theirs[tag]
            if a.VR == "SQ" and b.VR == "SQ":
                if len(a.value) != len(b.value):
                    yield name
                    continue
                for number, (x, y) in enumerate(zip(a.value, b.value, strict=True)):
                    yield from walk(f"{name}[{number}].", x, y)
            elif a.value != b.value and str(a.value) != str(b.value):
                yield name

    left, right = pydicom.dcmread(first), pydicom.dcmread(second)
    if left.file_meta.TransferSyntaxUID.is_compressed != (
        right.file_meta.TransferSyntaxUID.is_compressed
    ):
        yield "transfer syntax"
    yield from walk("", left, right)


def _main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES_MAX, _MEMORY_BYTES_MAX))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_S_MAX, _CPU_S_MAX))
    found = []
    for name in _differences(Path(sys.argv[1]), Path(sys.argv[2])):
        found.append(name)
        if len(found) == _DIFFERENCES_MAX:
            break
    print(json.dumps({"equal": not found, "differences": found}))


if __name__ == "__main__":
    _main()
