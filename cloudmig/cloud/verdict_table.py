"""What has been seen of each object, and what became of each study: the items, and who keeps them.

    pk  <bucket>/<prefix><study prefix>        sk  the rest of the object's key, or `study`

Every item carries `at`, when the look behind it began, and is replaced only by a later look: so
events may come twice and in any order. An object's item is *unsettled* until a manifest names the
object; what stays so for a day is an orphan, and is found by the index `unsettled`.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

__all__ = [
    "DAY_SHARDS", "MemoryTable", "ObjectItem", "ObjectTable", "StudyItem", "StudyTable",
    "UnsettledTable", "VerdictTable", "unsettled_keys", "unsettled_since",
]  # fmt: skip

#: The unsettled items of a day lie in so many partitions of the index: one would be hot.
DAY_SHARDS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectItem:
    """The latest look at one object."""

    pk: str
    sk: str
    at: str
    own_finding: str  #: Of the look alone; empty: it is what its key and its metadata say.
    finding: str  #: The last word: a manifest's, once one has been compared with it.
    how: str  #: STREAMED | STORE_CHECKSUM | UNDECIDED; empty where nothing is there.
    version_id: str = ""
    etag: str = ""
    size_bytes: int = 0
    file_sha256: str = ""
    dataset_sha256: str = ""
    storage_class: str = ""
    by_parts: bool = False  #: The file's digest is a claim: see `looking.Sight`.
    modality: str = ""
    study_year: str = ""
    unsettled: str = ""  #: `YYYY-MM-DD#<hex>` until a manifest names it, then empty.

    def shows_the_same(self, other: ObjectItem) -> bool:
        """Say whether two looks saw the same object in the same state."""
        return self._state() == other._state()

    def _state(self) -> tuple[str | int, ...]:
        return (
            self.own_finding, self.version_id, self.etag, self.size_bytes, self.file_sha256,
            self.dataset_sha256, self.storage_class,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyItem:
    """The latest judgement of one study."""

    pk: str
    at: str
    manifest_key: str  #: Relative to the prefix.
    manifest_sha256: str
    manifest_revision: int
    agreed: bool
    instances: int
    differing: int
    size_bytes: int
    storage_class: str
    modality: str
    study_year: str
    stratum: str
    sample: str
    settled: bool = False  #: Every object it judged is settled: the judgement is complete.


class ObjectTable(Protocol):
    """Keeps the latest look at each object."""

    def find(self, pk: str, sk: str) -> ObjectItem | None:
        """Return the item as it is now, not as it was a moment ago."""
        ...

    def of_study(self, pk: str) -> Iterator[ObjectItem]:
        """Yield the items of a study's objects, of which there may be 100,000."""
        ...

    def record(self, item: ObjectItem) -> bool:
        """Keep the item unless a later look is held; say whether it was kept."""
        ...

    def settle(self, item: ObjectItem) -> bool:
        """Take `unsettled` off and keep the item's finding, unless someone looked since `at`."""
        ...


class StudyTable(Protocol):
    """Keeps the latest judgement of each study."""

    def find_study(self, pk: str) -> StudyItem | None:
        """Return the item as it is now, not as it was a moment ago."""
        ...

    def record_study(self, item: StudyItem) -> bool:
        """Keep the item unless a later judgement is held; say whether it was kept."""
        ...


class UnsettledTable(Protocol):
    """Finds what no manifest has named."""

    def unsettled(self, key: str, before: str) -> Iterator[ObjectItem]:
        """Yield the items under one key of the index whose `at` is before a time.

        - They may be settled meanwhile.
        """
        ...


class VerdictTable(ObjectTable, StudyTable, UnsettledTable, Protocol):
    """Everything that is kept."""


def unsettled_since(at: str, pk: str, sk: str) -> str:
    """Return the index key of an item that is unsettled since `at`."""
    spread = int(hashlib.sha256(f"{pk}{sk}".encode()).hexdigest()[:8], 16) % DAY_SHARDS
    return f"{at[:10]}#{spread:x}"


def unsettled_keys(day: str) -> list[str]:
    """Return every index key of one day, `YYYY-MM-DD`."""
    return [f"{day}#{number:x}" for number in range(DAY_SHARDS)]


class MemoryTable:
    """Keeps everything in this process: for `verify --as-cloud`, and for tests."""

    def __init__(self) -> None:
        self._objects: dict[tuple[str, str], ObjectItem] = {}
        self._studies: dict[str, StudyItem] = {}
        self._lock = threading.Lock()

    def find(self, pk: str, sk: str) -> ObjectItem | None:
        return self._objects.get((pk, sk))

    def of_study(self, pk: str) -> Iterator[ObjectItem]:
        with self._lock:
            found = [item for item in self._objects.values() if item.pk == pk]
        yield from sorted(found, key=lambda item: item.sk.encode())

    def record(self, item: ObjectItem) -> bool:
        with self._lock:
            held = self._objects.get((item.pk, item.sk))
            if held is not None and held.at > item.at:
                return False
            self._objects[item.pk, item.sk] = item
            return True

    def settle(self, item: ObjectItem) -> bool:
        with self._lock:
            held = self._objects.get((item.pk, item.sk))
            if held is None or held.at != item.at:
                return False
            self._objects[item.pk, item.sk] = replace(held, unsettled="", finding=item.finding)
            return True

    def find_study(self, pk: str) -> StudyItem | None:
        return self._studies.get(pk)

    def record_study(self, item: StudyItem) -> bool:
        with self._lock:
            held = self._studies.get(item.pk)
            if held is not None and held.at > item.at:
                return False
            self._studies[item.pk] = item
            return True

    def unsettled(self, key: str, before: str) -> Iterator[ObjectItem]:
        with self._lock:
            found = [
                item
                for item in self._objects.values()
                if item.unsettled == key and item.at < before
            ]
        yield from sorted(found, key=lambda item: item.at)

    def studies(self) -> list[StudyItem]:
        """Return every judgement, in the order of their keys."""
        return sorted(self._studies.values(), key=lambda item: item.pk)
