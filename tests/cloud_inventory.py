"""A small S3 Inventory and the manifests it lists, written by hand: one study, a few rows."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote_plus

from cloudmig import manifest
from cloudmig.cloud.reconcile_shelf import Address, Shelf
from cloudmig.manifest import InstanceRecord, Manifest
from cloudmig.model.instance import Location
from cloudmig.model.references import InstanceRef, StudyRef
from cloudmig.objects import instance_key, manifest_key

BUCKET, INVENTORIES, RESULTS, PREFIX = "images", "inventories", "results", "hospital/"
FOLDER = "p/images/all"
SNAPSHOT = dt.datetime(2026, 3, 1, 1, tzinfo=dt.UTC)
OLD = "2026-02-01T10:00:00.000Z"
STUDY = StudyRef("1.2.3")
COLUMNS = (
    "Bucket", "Key", "VersionId", "IsLatest", "IsDeleteMarker", "Size", "LastModifiedDate", "ETag",
    "StorageClass", "EncryptionStatus", "ObjectLockMode", "ObjectLockRetainUntilDate",
)  # fmt: skip


def instance(number: int) -> InstanceRef:
    return InstanceRef(STUDY.study_instance_uid, "1.2.3.4", f"1.2.3.4.{number}")


def a_record(number: int, **changes: Any) -> InstanceRecord:  # noqa: ANN401
    ref = instance(number)
    return replace(
        InstanceRecord(
            ref.series_instance_uid, ref.sop_instance_uid, "1.2", "1.2.840.10008.1.2.1",
            1000 + number, "f" * 64, "d" * 64, Location(instance_key("main", ref), f"v{number}"),
            f'"e{number}"', "STANDARD_IA", stored_at=OLD,
        ),
        **changes,
    )  # fmt: skip


@dataclass
class Listing:
    """Rows by key, and what the image bucket holds under some of them."""

    rows: list[dict[str, str]] = field(default_factory=list)
    bodies: dict[str, bytes] = field(default_factory=dict)

    def add(self, key: str, **columns: str) -> None:
        """List an object; a key relative to the prefix."""
        self.rows.append(
            {
                "Bucket": BUCKET, "Key": PREFIX + key, "VersionId": "v", "IsLatest": "true",
                "IsDeleteMarker": "false", "Size": "10", "LastModifiedDate": OLD, "ETag": "e",
                "StorageClass": "STANDARD_IA", "EncryptionStatus": "SSE-KMS",
            }
            | columns
        )  # fmt: skip

    def add_record(self, record: InstanceRecord, **columns: str) -> None:
        """List what a record describes."""
        told = {
            "Size": str(record.size_bytes), "VersionId": record.location.version_id or "",
            "ETag": record.etag.strip('"'), "StorageClass": record.storage_class,
        }  # fmt: skip
        self.add(record.location.key, **told | columns)

    def add_manifest(
        self,
        records: Sequence[InstanceRecord],
        *,
        revision: int = 1,
        previous_sha256: str = "",
        listed: bool = True,
        **columns: str,
    ) -> str:
        """Write a manifest and list it; return its SHA-256."""
        body, sha256 = manifest.encode(
            Manifest(
                archive="main", study_instance_uid=STUDY.study_instance_uid, revision=revision,
                previous_sha256=previous_sha256, source={}, destination="archive", created_at=OLD,
                completeness="SET", instances=records,
            )
        )  # fmt: skip
        key = manifest_key("main", STUDY, revision)
        self.bodies[key] = body
        if listed:
            told = {"Size": str(len(body)), "StorageClass": "STANDARD", "VersionId": ""}
            self.add(key, **told | columns)
        return sha256

    def write(self, shelf: Shelf, *, columns: Sequence[str] = COLUMNS, files: int = 2) -> Address:
        """Write everything as S3 does; return where manifest.json is."""
        for key, body in self.bodies.items():
            shelf.put(Address(BUCKET, PREFIX + key), body)
        entries = []
        for number in range(files):
            body = gzip.compress(_csv(self.rows[number::files], columns), mtime=0)
            key = f"{FOLDER}/data/{number}.csv.gz"
            shelf.put(Address(INVENTORIES, key), body)
            md5 = hashlib.md5(body, usedforsecurity=False).hexdigest()
            entries.append({"key": key, "size": len(body), "MD5checksum": md5})
        return write_manifest_json(shelf, {"fileSchema": ", ".join(columns), "files": entries})


def _csv(rows: Sequence[Mapping[str, str]], columns: Sequence[str]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    for row in rows:
        encoded = {**row, "Key": quote_plus(row["Key"], safe="/")}
        writer.writerow([encoded.get(name, "") for name in columns])
    return text.getvalue().encode("ascii")


def write_manifest_json(shelf: Shelf, changes: Mapping[str, object]) -> Address:
    """Write manifest.json and its checksum; return where it is."""
    content = {
        "sourceBucket": BUCKET, "destinationBucket": f"arn:aws:s3:::{INVENTORIES}",
        "version": "2016-11-30", "creationTimestamp": str(int(SNAPSHOT.timestamp() * 1000)),
        "fileFormat": "CSV", "fileSchema": ", ".join(COLUMNS), "files": [],
    }  # fmt: skip
    text = json.dumps(content | dict(changes)).encode("ascii")
    address = Address(INVENTORIES, f"{FOLDER}/2026-03-01T01-00Z/manifest.json")
    shelf.put(address, text)
    md5 = hashlib.md5(text, usedforsecurity=False).hexdigest()
    shelf.put(address.beside("manifest.checksum"), f"{md5}\n".encode("ascii"))
    return address
