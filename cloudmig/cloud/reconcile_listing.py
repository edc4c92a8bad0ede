"""Reads an S3 Inventory as S3 writes it: manifest.json, its checksum, and gzipped CSV files.

Amazon S3 User Guide, "Amazon S3 Inventory" and "Locating your inventory list": the schema names
the columns, keys are URL-encoded, rows are in no order, and what was written or deleted shortly
before may or may not be listed.
"""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from cloudmig.cloud.reconcile_shelf import Address, Shelf

__all__ = ["DataFile", "Inventory", "InventoryRefused", "read_inventory", "rows_of"]

_TIME_FORMAT_HINT = "the inventory must list Size and LastModifiedDate: add them to its fields"


class InventoryRefused(ValueError):  # noqa: N818 - named for what happened, as in errors.py
    """The inventory cannot be reconciled, and trying again would not help. Says what to do."""


@dataclass(frozen=True, slots=True)
class DataFile:
    """One gzipped CSV file of an inventory."""

    key: str
    size_bytes: int
    md5: str


@dataclass(frozen=True, slots=True)
class Inventory:
    """What manifest.json says."""

    source_bucket: str
    destination_bucket: str
    snapshot_at: dt.datetime  #: When S3 began to write the list.
    columns: tuple[str, ...]
    files: tuple[DataFile, ...]
    md5: str  #: Of manifest.json itself.


def read_inventory(shelf: Shelf, address: Address) -> Inventory:
    """Read manifest.json, by its own name or by manifest.checksum's, and check its MD5."""
    manifest, checksum = address.beside("manifest.json"), address.beside("manifest.checksum")
    if address.key.rpartition("/")[2] not in {"manifest.json", "manifest.checksum"}:
        raise InventoryRefused("an inventory is named by its manifest.json")
    text, expected = shelf.get(manifest), shelf.get(checksum)
    if text is None:
        raise InventoryRefused("there is no such manifest.json")
    if expected is None:
        raise InventoryRefused(
            "manifest.checksum is missing: S3 writes it last, so the inventory is not complete yet"
        )
    md5 = hashlib.md5(text, usedforsecurity=False).hexdigest()
    if expected.decode("ascii", "replace").strip().lower() != md5:
        raise InventoryRefused("manifest.json is not what manifest.checksum says: fetch it again")
    try:
        return _inventory(json.loads(text), md5)
    except InventoryRefused:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InventoryRefused("manifest.json is none of an S3 Inventory") from error


def _inventory(content: Mapping[str, Any], md5: str) -> Inventory:
    kind = content["fileFormat"]
    if kind != "CSV":
        # Both need a reader the functions' package does not hold, by design (standard library).
        raise InventoryRefused(
            f"the inventory is written as {kind}: set its output format to CSV and take the next"
        )
    columns = tuple(name.strip() for name in content["fileSchema"].split(","))
    if not {"Key", "Size", "LastModifiedDate"} <= set(columns):
        raise InventoryRefused(_TIME_FORMAT_HINT)
    return Inventory(
        source_bucket=content["sourceBucket"],
        destination_bucket=content["destinationBucket"].rpartition(":")[2],
        snapshot_at=dt.datetime.fromtimestamp(int(content["creationTimestamp"]) / 1000, dt.UTC),
        columns=columns,
        files=tuple(
            DataFile(each["key"], int(each["size"]), each["MD5checksum"].lower())
            for each in content["files"]
        ),
        md5=md5,
    )


def rows_of(shelf: Shelf, file: DataFile, address: Address, *, width: int) -> Iterator[list[str]]:
    """Yield the rows of a data file, then check its MD5.

    A caller keeps nothing before the last row has come. Raises `InventoryRefused`.
    """
    try:
        opened = shelf.open(address)
    except FileNotFoundError as error:
        raise InventoryRefused(
            "a data file that manifest.json names is not there: fetch all of them, or take the next"
            " inventory"
        ) from error
    with _Hashed(opened) as hashed:
        try:
            with gzip.GzipFile(fileobj=hashed, mode="rb") as unzipped:
                text = io.TextIOWrapper(unzipped, encoding="utf-8", newline="")
                for row in csv.reader(text):
                    if len(row) != width:
                        raise InventoryRefused("a data file has rows of another schema")
                    yield row
        except (gzip.BadGzipFile, EOFError, zlib.error, csv.Error, UnicodeDecodeError) as error:
            raise InventoryRefused("a data file is damaged: fetch it again") from error
        if hashed.md5.hexdigest() != file.md5:
            raise InventoryRefused("a data file is not what manifest.json says: fetch it again")


class _Hashed(io.RawIOBase):
    """Hash what gzip reads, which is everything to the end of the file."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self.md5 = hashlib.md5(usedforsecurity=False)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        piece = self._file.read(size)
        self.md5.update(piece)
        return piece

    def close(self) -> None:
        self._file.close()
        super().close()
