"""The evidence record of a study at one destination, version 1. Shared with the functions.

A manifest is JSON, gzipped without a time so that equal evidence makes equal bytes. Its schema is
published as `docs/manifest.schema.json`. A revision is immutable and names its predecessor's
SHA-256.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from cloudmig.model.instance import Location
from cloudmig.model.references import InstanceRef

__all__ = ["SCHEMA", "InstanceRecord", "Manifest", "ManifestUnreadable", "decode", "encode"]

SCHEMA = "cloudmig/manifest/1"

#: A manifest of a million instances is about 500 MB of JSON; nothing honest is larger.
_JSON_BYTES_MAX = 1 << 30
#: A read of so much at once: asked for all at once, a gigabyte would be set aside for it.
_PIECE_BYTES = 1 << 20


#: The fields of a record that hold text.
_RECORD_TEXTS = (
    "series_instance_uid", "sop_instance_uid", "sop_class_uid", "transfer_syntax_uid",
    "file_sha256", "dataset_sha256", "etag", "storage_class", "slot", "stored_at",
)  # fmt: skip


class ManifestUnreadable(ValueError):
    """The bytes are no manifest of a version we know."""


@dataclass(frozen=True, slots=True)
class InstanceRecord:
    """One instance as it lies at the destination."""

    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str  #: As received.
    size_bytes: int
    file_sha256: str
    dataset_sha256: str
    location: Location
    etag: str = ""
    storage_class: str = ""
    slot: str = "primary"  #: `conflict` for a second content under one SOP Instance UID.
    unexpected: bool = False  #: Arrived without having been listed by the source.
    stored_at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """All instances of one study at one destination."""

    archive: str
    study_instance_uid: str
    revision: int
    previous_sha256: str  #: Of the predecessor's gzipped bytes; empty for revision 1.
    source: Mapping[str, str]  #: name, aet, retrieve
    destination: str
    created_at: str
    completeness: str  #: SET or WEAK
    instances: Sequence[InstanceRecord]
    missing: Sequence[str] = field(default_factory=tuple)  #: SOP Instance UIDs listed, not sent.

    def evidence(self) -> dict[str, Any]:
        """Return what must be equal for two manifests to say the same: all but times and chain."""
        content = _content(self)
        for name in ("revision", "previous_sha256", "created_at"):
            del content[name]
        for record in content["instances"]:
            del record["stored_at"]
        return content

    def references(self) -> list[InstanceRef]:
        """Return the references of all records."""
        return [
            InstanceRef(self.study_instance_uid, each.series_instance_uid, each.sop_instance_uid)
            for each in self.instances
        ]


#: The names of a record's and a location's fields: `asdict` copies deeply and costs four times
#: as much, for every instance there is.
_RECORD_FIELDS = tuple(each.name for each in fields(InstanceRecord) if each.name != "location")
_LOCATION_FIELDS = tuple(each.name for each in fields(Location))


def _content(manifest: Manifest) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": SCHEMA}
    content |= {each.name: getattr(manifest, each.name) for each in fields(manifest)}
    content["instances"] = sorted(
        (_record_content(each) for each in manifest.instances),
        key=lambda each: (
            each["series_instance_uid"],
            each["sop_instance_uid"],
            each["slot"],
            each["location"]["key"],  # One SOP Instance UID may have several conflicts.
        ),
    )
    content["missing"] = sorted(manifest.missing)
    return content


def _record_content(record: InstanceRecord) -> dict[str, Any]:
    content = {name: getattr(record, name) for name in _RECORD_FIELDS}
    location = record.location
    content["location"] = {name: getattr(location, name) for name in _LOCATION_FIELDS}
    return content


def encode(manifest: Manifest) -> tuple[bytes, str]:
    """Return the gzipped bytes of a manifest and their hex SHA-256."""
    text = json.dumps(_content(manifest), ensure_ascii=True, separators=(",", ":"))
    body = gzip.compress(text.encode("ascii"), compresslevel=6, mtime=0)
    return body, hashlib.sha256(body).hexdigest()


def decode(body: bytes) -> Manifest:
    """Return the manifest in gzipped bytes. Raises `ManifestUnreadable`."""
    try:
        return _manifest(json.loads(_unzipped(body)))
    except ManifestUnreadable:
        raise
    except (OSError, EOFError, zlib.error, ValueError, TypeError, KeyError) as error:
        raise ManifestUnreadable(f"no manifest: {type(error).__name__}") from error
    except RecursionError as error:
        raise ManifestUnreadable("nested deeper than any manifest") from error


def _unzipped(body: bytes) -> bytes:
    pieces, left = [], _JSON_BYTES_MAX
    with gzip.GzipFile(fileobj=io.BytesIO(body)) as file:
        while piece := file.read(_PIECE_BYTES):
            left -= len(piece)
            if left < 0:
                raise ManifestUnreadable("larger than any honest manifest")
            pieces.append(piece)
    return b"".join(pieces)


def _manifest(content: object) -> Manifest:
    if not isinstance(content, dict) or content.pop("schema", None) != SCHEMA:
        raise ManifestUnreadable("of a version this cloudmig does not know")
    content["instances"] = tuple(_record(each) for each in content["instances"])
    content["missing"] = tuple(content["missing"])
    read = Manifest(**content)
    if type(read.revision) is not int or read.revision < 1:
        raise ManifestUnreadable("without a revision")
    if not isinstance(read.source, dict):
        raise ManifestUnreadable("without a source")
    texts = (
        read.archive, read.study_instance_uid, read.previous_sha256, read.destination,
        read.created_at, read.completeness, *read.missing, *read.source.values(),
    )  # fmt: skip
    _check_texts(texts)
    return read


def _record(content: object) -> InstanceRecord:
    if not isinstance(content, dict) or not isinstance(content.get("location"), dict):
        raise ManifestUnreadable("with a record that is none")
    location = Location(**content.pop("location"))
    read = InstanceRecord(location=location, **content)
    if type(read.size_bytes) is not int or read.size_bytes < 0:
        raise ManifestUnreadable("with a size that is none")
    _check_texts((location.key, *(getattr(read, name) for name in _RECORD_TEXTS)))
    return read


def _check_texts(values: Iterable[object]) -> None:
    if not all(type(each) is str for each in values):
        raise ManifestUnreadable("with a value that should be text")
