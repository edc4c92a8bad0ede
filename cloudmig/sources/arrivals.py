"""What every source does with an object that arrived, however it came.

Its identity is what its own data set says; what the sender called it only shows a disagreement.
"""

from __future__ import annotations

import asyncio
import contextlib
import mmap
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar

from cloudmig.dicom.ending import ends_early, ends_with_its_pixels
from cloudmig.dicom.header import (
    ITEM_LITTLE_ENDIAN,
    PIXEL_DATA,
    PIXEL_TAGS,
    UNDEFINED,
    HeaderUnreadable,
    Identity,
    read_identity,
    walk_elements,
)
from cloudmig.model.instance import StagedInstance
from cloudmig.model.quarantine import QuarantineReason
from cloudmig.model.references import InstanceRef
from cloudmig.ports import RetrieveEvidence, RetrieveRequest
from cloudmig.staging import StagedBytes

__all__ = [
    "HeldArrival", "RunningRetrieval", "has_plain_pixels", "identity_of", "is_torn",
    "judge_identity", "staged_instance",
]  # fmt: skip

#: Of an object so much is looked at between two long elements: the event loop waits meanwhile.
_WALKED_BYTES_MAX = 1 << 20


class HeldArrival:
    """One object that arrived and holds its room until it is settled (port `Arrival`)."""

    __slots__ = ("_held", "staged", "trouble", "unexpected")

    def __init__(
        self, staged: StagedInstance, held: StagedBytes, *, unexpected: bool, trouble: str
    ) -> None:
        self.staged = staged
        self.unexpected = unexpected
        self.trouble = trouble
        self._held = held

    def settle(self, *, stored: bool) -> None:  # noqa: ARG002 - nobody waits for our answer
        """Give the room back."""
        self._held.release()


ArrivalT = TypeVar("ArrivalT", bound=HeldArrival)


class RunningRetrieval(ABC, Generic[ArrivalT]):
    """A retrieve that works in a task of its own while its context is entered (port `Retrieval`).

    A subclass writes `_work`, which hands over what arrives and raises what went wrong.
    """

    def __init__(self, request: RetrieveRequest) -> None:
        self.request = request
        self.evidence = RetrieveEvidence()
        self._arrivals: asyncio.Queue[ArrivalT | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    @abstractmethod
    async def _work(self) -> None:
        """Ask the source and hand over what arrives, until nothing more is to come."""

    def _hand_over(self, arrival: ArrivalT) -> None:
        """Pass an object on; whoever takes it settles it."""
        self._arrivals.put_nowait(arrival)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._work_to_the_end())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])
        while not self._arrivals.empty():
            left = self._arrivals.get_nowait()
            if left is not None:
                left.settle(stored=False)

    async def __aiter__(self) -> AsyncIterator[ArrivalT]:
        assert self._task is not None, "enter the retrieval first"
        while (arrival := await self._arrivals.get()) is not None:
            yield arrival
        await self._task  # Raises what went wrong, after everything that arrived.

    async def _work_to_the_end(self) -> None:
        try:
            await self._work()
        finally:
            self._arrivals.put_nowait(None)


def identity_of(held: StagedBytes, transfer_syntax_uid: str) -> Identity | None:
    """Return what the data set calls itself, or None when it cannot be read."""
    beginning, held.beginning = held.beginning, bytearray()  # Not to be kept for a spooled object.
    try:
        found = read_identity(memoryview(beginning)[held.dataset_offset :], transfer_syntax_uid)
        named = found.sop_instance_uid, found.study_instance_uid, found.series_instance_uid
        if held.path is None or all(named):
            return found
    except HeaderUnreadable:
        if held.path is None:
            return None
    # A header larger than what was kept in memory: look into the file.
    try:
        with _data_set(held) as dataset:
            return read_identity(dataset, transfer_syntax_uid)
    except (HeaderUnreadable, OSError):
        return None


def has_plain_pixels(held: StagedBytes, transfer_syntax_uid: str) -> bool:
    """Say whether pixels lie plain in a data set that came as one of an encapsulated syntax.

    There (7FE0,0010) consists of fragments, its length is undefined (PS3.5 A.4): with that name on
    it nobody could read the image.
    """
    # Where no pixels can be found, nothing is wrong with them.
    with contextlib.suppress(HeaderUnreadable, OSError), _data_set(held) as dataset:
        for tag, start, length in walk_elements(dataset, transfer_syntax_uid):
            if tag in PIXEL_TAGS:
                # Some give the fragments a length, and an image may have been left without pixels.
                is_plain = (
                    length not in {0, UNDEFINED}
                    and dataset[start : start + 4] != ITEM_LITTLE_ENDIAN
                )
                return tag == PIXEL_DATA and is_plain
    return False


def is_torn(held: StagedBytes, transfer_syntax_uid: str) -> bool:
    """Say whether a data set ends before its last element does: its sender cut it off.

    What does not show in its long elements and the bytes between these is not called torn.
    """
    start, size_bytes = held.dataset_offset, held.size_bytes
    try:
        with _whole(held) as whole:
            if ends_with_its_pixels(
                whole,
                transfer_syntax_uid,
                start=start,
                end=start + _WALKED_BYTES_MAX,
                size_bytes=size_bytes,
                tail=bytes(whole[-8:]),
            ):
                return False
            with memoryview(whole) as view, view[start:] as dataset:
                return ends_early(
                    dataset,
                    transfer_syntax_uid,
                    size_bytes=size_bytes - start,
                    walked_bytes_max=_WALKED_BYTES_MAX,
                )
    except OSError:
        return False  # Whoever stores it finds out.


@contextlib.contextmanager
def _data_set(held: StagedBytes) -> Iterator[memoryview]:
    """Give the data set of a complete object, wherever it lies."""
    with _whole(held) as whole, memoryview(whole)[held.dataset_offset :] as dataset:
        yield dataset


@contextlib.contextmanager
def _whole(held: StagedBytes) -> Iterator[bytearray | mmap.mmap]:
    """Give the bytes of a complete object, wherever they lie."""
    if held.path is None:
        assert held.body is not None, "complete, and not released"
        yield held.body
        return
    with (
        held.path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
    ):
        yield mapped


def judge_identity(
    identity: Identity | None, called_sop_instance_uid: str
) -> tuple[InstanceRef | None, str]:
    """Return the reference of an arrived object and what is wrong with it, if anything."""
    if identity is None:
        return None, QuarantineReason.MALFORMED.value
    try:
        instance = InstanceRef(
            identity.study_instance_uid, identity.series_instance_uid, identity.sop_instance_uid
        )
    except ValueError:
        return None, QuarantineReason.UNUSABLE_UID.value
    if identity.sop_instance_uid != called_sop_instance_uid:
        return instance, QuarantineReason.UID_MISMATCH.value
    return instance, ""


def staged_instance(
    held: StagedBytes, instance: InstanceRef | None, *, sop_class_uid: str, transfer_syntax_uid: str
) -> StagedInstance:
    """Return the staged object that lies in `held`."""
    return StagedInstance(
        instance=instance,
        sop_class_uid=sop_class_uid,
        transfer_syntax_uid=transfer_syntax_uid,
        size_bytes=held.size_bytes,
        file_sha256=held.file_sha256,
        dataset_sha256=held.dataset_sha256,
        body=held.body,
        path=held.path,
    )
