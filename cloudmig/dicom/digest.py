"""The two digests of a Part 10 file, computed from a stream.

The file digest covers every byte: the integrity of these bytes. The data set digest covers what
follows group 0002: the identity of the object, whoever wrote the file meta information.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cloudmig.dicom.part10 import PREFIX_BYTES_MAX, NotPart10, read_prefix

__all__ = ["FileDigests", "StreamDigests"]


@dataclass(frozen=True, slots=True)
class FileDigests:
    """Hex SHA-256 of a file and of its data set, and its size."""

    size_bytes: int
    file_sha256: str
    dataset_sha256: str  #: Empty when the bytes are not Part 10.
    transfer_syntax_uid: str = ""  #: As group 0002 says; empty when the bytes are not Part 10.


class StreamDigests:
    """Takes a file piece by piece; memory is bounded by the piece and a small prefix."""

    def __init__(self) -> None:
        self._file = hashlib.sha256()
        self._dataset = hashlib.sha256()
        self._beginning: bytearray | None = bytearray()
        self._size = 0
        self._is_part10 = True
        self._transfer_syntax_uid = ""

    def update(self, piece: bytes | bytearray | memoryview) -> None:
        """Take the next piece of the file."""
        self._file.update(piece)
        self._size += len(piece)
        if self._beginning is None:
            self._dataset.update(piece)
            return
        self._beginning += piece
        try:
            offset, self._transfer_syntax_uid = read_prefix(self._beginning)
        except NotPart10:
            if len(self._beginning) > PREFIX_BYTES_MAX:
                self._beginning, self._is_part10 = None, False
            return  # Else perhaps more will tell; `result` decides.
        if offset < len(self._beginning):
            self._dataset.update(memoryview(self._beginning)[offset:])
            self._beginning = None

    def result(self) -> FileDigests:
        """Return the digests of everything taken so far."""
        is_part10, syntax = self._is_part10, self._transfer_syntax_uid
        if self._beginning is not None:
            try:
                _, syntax = read_prefix(self._beginning)
            except NotPart10:
                is_part10 = False
        return FileDigests(
            self._size,
            self._file.hexdigest(),
            self._dataset.hexdigest() if is_part10 else "",
            syntax if is_part10 else "",
        )
