"""Writes made-up studies as a bucket's folder of manifests and an S3 Inventory, as S3 writes it.

Text is put together by hand and by several processes: ten million objects in two or three minutes
on two cores. A study's rows are scattered over the data files, and rows are shuffled in them.
"""

from __future__ import annotations

import hashlib
import json
import random
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench.reconcile_world import (
    ARCHIVE,
    BUCKET,
    COLUMNS,
    DECOYS,
    KINDS,
    OLD,
    PREFIX,
    SNAPSHOT,
    Study,
    make_study,
    manifest_row,
    manifest_text,
)

__all__ = ["CONFIG", "World", "write_world"]

CONFIG = "inventory/images/everything"
#: Rows that are shuffled together before they are written.
_SHUFFLED = 20_000


@dataclass(frozen=True, slots=True)
class World:
    """What was written."""

    bucket: Path  #: What the image bucket holds of it: manifests only.
    inventory: Path  #: manifest.json
    expected: set[tuple[str, str]]  #: Every difference: finding and key.
    objects: int


@dataclass(frozen=True, slots=True)
class _Part:
    """What one process writes: every so-manyth study, into data files of its own."""

    folder: Path
    number: int
    parts: int
    studies: int
    instances: int
    differences: int
    files: int


def write_world(
    folder: Path,
    *,
    objects: int,
    differences: int = 1000,
    instances_per_study: int = 100,
    files: int = 20,
    processes: int = 2,
) -> World:
    """Write an inventory of about so many objects with exactly so many differences."""
    studies = objects // (instances_per_study + 1)
    assert studies >= 4 * differences, "most studies are as they should be"
    parts = [
        _Part(
            folder, each, processes, studies, instances_per_study, differences,
            max(1, files // processes),
        )
        for each in range(processes)
    ]  # fmt: skip
    (folder / "inventory" / CONFIG / "data").mkdir(parents=True)
    expected: set[tuple[str, str]] = set()
    listed, written = [], 0
    with ProcessPoolExecutor(processes) as pool:
        for found, entries, rows in pool.map(_write_part, parts):
            expected |= found
            listed += entries
            written += rows
    return World(folder / "bucket", _write_manifest(folder, listed), expected, written)


def _write_manifest(folder: Path, files: list[dict[str, object]]) -> Path:
    content = {
        "sourceBucket": BUCKET,
        "destinationBucket": "arn:aws:s3:::inventories",
        "version": "2016-11-30",
        "creationTimestamp": str(int(SNAPSHOT.timestamp() * 1000)),
        "fileFormat": "CSV",
        "fileSchema": ", ".join(COLUMNS),
        "files": files,
    }
    path = folder / "inventory" / CONFIG / f"{SNAPSHOT:%Y-%m-%dT%H-%MZ}" / "manifest.json"
    path.parent.mkdir()
    path.write_text(json.dumps(content, indent=2))
    md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    path.with_name("manifest.checksum").write_text(md5)
    return path


def _write_part(part: _Part) -> tuple[set[tuple[str, str]], list[dict[str, object]], int]:
    files = [_DataFile(part.folder, f"{part.number:02}{each:03}") for each in range(part.files)]
    expected: set[tuple[str, str]] = set()
    rows = 0
    chance = random.Random(part.number)
    every = part.studies // part.differences
    for number in range(part.number, part.studies, part.parts):
        study = make_study(number, part.instances)
        if number % every == 0 and number // every < part.differences:
            KINDS[number // every % len(KINDS)](study)
        elif number % every == 1:
            DECOYS[number // every % len(DECOYS)](study)
        expected.update(study.expected)
        for row in _write_study(part.folder / "bucket", study):
            files[chance.randrange(part.files)].add(row, chance)
            rows += 1
    if part.number == 0:
        for row in _loose():
            files[0].add(row, chance)
            rows += 1
    return expected, [each.close(chance) for each in files], rows


def _loose() -> Iterator[str]:
    """Yield rows of no study. Neither is a difference."""
    tail = f'"true","false","10","{OLD}","e","STANDARD","false","","SSE-KMS","","","","SHA256"\n'
    yield f'"{BUCKET}","{PREFIX}v1/{ARCHIVE}/quarantine/{"ab" * 32}.dcm","v",' + tail.replace(
        '"SSE-KMS","",""', '"SSE-KMS","2031-03-01T00:00:00.000Z","COMPLIANCE"'
    )
    yield f'"{BUCKET}","somewhere+else/a%2Cb.txt","v",' + tail


def _write_study(bucket: Path, study: Study) -> Iterator[str]:
    """Write the manifests of a study; yield its rows."""
    for each in study.instances:
        if each.is_listed:
            yield each.row()
    folder = bucket / PREFIX / study.prefix / "manifest"
    if study.revisions:
        folder.mkdir(parents=True)
    previous = ""
    for revision in range(1, study.revisions + 1):
        text = manifest_text(study, revision, previous)
        body = zlib.compress(text.encode("ascii"), 1, wbits=31)
        previous = hashlib.sha256(body).hexdigest()
        if study.damage:
            body = body[:-8] + bytes(8)
        (folder / f"{revision}.json.gz").write_bytes(body)
        if revision not in study.unlisted:
            yield manifest_row(study, revision, len(body), previous[:32])


class _DataFile:
    """One gzipped CSV file of the inventory, in the making."""

    def __init__(self, folder: Path, name: str) -> None:
        self._key = f"{CONFIG}/data/{name}.csv.gz"
        self._file = (folder / "inventory" / self._key).open("wb")
        self._zip = zlib.compressobj(1, wbits=31)
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._rows: list[str] = []

    def add(self, row: str, chance: random.Random) -> None:
        self._rows.append(row)
        if len(self._rows) >= _SHUFFLED:
            self._flush(chance)

    def _flush(self, chance: random.Random) -> None:
        chance.shuffle(self._rows)
        self._write(self._zip.compress("".join(self._rows).encode("ascii")))
        self._rows.clear()

    def _write(self, piece: bytes) -> None:
        self._md5.update(piece)
        self._file.write(piece)

    def close(self, chance: random.Random) -> dict[str, object]:
        """Finish the file; return its entry in manifest.json."""
        self._flush(chance)
        self._write(self._zip.flush())
        size = self._file.tell()
        self._file.close()
        return {"key": self._key, "size": size, "MD5checksum": self._md5.hexdigest()}
