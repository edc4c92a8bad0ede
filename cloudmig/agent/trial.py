"""Does a source still send at all? Asked when a study fails while its source answers questions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from cloudmig.catalog import Catalog
from cloudmig.errors import SourceUnavailable
from cloudmig.model.references import StudyRef
from cloudmig.model.states import TransferState
from cloudmig.model.transfer import TransferJob
from cloudmig.pipeline.parts import Parts
from cloudmig.ports import ProbedSource

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
    deleted one since is an answer; where there are no others, or it cannot be asked for one that is
    perhaps under way, nothing is known.
    """
    source = parts.sources[job.source]
    if not isinstance(source, ProbedSource):
        return
    failed: list[SourceUnavailable] = []
    for states, failed_min in ((_SENT, 1), (_NOT_SENT, _FAILED_MIN)):
        async for study in _others(parts, job, states):
            try:
                if await source.probe(study):
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
