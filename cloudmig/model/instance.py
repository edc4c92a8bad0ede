"""What is known of one instance: expected by the source, staged by us, held by a destination."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from cloudmig.model.references import InstanceRef

__all__ = [
    "ARCHIVE_CLASSES", "ExpectedInstance", "Location", "Receipt", "Slot", "StagedInstance",
]  # fmt: skip

#: S3 classes that answer a GET only after a restore.
ARCHIVE_CLASSES = frozenset({"GLACIER", "DEEP_ARCHIVE"})


@dataclass(frozen=True, slots=True)
class ExpectedInstance:
    """An instance the source says it holds, from an IMAGE-level answer."""

    instance: InstanceRef
    sop_class_uid: str = ""  #: Empty where the source does not return it.
    #: In which the source says that it can be had as it is held; empty where it does not say.
    transfer_syntax_uids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StagedInstance:
    """A complete received Part 10 object, in memory or in the spool, with its digests."""

    instance: InstanceRef | None  #: None when its UIDs cannot name an object: quarantine only.
    sop_class_uid: str
    transfer_syntax_uid: str
    size_bytes: int
    file_sha256: str  #: Hex, over the whole Part 10 file.
    dataset_sha256: str  #: Hex, over the bytes after group 0002, as received.
    body: bytes | bytearray | None = None  #: The file, when it is in memory.
    path: Path | None = None  #: The file, when it is in the spool.

    def __post_init__(self) -> None:
        assert (self.body is None) != (self.path is None), "staged in exactly one place"


class Slot(Enum):
    """Which of the places of design 5 an object goes to."""

    PRIMARY = "primary"  #: `<sop>.dcm`
    CONFLICT = "conflict"  #: `<sop>~<digest16>.dcm`, beside the first
    QUARANTINE = "quarantine"  #: `quarantine/<digest>.dcm`


@dataclass(frozen=True, slots=True)
class Location:
    """Where an object lies in a destination. Offset and length are for packed series, later."""

    key: str
    version_id: str | None = None
    offset: int = 0
    length: int | None = None  #: None means to the end.


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a destination says it holds, from its own knowledge."""

    location: Location
    size_bytes: int
    file_sha256: str
    dataset_sha256: str
    etag: str = ""
    storage_class: str = ""
