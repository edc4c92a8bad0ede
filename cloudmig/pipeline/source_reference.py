"""Asks the source for what a DICOMweb store wrote anew and no other copy can be compared with.

A manifest holds digests only. Its reference here is what the source sends now, if that has exactly
the data set that the manifest names: a source that changed its mind is no witness.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from cloudmig.catalog.records import CopyToVerify
from cloudmig.dicom.compare import Comparison
from cloudmig.manifest import InstanceRecord
from cloudmig.model.instance import ExpectedInstance, Location, StagedInstance
from cloudmig.model.quarantine import QuarantineReason
from cloudmig.model.references import InstanceRef
from cloudmig.pipeline.comparing import compare_with_held
from cloudmig.pipeline.parts import Parts
from cloudmig.ports import Arrival, Destination, RetrieveRequest, StudySource

__all__ = ["SourceReference"]


class SourceReference:
    """The sources as the last witnesses; each instance is asked for once."""

    def __init__(self, parts: Parts, ready: Callable[[str], Awaitable[StudySource]]) -> None:
        self._parts = parts
        self._ready = ready

    async def compare(
        self, copy: CopyToVerify, destination: Destination, records: Sequence[InstanceRecord]
    ) -> dict[str, Comparison]:
        """Return by SOP Instance UID how what is held compares; what did not come is left out.

        Raises `SourceError` when the source does not answer, `DestinationError`, and `SpoolFull`.
        """
        source = await self._ready(copy.source)
        wanted = {each.sop_instance_uid: each for each in records}
        request = RetrieveRequest(
            copy.study, {uid: _expected(copy, each) for uid, each in wanted.items()}, narrow=True
        )
        found: dict[str, Comparison] = {}
        async with source.retrieve(request) as retrieval:
            async for arrival in retrieval:
                try:
                    record = _recorded(arrival, wanted)
                    if record is not None:
                        place = Location(record.location.key)
                        spool, staged = self._parts.area.spool, arrival.staged
                        held = await compare_with_held(spool, destination, place, staged)
                        found[record.sop_instance_uid] = held.comparison
                finally:
                    # What was asked for is had; what was not is its sender's to keep.
                    arrival.settle(stored=not arrival.unexpected)
        return found


def _expected(copy: CopyToVerify, record: InstanceRecord) -> ExpectedInstance:
    ref = InstanceRef(
        copy.study.study_instance_uid, record.series_instance_uid, record.sop_instance_uid
    )
    return ExpectedInstance(ref, record.sop_class_uid)


#: Where something is wrong with it, and it may be the very data set that was stored.
_AS_RECORDED = {"", QuarantineReason.TORN.value}


def _recorded(arrival: Arrival, wanted: dict[str, InstanceRecord]) -> InstanceRecord | None:
    """Return the record that an arrival has exactly the data set of."""
    staged: StagedInstance = arrival.staged
    if arrival.trouble not in _AS_RECORDED or staged.instance is None:
        return None
    record = wanted.get(staged.instance.sop_instance_uid)
    if record is None or (staged.dataset_sha256, staged.transfer_syntax_uid) != (
        record.dataset_sha256,
        record.transfer_syntax_uid,
    ):
        return None
    return record
