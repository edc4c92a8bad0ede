"""What strangers do to objects behind the agent's back, with a plain client."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pydicom import dcmread
from pydicom.uid import generate_uid

from tests.lambdas.cloud import PREFIX, Cloud

__all__ = ["Tampering", "tamper_with"]


@dataclass(frozen=True)
class Tampering:
    """One thing that was done, and what it must be called."""

    kind: str
    key: str  #: Relative to the prefix.
    finding: str


def tamper_with(cloud: Cloud, keys: Sequence[str]) -> list[Tampering]:
    """Do twenty things to objects that are spread over the bucket; `keys` are all of them."""
    spread = [keys[number * len(keys) // 20] for number in range(20)]
    assert len(set(spread)) == 20
    # Its neighbour, which nothing is done to where there are enough.
    others = [keys[(number * len(keys) // 20 + 1) % len(keys)] for number in range(20)]
    done = []
    for number, (key, other) in enumerate(zip(spread, others, strict=True)):
        kind = _KINDS[number % len(_KINDS)]
        done.append(kind(cloud, key, other))
    return done


def _altered(cloud: Cloud, key: str, _: str) -> Tampering:
    """One bit of the last pixel flips; the metadata are those of the agent."""
    body, metadata = _get(cloud, key)
    _put(cloud, key, body[:-1] + bytes([body[-1] ^ 1]), metadata)
    return Tampering("altered, metadata copied", key, "altered")


def _altered_bare(cloud: Cloud, key: str, _: str) -> Tampering:
    body, _metadata = _get(cloud, key)
    _put(cloud, key, body[:-1] + bytes([body[-1] ^ 1]), {})
    return Tampering("altered, metadata lost", key, "altered")


def _truncated(cloud: Cloud, key: str, _: str) -> Tampering:
    body, metadata = _get(cloud, key)
    _put(cloud, key, body[: len(body) // 2], metadata)
    return Tampering("truncated", key, "truncated")


def _deleted(cloud: Cloud, key: str, _: str) -> Tampering:
    """For good: moto sends no event for a delete marker."""
    for each in _versions(cloud, key):
        cloud.s3.delete_object(Bucket=cloud.name, Key=PREFIX + key, VersionId=each)
    return Tampering("deleted", key, "missing")


def _put_beside(cloud: Cloud, key: str, _: str) -> Tampering:
    """A new image of the same series, as a modality that writes into the bucket would put it."""
    body, _metadata = _get(cloud, key)
    data_set = dcmread(io.BytesIO(body))
    data_set.SOPInstanceUID = data_set.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    written = io.BytesIO()
    data_set.save_as(written)
    new_key = f"{key.rpartition('/')[0]}/{data_set.SOPInstanceUID}.dcm"
    _put(cloud, new_key, written.getvalue(), {})
    return Tampering("put by a stranger", new_key, "stranger")


def _overwritten(cloud: Cloud, key: str, other: str) -> Tampering:
    """The neighbour's image with its metadata: its digests agree, its place is wrong."""
    body, metadata = _get(cloud, other)
    _put(cloud, key, body, metadata)
    same_study = key.split("/")[:4] == other.split("/")[:4]
    return Tampering("overwritten by a stranger", key, "swapped" if same_study else "altered")


def _moved(cloud: Cloud, key: str, _: str) -> Tampering:
    cloud.s3.copy_object(
        Bucket=cloud.name, Key=PREFIX + key, StorageClass="GLACIER_IR",
        CopySource={"Bucket": cloud.name, "Key": PREFIX + key},
    )  # fmt: skip
    return Tampering("moved to another class", key, "wrong class")


_KINDS: tuple[Callable[[Cloud, str, str], Tampering], ...] = (
    _altered, _truncated, _deleted, _put_beside, _moved, _overwritten, _altered_bare,
)  # fmt: skip


def remove(cloud: Cloud, key: str) -> None:
    """Take a stranger's object away, as a person does who was asked what to do with it."""
    _deleted(cloud, key, "")


def _get(cloud: Cloud, key: str) -> tuple[bytes, dict[str, str]]:
    answer: dict[str, Any] = cloud.s3.get_object(Bucket=cloud.name, Key=PREFIX + key)
    return answer["Body"].read(), answer["Metadata"]


def _put(cloud: Cloud, key: str, body: bytes, metadata: dict[str, str]) -> None:
    cloud.s3.put_object(Bucket=cloud.name, Key=PREFIX + key, Body=body, Metadata=metadata)


def _versions(cloud: Cloud, key: str) -> list[str]:
    answer = cloud.s3.list_object_versions(Bucket=cloud.name, Prefix=PREFIX + key)
    return [each["VersionId"] for each in answer["Versions"] if each["Key"] == PREFIX + key]
