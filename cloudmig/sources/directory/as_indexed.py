"""Open a file of the index, and see that it is still what the inventory saw."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

from cloudmig.dicom.part10 import PREFIX_BYTES_MAX, NotPart10, read_prefix
from cloudmig.sources.directory.opening import modified_ns, open_beneath

__all__ = ["FileFacts", "NotAsIndexedError", "opened_as_indexed", "trouble_of"]

_BEGINNING_BYTES = 4096


class NotAsIndexedError(Exception):
    """The file is not what the inventory saw; the argument is the trouble that the index keeps."""


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What must be true of a file before a byte of it is believed."""

    path: bytes
    size_bytes: int
    mtime_ns: int
    transfer_syntax_uid: str


@contextlib.contextmanager
def opened_as_indexed(root: int, facts: FileFacts) -> Iterator[tuple[int, int]]:
    """Give a descriptor, and where the data set begins; the facts must be true after it, too.

    Raises `NotAsIndexedError` or OSError.
    """
    descriptor, found = open_beneath(root, facts.path)
    try:
        _check_unchanged(found, facts)
        offset, transfer_syntax_uid = _prefix(descriptor)
        if transfer_syntax_uid != facts.transfer_syntax_uid or offset > facts.size_bytes:
            raise NotAsIndexedError("changed")
        yield descriptor, offset
        _check_unchanged(os.fstat(descriptor), facts)
    finally:
        os.close(descriptor)


def trouble_of(error: Exception) -> str:
    """Return the word that the index keeps for a file that could not be read as it was."""
    match error:
        case NotAsIndexedError():
            return str(error)
        case FileNotFoundError():
            return "vanished"
        case _:
            return "unreadable"


def _prefix(descriptor: int) -> tuple[int, str]:
    """Return where the data set begins, and its transfer syntax."""
    for size_bytes in (_BEGINNING_BYTES, PREFIX_BYTES_MAX + _BEGINNING_BYTES):
        try:
            offset, transfer_syntax_uid = read_prefix(os.pread(descriptor, size_bytes, 0))
        except NotPart10:
            continue
        if offset < size_bytes:
            return offset, transfer_syntax_uid
    raise NotAsIndexedError("changed")


def _check_unchanged(found: os.stat_result, facts: FileFacts) -> None:
    if (found.st_size, modified_ns(found)) != (facts.size_bytes, facts.mtime_ns):
        raise NotAsIndexedError("changed")
