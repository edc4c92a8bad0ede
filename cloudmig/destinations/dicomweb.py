"""The DICOMweb destination: STOW-RS to store, QIDO-RS to look, WADO-RS to compare (PS3.18).

A location's key is that of an object store (`cloudmig.objects`), so that manifests read alike; what
it means here is the instance it names. A store holds one content per instance and nothing else:
conflicts and what has no usable UIDs are refused, evidence lies elsewhere (`evidence_elsewhere`),
and nothing can be replaced (there is no such request in the standard).

Nothing here retries: `RetryingDestination` does, and every call is safe to repeat.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from cloudmig.destinations.dicomweb_errors import translate
from cloudmig.destinations.dicomweb_profiles import DicomWebProfile
from cloudmig.destinations.dicomweb_sending import StudySender
from cloudmig.destinations.gathering import Gathering
from cloudmig.dicom.digest import StreamDigests
from cloudmig.dicomweb import DicomWebClient, DicomWebFailed
from cloudmig.errors import (
    ConfigError,
    DestinationRefused,
    DestinationUnavailable,
    InstanceConflict,
    ObjectMissing,
)
from cloudmig.model.instance import Location, Receipt, Slot, StagedInstance
from cloudmig.model.outcome import Refused, Stored, StoreOutcome
from cloudmig.model.references import InstanceRef, is_usable_uid
from cloudmig.objects import instance_key

__all__ = ["DicomWebDestination"]

_BATCH_BYTES_MIN = 1 << 20
_REFUSED_SLOTS = {
    Slot.CONFLICT: "a DICOMweb store holds one content per SOP Instance UID",
    Slot.QUARANTINE: "a DICOMweb store cannot hold what waits for a person",
}


class DicomWebDestination:
    """Keeps the promises of `cloudmig.ports.Destination` on a DICOMweb store."""

    def __init__(
        self,
        name: str,
        client: DicomWebClient,
        profile: DicomWebProfile,
        *,
        archive: str,
        gather_s: float = 0.03,
        patience_s: float = 3600.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._client = client
        self._accept = profile.accept
        self._archive = archive
        self._sender = StudySender(
            client,
            profile,
            receipt_of=self._receipt_of,
            read_back=self._read_back,
            lower_bytes_max=self._lower_bytes_max,
            now=now,
            patience_s=patience_s,
        )
        self._gathering = Gathering(
            self._sender.deliver,
            instances_max=profile.batch_instances_max,
            bytes_max=profile.batch_bytes_max,
            requests_max=profile.requests_max,
            gather_s=gather_s,
        )
        #: Stores that can be waiting at once: batches that are sent, and as many that gather.
        self.stores_max = 2 * profile.requests_max * profile.batch_instances_max
        self._running: dict[str, asyncio.Future[StoreOutcome | None]] = {}

    @property
    def name(self) -> str:
        return self._name

    async def ping(self) -> None:
        """Return when the store answers us, else raise what keeps it from that."""
        try:
            await self._client.ping()
        except DicomWebFailed as error:
            raise translate(error) from error

    async def store(
        self, staged: StagedInstance, *, slot: Slot = Slot.PRIMARY, storage_class: str = ""
    ) -> StoreOutcome:
        self._check_class(storage_class)
        if slot is not Slot.PRIMARY:
            return Refused(_REFUSED_SLOTS[slot])
        assert staged.instance is not None, "without usable UIDs there is only quarantine"
        uid = staged.instance.sop_instance_uid
        while (running := self._running.get(uid)) is not None:
            # One content at a time: a store tells by nothing which of two it kept.
            await asyncio.wait([running])
            outcome = running.result()
            if isinstance(outcome, Stored) and _is_same(outcome.receipt, staged):
                return Stored(outcome.receipt, fresh=False)
        mine = self._running[uid] = asyncio.get_running_loop().create_future()
        outcome = None
        try:
            outcome = await self._gathering.put(staged)
        finally:
            del self._running[uid]
            mine.set_result(outcome)
        return outcome

    async def find(self, location: Location) -> Receipt | None:
        """Return what is there, by reading it: a DICOMweb store tells no digests."""
        instance = _instance_at(location.key)
        if instance is None:
            return None
        try:
            return await self._read_receipt(location.key, instance)
        except DicomWebFailed as error:
            raise translate(error) from error

    async def read(self, location: Location) -> AsyncGenerator[bytes, None]:
        instance = _instance_at(location.key)
        if instance is None:
            raise DestinationUnavailable("read: no instance has this key")
        skip, left = location.offset, location.length
        try:
            async with aclosing(self._client.retrieve(instance, accept=self._accept)) as pieces:
                async for piece in pieces:
                    wanted = piece[skip:] if left is None else piece[skip : skip + left]
                    skip = max(0, skip - len(piece))
                    left = None if left is None else left - len(wanted)
                    if wanted:
                        yield wanted
                    if left == 0:
                        return
        except DicomWebFailed as error:
            if error.status in {404, 410}:
                raise ObjectMissing("read: the instance is not there") from error
            raise translate(error) from error

    async def stored_checksum(self, location: Location) -> str | None:  # noqa: ARG002
        return None

    async def replace(self, staged: StagedInstance, bad: Receipt) -> Receipt:
        """Store what is gone. What is there in another form stays: a person has to delete it."""
        assert staged.instance is not None, "what is bad has a name"
        self._sender.forget(staged.instance.study)
        outcome = await self.store(staged)
        if isinstance(outcome, Stored) and outcome.receipt.location.key == bad.location.key:
            return outcome.receipt
        raise InstanceConflict(
            "replace: the store holds another content, and DICOMweb cannot replace it",
            hint="delete the instance in the DICOMweb store; it is stored again then",
        )

    async def put_evidence(self, key: str, body: bytes) -> bool:
        raise _no_evidence(key, body)

    async def get_evidence(self, key: str) -> bytes | None:
        raise _no_evidence(key)

    async def list_keys(self, prefix: str) -> AsyncGenerator[str, None]:  # noqa: ARG002
        raise DestinationRefused("list: a DICOMweb store has no keys")
        yield

    async def abort_leftovers(self) -> int:
        """Return 0: a request that broke off leaves nothing open."""
        return 0

    async def close(self) -> None:
        """Give up what is on its way and close every connection."""
        await self._gathering.close()
        await self._client.close()

    # ------------------------------------------------------------------------------- details

    def _receipt_of(self, staged: StagedInstance) -> Receipt:
        assert staged.instance is not None, "only named instances are sent"
        return Receipt(
            location=Location(instance_key(self._archive, staged.instance)),
            size_bytes=staged.size_bytes,
            file_sha256=staged.file_sha256,
            dataset_sha256=staged.dataset_sha256,
        )

    async def _read_back(self, staged: StagedInstance) -> Receipt | None:
        assert staged.instance is not None, "only named instances are sent"
        key = instance_key(self._archive, staged.instance)
        return await self._read_receipt(key, staged.instance)

    async def _read_receipt(self, key: str, instance: InstanceRef) -> Receipt | None:
        """Read an instance and say what it is, None where it is not."""
        digests = StreamDigests()
        try:
            async with aclosing(self._client.retrieve(instance, accept=self._accept)) as pieces:
                async for piece in pieces:
                    digests.update(piece)
        except DicomWebFailed as error:
            if error.status in {404, 410}:
                return None
            raise
        found = digests.result()
        return Receipt(Location(key), found.size_bytes, found.file_sha256, found.dataset_sha256)

    def _lower_bytes_max(self, size_bytes: int) -> None:
        """Make smaller requests from now on: the server found one of twice this size too large."""
        smaller = max(_BATCH_BYTES_MIN, size_bytes)
        self._gathering.bytes_max = min(self._gathering.bytes_max, smaller)

    def _check_class(self, storage_class: str) -> None:
        if storage_class not in {"", "STANDARD"}:
            raise ConfigError(
                f"destination {self._name} has no storage class {storage_class}",
                hint="a DICOMweb store has none: remove storage_class, then `cloudmig plan`",
            )


def _is_same(receipt: Receipt, staged: StagedInstance) -> bool:
    return receipt.dataset_sha256 == staged.dataset_sha256


def _instance_at(key: str) -> InstanceRef | None:
    """Return the instance of a primary key, None for any other key."""
    parts = key.removesuffix(".dcm").split("/")
    if len(parts) != 6 or not key.endswith(".dcm") or not all(map(is_usable_uid, parts[3:])):
        return None
    return InstanceRef(*parts[3:])


def _no_evidence(*_: object) -> DestinationRefused:
    return DestinationRefused(
        "a DICOMweb store keeps no evidence", hint="name a bucket in evidence of the destination"
    )
