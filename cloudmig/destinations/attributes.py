"""What travels beside the bytes of an object: content type, both digests, storage class."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from cloudmig.model.instance import StagedInstance
from cloudmig.objects import DATASET_DIGEST, FILE_DIGEST, PARTS_DIGEST

__all__ = [
    "DATASET_DIGEST", "FILE_DIGEST", "PARTS_DIGEST", "ObjectAttributes", "PutAnswer",
    "digests_told",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectAttributes:
    """The attributes of one object. An empty storage class leaves the choice to the bucket."""

    content_type: str = "application/octet-stream"
    storage_class: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, staged: StagedInstance, storage_class: str) -> ObjectAttributes:
        """Return the attributes of an instance (PS3.18 table 8.7.3-5 names its media type)."""
        digests = {FILE_DIGEST: staged.file_sha256, DATASET_DIGEST: staged.dataset_sha256}
        return cls(content_type="application/dicom", storage_class=storage_class, metadata=digests)

    @classmethod
    def of_evidence(cls, key: str, body: bytes, storage_class: str) -> ObjectAttributes:
        """Return the attributes of a manifest or report: read often, so never in a cold class."""
        return cls(
            content_type="application/gzip" if key.endswith(".gz") else "application/json",
            storage_class=storage_class,
            metadata={FILE_DIGEST: hashlib.sha256(body).hexdigest()},
        )

    def with_metadata(self, **entries: str) -> ObjectAttributes:
        """Return a copy with more metadata; `_` stands for `-`."""
        more = {name.replace("_", "-"): text for name, text in entries.items()}
        return replace(self, metadata={**self.metadata, **more})

    def for_obstore(self, *, dashes: bool = True) -> dict[str, str]:
        """Return them as obstore takes them: its own names first, anything else is metadata."""
        metadata = {
            name if dashes else name.replace("-", "_"): text for name, text in self.metadata.items()
        }
        named = {"Content-Type": self.content_type, **metadata}
        if self.storage_class:
            named["Storage-Class"] = self.storage_class
        return named

    def for_boto3(self) -> dict[str, Any]:
        """Return them as keyword arguments of a boto3 call."""
        named: dict[str, Any] = {
            "ContentType": self.content_type,
            "Metadata": dict(self.metadata),
        }
        if self.storage_class:
            named["StorageClass"] = self.storage_class
        return named


def digests_told(attributes: Mapping[str, str]) -> tuple[str, str]:
    """Return the digests of file and data set that obstore was told of, empty where of none."""
    told = {name.replace("_", "-"): text for name, text in attributes.items()}
    return told.get(FILE_DIGEST, ""), told.get(DATASET_DIGEST, "")


@dataclass(frozen=True, slots=True)
class PutAnswer:
    """What a store answers to a put."""

    etag: str
    version_id: str | None = None  #: None where the bucket is not versioned.

    @classmethod
    def of(cls, etag: str | None, version_id: str | None) -> PutAnswer:
        return cls(etag or "", None if version_id == "null" else version_id)
