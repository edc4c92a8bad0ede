"""Keeps the manifests of a copy in another destination than its images (design 5).

A DICOMweb store takes instances and nothing else. The manifests of its copies lie in a bucket,
below `evidence/<destination>/`: outside of `v1/`, where the manifests of that bucket's own copies
have the same keys, and where what is in no manifest counts as lost.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from cloudmig.model.instance import Location, Receipt, Slot, StagedInstance
from cloudmig.model.outcome import StoreOutcome
from cloudmig.ports import Destination

__all__ = ["EvidenceElsewhere", "EvidenceKeeper"]


class EvidenceKeeper(Protocol):
    """What keeps small immutable objects: any destination that is an object store."""

    async def put_evidence(self, key: str, body: bytes) -> bool: ...

    async def get_evidence(self, key: str) -> bytes | None: ...


class EvidenceElsewhere:
    """Passes images on to one destination and evidence to another.

    Goes around the retries and breakers of both: what one of them does says nothing of the other.
    """

    def __init__(self, images: Destination, evidence: EvidenceKeeper) -> None:
        self._images = images
        self._evidence = evidence

    @property
    def name(self) -> str:
        return self._images.name

    async def store(
        self, staged: StagedInstance, *, slot: Slot = Slot.PRIMARY, storage_class: str = ""
    ) -> StoreOutcome:
        return await self._images.store(staged, slot=slot, storage_class=storage_class)

    async def find(self, location: Location) -> Receipt | None:
        return await self._images.find(location)

    def read(self, location: Location) -> AsyncIterator[bytes]:
        return self._images.read(location)

    async def stored_checksum(self, location: Location) -> str | None:
        return await self._images.stored_checksum(location)

    async def replace(self, staged: StagedInstance, bad: Receipt) -> Receipt:
        return await self._images.replace(staged, bad)

    async def put_evidence(self, key: str, body: bytes) -> bool:
        return await self._evidence.put_evidence(self._key(key), body)

    async def get_evidence(self, key: str) -> bytes | None:
        return await self._evidence.get_evidence(self._key(key))

    def _key(self, key: str) -> str:
        return f"evidence/{self.name}/{key}"
