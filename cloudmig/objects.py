"""Where things live in a bucket: key layout version 1. Shared with the functions.

    v1/<archive>/<hh>/<study>/<series>/<sop>.dcm
    v1/<archive>/<hh>/<study>/<series>/<sop>~<digest16>.dcm     a conflict
    v1/<archive>/<hh>/<study>/<series>/<sop>.dcm~r<n>           a repair, in an unversioned bucket
    v1/<archive>/<hh>/<study>/manifest/<n>.json.gz              evidence
    v1/<archive>/quarantine/<digest>.dcm                        what has no usable UIDs

`<hh>` is the first two hex digits of the Study Instance UID's SHA-256: it spreads the prefixes.
"""

from __future__ import annotations

import functools
import hashlib
import re

from cloudmig.model.instance import Slot, StagedInstance
from cloudmig.model.references import InstanceRef, StudyRef

__all__ = [
    "ARCHIVE_NAME", "DATASET_DIGEST", "FILE_DIGEST", "LAYOUT", "PARTS_DIGEST", "conflict_key",
    "instance_key", "is_conflict_key", "manifest_key", "object_key", "quarantine_key",
    "repair_key", "study_prefix",
]  # fmt: skip

LAYOUT = "v1"

#: Names of metadata that travels with every object.
FILE_DIGEST = "cloudmig-file-sha256"
DATASET_DIGEST = "cloudmig-dataset-sha256"
#: The composite checksum of a multipart upload as we computed it: `<hex>-<parts>`.
PARTS_DIGEST = "cloudmig-parts-sha256"

#: What an archive may be called: it is the first part of every key and names the source for ever.
ARCHIVE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


@functools.lru_cache(maxsize=256)
def study_prefix(archive: str, study: StudyRef) -> str:
    """Return the prefix of everything about one study, with a slash at its end."""
    assert ARCHIVE_NAME.fullmatch(archive), "archive name was checked by the configuration"
    spread = hashlib.sha256(study.study_instance_uid.encode("ascii")).hexdigest()[:2]
    return f"{LAYOUT}/{archive}/{spread}/{study.study_instance_uid}/"


def instance_key(archive: str, instance: InstanceRef) -> str:
    """Return the key of an instance."""
    prefix = study_prefix(archive, instance.study)
    return f"{prefix}{instance.series_instance_uid}/{instance.sop_instance_uid}.dcm"


def conflict_key(archive: str, instance: InstanceRef, dataset_sha256: str) -> str:
    """Return the key of a second content under the same SOP Instance UID."""
    key = instance_key(archive, instance)
    return f"{key.removesuffix('.dcm')}~{dataset_sha256[:16]}.dcm"


def is_conflict_key(key: str) -> bool:
    """Say whether a second content, or a repair of one, lies under the key."""
    return re.search(r"/[0-9.]+~[0-9a-f]{16}\.dcm(~r[0-9]+)?$", key) is not None


def repair_key(key: str, number: int) -> str:
    """Return the key of the `number`-th repair of an object in an unversioned bucket."""
    return f"{key}~r{number}"


def quarantine_key(archive: str, file_sha256: str) -> str:
    """Return the key of bytes that have no usable UIDs."""
    assert ARCHIVE_NAME.fullmatch(archive), "archive name was checked by the configuration"
    return f"{LAYOUT}/{archive}/quarantine/{file_sha256}.dcm"


def manifest_key(archive: str, study: StudyRef, revision: int) -> str:
    """Return the key of a manifest revision, counted from 1."""
    assert revision >= 1
    return f"{study_prefix(archive, study)}manifest/{revision}.json.gz"


def object_key(archive: str, staged: StagedInstance, slot: Slot) -> str:
    """Return the key of a staged instance in one of its slots."""
    if slot is Slot.QUARANTINE:
        return quarantine_key(archive, staged.file_sha256)
    assert staged.instance is not None, "without usable UIDs there is only quarantine"
    if slot is Slot.CONFLICT:
        return conflict_key(archive, staged.instance, staged.dataset_sha256)
    return instance_key(archive, staged.instance)
