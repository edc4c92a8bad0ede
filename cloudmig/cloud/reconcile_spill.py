"""Sorts the rows of one inventory file into partitions, in bounded memory, and reads one back.

A study's objects and manifests always meet in one partition: it is chosen by the study's prefix.
Of the columns only what is compared is kept; versions that are not the latest are counted.

A spill is one object, so that a run over N data files writes N of them and not N times the
partitions: a header of offsets (little-endian), then every partition as gzip members.
"""

from __future__ import annotations

import gzip
import itertools
import struct
import tempfile
import urllib.parse
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

from cloudmig.cloud.reconcile_shelf import Address, Shelf

__all__ = ["LOOSE", "ObjectRow", "SplitCounts", "read_partition", "split_rows"]

#: The study prefix of rows that belong to no study: quarantine, and what is nobody's.
LOOSE = ""

_MAGIC = b"CMSPILL1"
_HEAD_BYTES = len(_MAGIC) + 4
_BUFFER_BYTES_MAX = 48 << 20
#: What a line costs beside its characters: the object and the list's pointer to it.
_LINE_OVERHEAD = 60

#: The columns that are kept, in the order of a line. An inventory may lack all but two of them.
_KEPT = (
    "Size", "LastModifiedDate", "VersionId", "ETag", "StorageClass", "EncryptionStatus",
    "ObjectLockMode", "ObjectLockRetainUntilDate", "IsDeleteMarker",
)  # fmt: skip


class ObjectRow(NamedTuple):
    """The latest version of one object, as the inventory lists it. Text: most is only compared."""

    rest: str  #: Of the key, after the study's prefix; of a loose row, all of it.
    size: str
    modified_at: str
    version_id: str
    etag: str
    storage_class: str
    encryption: str
    lock_mode: str
    retain_until: str
    delete_marker: str

    @classmethod
    def of(cls, line: str) -> ObjectRow:
        """Return the row in what follows a line's study prefix."""
        return cls._make(line.split("\t"))

    @property
    def size_bytes(self) -> int:
        return int(self.size or 0)

    @property
    def is_delete_marker(self) -> bool:
        return self.delete_marker == "true"


@dataclass(slots=True)
class SplitCounts:
    """What became of the rows of one data file."""

    rows: int = 0
    kept: int = 0
    noncurrent: int = 0  #: Versions that are not the latest.
    outside: int = 0  #: Not below the destination's prefix and layout.


def split_rows(
    rows: Iterable[Sequence[str]],
    columns: Sequence[str],
    *,
    prefix: str,
    partitions: int,
    spill: Path,
) -> SplitCounts:
    """Sort rows into the file `spill`. `prefix` is the destination's, before `v1/`."""
    counts = SplitCounts()
    with tempfile.TemporaryFile(dir=spill.parent) as runs:
        index = _write_runs(rows, columns, prefix, partitions, counts, runs)
        _write_sorted(runs, index, spill)
    return counts


def _write_runs(
    rows: Iterable[Sequence[str]],
    columns: Sequence[str],
    prefix: str,
    partitions: int,
    counts: SplitCounts,
    runs: IO[bytes],
) -> list[list[tuple[int, int]]]:
    """Append compressed pieces of every partition whenever memory is full; return where they are.

    The loop runs once for every object of a bucket: what looks terse here is measured.
    """
    index: list[list[tuple[int, int]]] = [[] for _ in range(partitions)]
    held: list[list[str]] = [[] for _ in range(partitions)]
    at_key, at_latest = columns.index("Key"), _at(columns, "IsLatest")
    kept = [_at(columns, name) for name in _KEPT]
    layout, skipped = f"{prefix}v1/", len(prefix)
    held_bytes = 0
    crc32, unquote = zlib.crc32, urllib.parse.unquote_plus
    for row in rows:
        counts.rows += 1
        if at_latest is not None and row[at_latest] == "false":
            counts.noncurrent += 1
            continue
        key = row[at_key]
        if "%" in key or "+" in key:
            decoded = unquote(key)
            # A stranger's name may hold tabs or line ends: it keeps its encoded spelling then.
            key = decoded if decoded.isprintable() else key
        if not key.startswith(layout):
            counts.outside += 1
            continue
        key = key[skipped:]
        parts = key.split("/", 4)
        if len(parts) == 5:
            study = key[: len(key) - len(parts[4])]
            line = f"{study}\t{parts[4]}"
        else:
            study, line = key, f"\t{key}"
        for at in kept:
            line += "\t" if at is None else f"\t{row[at]}"
        held[crc32(study.encode()) % partitions].append(line)
        held_bytes += len(line) + _LINE_OVERHEAD
        if held_bytes > _BUFFER_BYTES_MAX:
            _flush(held, index, runs)
            held_bytes = 0
    _flush(held, index, runs)
    counts.kept = counts.rows - counts.noncurrent - counts.outside
    return index


def _at(columns: Sequence[str], name: str) -> int | None:
    return columns.index(name) if name in columns else None


def _flush(held: list[list[str]], index: list[list[tuple[int, int]]], runs: IO[bytes]) -> None:
    for lines, ranges in zip(held, index, strict=True):
        if lines:
            text = "\n".join(lines) + "\n"
            piece = zlib.compress(text.encode("utf-8"), 1, wbits=31)
            ranges.append((runs.tell(), len(piece)))
            runs.write(piece)
            lines.clear()


def _write_sorted(runs: IO[bytes], index: list[list[tuple[int, int]]], path: Path) -> None:
    """Copy the pieces so that each partition is one range."""
    sizes = [sum(length for _, length in ranges) for ranges in index]
    first = _HEAD_BYTES + 8 * (len(index) + 1)
    offsets = list(itertools.accumulate(sizes, initial=first))
    with path.open("wb") as file:
        file.write(_MAGIC + struct.pack("<I", len(index)))
        file.write(struct.pack(f"<{len(offsets)}Q", *offsets))
        for ranges in index:
            for start, length in ranges:
                runs.seek(start)
                file.write(runs.read(length))


def read_partition(shelf: Shelf, spills: Iterable[Address], number: int) -> dict[str, list[str]]:
    """Return the lines of one partition by study prefix, each without that prefix."""
    studies: dict[str, list[str]] = {}
    for address in spills:
        for line in _lines(shelf, address, number):
            study, _, rest = line.partition("\t")
            if study in studies:
                studies[study].append(rest)
            else:
                studies[study] = [rest]
    return studies


def _lines(shelf: Shelf, address: Address, number: int) -> Iterator[str]:
    first, end = struct.unpack("<2Q", shelf.get_range(address, _HEAD_BYTES + 8 * number, 16))
    if end == first:
        return
    packed = shelf.get_range(address, first, end - first)
    text = gzip.decompress(packed).decode("utf-8")
    # Not splitlines(): a stranger's key may hold what Unicode takes for the end of a line.
    yield from text[:-1].split("\n")
