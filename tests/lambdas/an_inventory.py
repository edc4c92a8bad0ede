"""Writes an S3 Inventory of a bucket as it is, in the form that S3 writes it."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import hashlib
import io
import json
from typing import Any
from urllib.parse import quote_plus

from tests.lambdas.cloud import PREFIX, Cloud

__all__ = ["write_inventory"]

_FOLDER = "inventory/all"
_COLUMNS = ("Bucket", "Key", "VersionId", "IsLatest", "IsDeleteMarker", "Size",
            "LastModifiedDate", "ETag", "StorageClass", "EncryptionStatus")  # fmt: skip


def write_inventory(cloud: Cloud) -> dict[str, str]:
    """Write it into the bucket itself; return the address of its manifest.checksum."""
    answer = cloud.s3.list_object_versions(Bucket=cloud.name, Prefix=PREFIX)
    assert not answer["IsTruncated"]
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows(_row(cloud, each, deleted=False) for each in answer["Versions"])
    writer.writerows(_row(cloud, each, deleted=True) for each in answer.get("DeleteMarkers", ()))
    body = gzip.compress(text.getvalue().encode("ascii"), mtime=0)
    data = f"{_FOLDER}/data/0.csv.gz"
    _put(cloud, data, body)
    # S3 takes its time over a list; whatever was changed before it began is in it.
    at = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=1)
    manifest = json.dumps({
        "sourceBucket": cloud.name, "destinationBucket": f"arn:aws:s3:::{cloud.name}",
        "version": "2016-11-30", "creationTimestamp": str(int(at.timestamp() * 1000)),
        "fileFormat": "CSV", "fileSchema": ", ".join(_COLUMNS),
        "files": [{"key": data, "size": len(body), "MD5checksum": _md5(body)}],
    }).encode("ascii")  # fmt: skip
    folder = f"{_FOLDER}/{at:%Y-%m-%dT%H-%MZ}"
    _put(cloud, f"{folder}/manifest.json", manifest)
    _put(cloud, f"{folder}/manifest.checksum", f"{_md5(manifest)}\n".encode("ascii"))
    return {"bucket": cloud.name, "key": f"{folder}/manifest.checksum"}


def _row(cloud: Cloud, version: dict[str, Any], *, deleted: bool) -> list[str]:
    told = [] if deleted else [str(version["Size"])]
    return [
        cloud.name, quote_plus(version["Key"], safe="/"), version["VersionId"],
        str(version["IsLatest"]).lower(), str(deleted).lower(), *(told or [""]),
        f"{version['LastModified']:%Y-%m-%dT%H:%M:%S}.000Z",
        "" if deleted else version["ETag"].strip('"'),
        "" if deleted else version["StorageClass"], "" if deleted else "SSE-KMS",
    ]  # fmt: skip


def _put(cloud: Cloud, key: str, body: bytes) -> None:
    cloud.s3.put_object(Bucket=cloud.name, Key=key, Body=body)


def _md5(body: bytes) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()
