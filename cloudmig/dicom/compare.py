"""Decide whether two files with one SOP Instance UID are a variant or a conflict.

Equal elements and an equal pixel bitstream, written differently, make a variant; anything else is a
conflict. What may differ is told in `cloudmig.dicom.equality`. The comparison parses what a
stranger sent, so it runs in a child process with limits on memory and time.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

from cloudmig.own_modules import module_command

__all__ = ["Comparison", "compare_files"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two files compare. `differences` are tags, never values."""

    equal: bool
    differences: tuple[str, ...] = ()
    undecided: str = ""  #: Why it could not be decided; then the files count as different.


async def compare_files(
    first: Path, second: Path, *, time_max_s: float = 180.0, memory_bytes_max: int = 4 << 30
) -> Comparison:
    """Compare two Part 10 files element by element in a limited child process.

    Raises `OSError` where one of them cannot be opened: that says nothing about equality.
    """
    with first.open("rb") as ours, second.open("rb") as theirs:
        numbers = (ours.fileno(), theirs.fileno())
        child = await asyncio.create_subprocess_exec(
            *module_command("cloudmig.dicom.equality", *map(str, numbers), str(memory_bytes_max)),
            pass_fds=numbers,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C goes to a whole group, and would make it undecided.
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
    return Comparison(answer["equal"], tuple(answer["differences"]), answer["undecided"])
