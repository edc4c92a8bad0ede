"""What a bucket really holds: listed and read back by the judge itself."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import botocore.exceptions
from mypy_boto3_s3 import S3Client

from tests.peers.part10 import FileMeta, NotPart10, read_file_meta

__all__ = ["Bucket", "HeldObject", "ManifestFile", "Survey", "read_manifests"]

_READERS = 8
_CHUNK = 1 << 20
_RECORD_FIELDS = frozenset(
    ("size_bytes", "file_sha256", "dataset_sha256", "transfer_syntax_uid", "sop_class_uid")
)


@dataclass(frozen=True, slots=True)
class HeldObject:
    """One image object, with digests computed from the bytes the store gave."""

    key: str
    size_bytes: int
    file_sha256: str
    dataset_sha256: str  #: Empty where the object is not Part 10.
    meta: FileMeta | None
    metadata: dict[str, str]

    @property
    def sop_instance_uid(self) -> str:
        """Return the UID that the key names: <sop>.dcm, <sop>~<digest16>.dcm or with ~r<n>."""
        if self.quarantined:
            return self.meta.sop_instance_uid if self.meta else ""
        return self.key.rsplit("/", 1)[-1].split("~")[0].removesuffix(".dcm")

    @property
    def quarantined(self) -> bool:
        """Say whether the object lies under quarantine/, keyed by its digest."""
        return self.key.split("/")[-2] == "quarantine"


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """One manifest revision as it lies in the bucket."""

    key: str
    sha256: str
    content: dict[str, Any]  #: Empty where it is damaged.
    metadata: dict[str, str]
    damage: str = ""  #: Why it cannot be read.

    @property
    def study_prefix(self) -> str:
        """Return the key up to `manifest/`."""
        return self.key.rsplit("manifest/", 1)[0]


@dataclass(slots=True)
class Survey:
    """Everything under the archives' prefixes."""

    objects: list[HeldObject] = field(default_factory=list)
    manifests: list[ManifestFile] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)  #: Keys that are neither.
    versions: Counter[str] = field(default_factory=Counter)
    open_uploads: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """A bucket, or what lies below a prefix of it, as the judge reads it."""

    client: S3Client = field(kw_only=False)
    name: str = field(kw_only=False)
    archives: Sequence[str] = ("main",)
    prefix: str = ""
    #: Prefixes of what belongs to other homes, which are judged for themselves.
    elsewhere: tuple[str, ...] = ()

    def survey(self) -> Survey:
        """List the bucket and read every object in it."""
        return _survey(self)

    def download(self, key: str, path: Path) -> None:
        """Write an object to a file."""
        body = self.client.get_object(Bucket=self.name, Key=key)["Body"]
        with path.open("wb") as file:
            while chunk := body.read(_CHUNK):
                file.write(chunk)


def _survey(home: Bucket) -> Survey:
    client, bucket, prefix = home.client, home.name, home.prefix
    found = Survey(
        versions=_versions(client, bucket, prefix), open_uploads=_open_uploads(client, bucket)
    )
    roots = tuple(f"{prefix}v1/{archive}/" for archive in home.archives)
    images, manifests = [], []
    for key in _keys(client, bucket, prefix):
        if key.startswith(home.elsewhere):
            continue
        if not key.startswith(roots):
            found.strangers.append(key)
        elif key.endswith(".json.gz") and "/manifest/" in key:
            manifests.append(key)
        elif ".dcm" in key:
            images.append(key)
        else:
            found.strangers.append(key)
    with ThreadPoolExecutor(_READERS) as pool:
        found.objects = list(pool.map(lambda key: _read_image(client, bucket, key), images))
        found.manifests = list(pool.map(lambda key: _read_manifest(client, bucket, key), manifests))
    return found


def read_manifests(client: S3Client, bucket: str, prefix: str) -> list[ManifestFile]:
    """Read every manifest below a prefix: those of a home that cannot keep its own."""
    keys = list(_keys(client, bucket, prefix))
    with ThreadPoolExecutor(_READERS) as pool:
        return list(pool.map(lambda key: _read_manifest(client, bucket, key), keys))


def _keys(client: S3Client, bucket: str, prefix: str) -> Iterator[str]:
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        yield from (entry["Key"] for entry in page.get("Contents", []))


def _versions(client: S3Client, bucket: str, prefix: str) -> Counter[str]:
    """Count versions and delete markers per key; empty where the bucket keeps no versions."""
    try:
        if client.get_bucket_versioning(Bucket=bucket).get("Status") != "Enabled":
            return Counter()
    except botocore.exceptions.ClientError:
        return Counter()
    counted: Counter[str] = Counter()
    pages = client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix)
    for page in pages:
        counted.update(entry["Key"] for entry in page.get("Versions", []))
        counted.update(entry["Key"] for entry in page.get("DeleteMarkers", []))
    return counted


def _open_uploads(client: S3Client, bucket: str) -> list[str]:
    pages = client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket)
    return [entry["Key"] for page in pages for entry in page.get("Uploads", [])]


def _read_image(client: S3Client, bucket: str, key: str) -> HeldObject:
    answer = client.get_object(Bucket=bucket, Key=key)
    body = answer["Body"]
    head = body.read(_CHUNK)
    whole, dataset = hashlib.sha256(head), hashlib.sha256()
    size_bytes = len(head)
    meta: FileMeta | None = None
    try:
        meta = read_file_meta(head)
        dataset.update(memoryview(head)[meta.dataset_offset :])
    except NotPart10:
        pass  # Said by the missing meta; the judge names it.
    while chunk := body.read(_CHUNK):
        whole.update(chunk)
        dataset.update(chunk)
        size_bytes += len(chunk)
    return HeldObject(
        key=key,
        size_bytes=size_bytes,
        file_sha256=whole.hexdigest(),
        dataset_sha256=dataset.hexdigest() if meta else "",
        meta=meta,
        metadata=dict(answer["Metadata"]),
    )


def _read_manifest(client: S3Client, bucket: str, key: str) -> ManifestFile:
    answer = client.get_object(Bucket=bucket, Key=key)
    body = answer["Body"].read()
    content, damage = _manifest_content(body)
    digest = hashlib.sha256(body).hexdigest()
    return ManifestFile(key, digest, content, dict(answer["Metadata"]), damage)


def _manifest_content(body: bytes) -> tuple[dict[str, Any], str]:
    """Return what a manifest says, or why it cannot be read: one bad object ends no verdict."""
    try:
        content = json.loads(gzip.decompress(body))
    except (OSError, EOFError, zlib.error, ValueError, RecursionError) as error:
        # Never the message: a decoder's may quote what it could not decode.
        return {}, type(error).__name__
    if not isinstance(content, dict) or not isinstance(content.get("revision"), int):
        return {}, "no revision"
    if not isinstance(content.get("previous_sha256"), str):
        return {}, "no digest of its predecessor"
    records = content.get("instances")
    if not isinstance(records, list) or not all(map(_is_record, records)):
        return {}, "no list of instances"
    return content, ""


def _is_record(record: object) -> bool:
    """Say whether an instance has the fields that the judge compares."""
    if not isinstance(record, dict) or not isinstance(record.get("location"), dict):
        return False
    return "key" in record["location"] and record.keys() >= _RECORD_FIELDS
