"""Does a source still send at all? Asked when a study fails while its source answers questions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from cloudmig.catalog import Catalog
from cloudmig.errors import SourceUnavailable
from cloudmig.model.instance import ExpectedInstance
from cloudmig.model.references import StudyRef
from cloudmig.model.states import TransferState
from cloudmig.model.transfer import TransferJob
from cloudmig.pipeline.parts import Parts
from cloudmig.ports import RetrieveRequest

__all__ = ["ask_for_others"]

_SENT = (TransferState.STORED, TransferState.VERIFIED, TransferState.CLOSED)
#: Those that came first into the catalog, which are claimed last: a disk lost in the archive hardly
#: holds both them and the study that failed.
_NOT_SENT = (TransferState.PLANNED, TransferState.MOVING)
_OTHERS_MAX = 3  #: Of each state.
#: One that never came may be as broken as the study that failed.
_FAILED_MIN = 2


async def ask_for_others(parts: Parts, job: TransferJob) -> None:
    """Ask a source for one instance of another study, and keep nothing of it.

    Raises `SourceUnavailable` when it fails at all that it is asked for. An answer that it has
    deleted one since is an answer, and where there are no others nothing is known.
    """
    failed: list[SourceUnavailable] = []
    for states, failed_min in ((_SENT, 1), (_NOT_SENT, _FAILED_MIN)):
        async for study in _others(parts, job, states):
            try:
                if await _comes(parts, job.source, study):
                    return
            except SourceUnavailable as error:
                failed.append(error)
        if len(failed) >= failed_min:
            raise failed[-1]


async def _others(
    parts: Parts, job: TransferJob, states: Sequence[TransferState]
) -> AsyncIterator[StudyRef]:
    for state in states:
        for row in await parts.catalog.call(
            Catalog.transfers, state, source=job.source, limit=_OTHERS_MAX
        ):
            if row.study != job.study:
                yield row.study


async def _comes(parts: Parts, name: str, study: StudyRef) -> bool:
    """Pull the first instance of a study; False where nothing is listed."""
    listing = await parts.sources[name].list_instances(study)
    for each in listing.instances[:1]:
        await _pull(parts, name, each)
        return True
    return False


async def _pull(parts: Parts, name: str, each: ExpectedInstance) -> None:
    request = RetrieveRequest(
        each.instance.study, {each.instance.sop_instance_uid: each}, narrow=True
    )
    async with parts.sources[name].retrieve(request) as retrieval:
        async for arrival in retrieval:
            arrival.settle(stored=False)
