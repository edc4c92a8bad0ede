"""Lists what lies under a prefix of a bucket, at any length."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

__all__ = ["ListedObject", "list_objects"]


@dataclass(frozen=True, slots=True)
class ListedObject:
    """One line of a list."""

    key: str  #: In full.
    etag: str
    size_bytes: int
    storage_class: str
    modified_at: dt.datetime


def list_objects(
    s3: Any,  # noqa: ANN401 - a boto3 client, which functions pass in
    bucket: str,
    prefix: str,
    *,
    page_keys: int = 1000,
) -> Iterator[ListedObject]:
    """Yield every current object below a prefix. boto3 asks for encoded keys and decodes them."""
    after: dict[str, str] = {}
    while True:
        answer = s3.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=page_keys, **after)
        for each in answer.get("Contents", ()):
            yield ListedObject(
                each["Key"],
                each.get("ETag", ""),
                each["Size"],
                each.get("StorageClass") or "STANDARD",
                each["LastModified"],
            )
        if not answer.get("IsTruncated"):
            return
        after = {"ContinuationToken": answer["NextContinuationToken"]}
