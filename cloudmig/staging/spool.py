"""A bounded folder for objects too large for memory.

The source keeps its copy until we say that a study is done, so nothing here must survive a crash:
what a dead process left is removed at the start.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from cloudmig.errors import SpoolFull

__all__ = ["Spool"]

#: Left free for the catalog, which shares the disk and cannot do without.
_DISK_FREE_BYTES_MIN = 64 << 20


class Spool:
    """Files in one folder, counted against a limit. File names hold no patient data."""

    def __init__(self, folder: Path, *, bytes_max: int) -> None:
        self.folder = folder
        self.bytes_max = bytes_max
        self.bytes_used = 0
        self._number = 0

    def clean(self) -> int:
        """Create the folder, remove what a dead process left, and return how many files it was."""
        removed = 0
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for leftover in self.folder.iterdir():
                leftover.unlink()
                removed += 1
        except OSError as error:
            raise _translate(error) from error
        return removed

    def create(self) -> tuple[Path, BinaryIO]:
        """Open a new empty file."""
        self._number += 1
        path = self.folder / f"{os.getpid()}-{self._number}.part"
        try:
            return path, path.open("xb", buffering=0)
        except OSError as error:
            raise _translate(error) from error

    def reserve(self, size_bytes: int) -> None:
        """Count bytes about to be written, or raise `SpoolFull`."""
        if self.bytes_used + size_bytes > self.bytes_max:
            raise SpoolFull(
                "the spool is full", hint="raise agent.spool_bytes_max, or lower agent.transfers"
            )
        try:
            disk = os.statvfs(self.folder)
        except OSError as error:
            raise _translate(error) from error
        if disk.f_bavail * disk.f_frsize < size_bytes + _DISK_FREE_BYTES_MIN:
            raise SpoolFull("the disk of the spool is full", hint="free space in agent.state_dir")
        self.bytes_used += size_bytes

    def write(self, file: BinaryIO, data: bytes | bytearray) -> None:
        """Write all of `data`. Called in a thread."""
        view = memoryview(data)
        try:
            while view:
                view = view[file.write(view) :]
        except OSError as error:
            raise _translate(error) from error

    def remove(self, path: Path, size_bytes: int) -> None:
        """Delete a file and return its room."""
        self.give_back(size_bytes)
        path.unlink(missing_ok=True)

    def give_back(self, size_bytes: int) -> None:
        """Return room that was reserved and not used."""
        self.bytes_used -= size_bytes
        assert self.bytes_used >= 0, "more was given back than reserved"


def _translate(error: OSError) -> SpoolFull:
    return SpoolFull(
        f"the spool cannot be written: {error.strerror}",
        hint="look at the disk that holds agent.state_dir: space, permissions, errors",
    )
