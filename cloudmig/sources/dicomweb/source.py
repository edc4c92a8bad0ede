"""A DICOMweb archive as a source of inventories and studies (`InventorySource`, `StudySource`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from cloudmig.dicom.query import count_of
from cloudmig.dicom.search import (
    IMAGE_INCLUDED,
    SERIES_INCLUDED,
    STUDY_INCLUDED,
    image_answer,
    series_answer,
    study_answer,
    study_keys,
)
from cloudmig.dicomweb import AS_STORED, DicomWebClient, Row
from cloudmig.errors import QueryTruncated, SourceBusy, SourceError, SourceUnavailable
from cloudmig.model.instance import ExpectedInstance
from cloudmig.model.references import InstanceRef, StudyRef, is_usable_uid
from cloudmig.model.study import StudySummary, reference_of
from cloudmig.model.window import StudyQuestion
from cloudmig.ports import Listing, RetrieveRequest
from cloudmig.sources.dicomweb.lanes import RequestLanes
from cloudmig.sources.dicomweb.retrieval import WebRetrieval
from cloudmig.sources.dicomweb.searching import Level, Searches, StudyUnknown
from cloudmig.staging import StagingArea

__all__ = ["WebSource", "WebSourceOptions"]

#: Objects as the archive holds them (PS3.18 8.7.3.5.2): without it, it may convert them.
_AS_IT_LIKES = 'multipart/related; type="application/dicom"'

_GONE = "the archive does not list this study any more"
_SERIES_MAX = 10_000
_INSTANCES_MAX = 1_000_000


def _study_name(row: Row) -> Hashable:
    return reference_of(study_answer(row))


def _series_name(row: Row) -> Hashable:
    return series_answer(row).get("SeriesInstanceUID", "")


def _image_name(row: Row) -> Hashable:
    return image_answer(row).get("SOPInstanceUID", "")


_STUDIES = Level("studies", STUDY_INCLUDED, _study_name, short_page_ends=False)
_SERIES = Level("series", SERIES_INCLUDED, _series_name)
_IMAGES = Level("instances", IMAGE_INCLUDED, _image_name)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSourceOptions:
    """One archive and how it is treated."""

    name: str
    lanes: int
    object_bytes_max: int
    page_rows: int = 200  #: Rows asked for in one answer.
    find_limit: int | None = None
    as_stored: bool = True  #: Never take what may have been converted.


@dataclass(slots=True)
class _ListingInProgress:
    """The expected set of a study while it is asked for."""

    study: StudyRef
    instances: dict[tuple[str, str], ExpectedInstance] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    complete: bool = True

    def contradicts_itself(self, note: str) -> None:
        """Note why the list cannot be all there is."""
        self.notes.append(note)
        self.complete = False


class WebSource:
    """Asks one DICOMweb server. Its requests are bounded by its lanes."""

    def __init__(
        self,
        options: WebSourceOptions,
        client: DicomWebClient,
        area: StagingArea,
        *,
        patient_key: Callable[[str, str], str],
    ) -> None:
        """Take where arrivals are staged; `patient_key` makes a pseudonym of ID and issuer."""
        self.options = options
        self.client = client
        self.area = area
        self.lanes = RequestLanes(options.lanes)
        self.searches = Searches(client, self.lanes, page_rows=options.page_rows)
        self.sends_as_asked = False  #: It has sent something in the form that we ask for.
        self._patient_key = patient_key

    @property
    def name(self) -> str:
        return self.options.name

    @property
    def uses_get(self) -> bool:
        """What arrives is an answer to our own request: no port of ours is needed."""
        return True

    @property
    def accept(self) -> str:
        """The form in which objects are asked for."""
        return AS_STORED if self.options.as_stored else _AS_IT_LIKES

    async def prepare(self) -> None:
        """Return when the archive answers; how it wants to be asked shows as it is asked."""
        await self.ping()

    async def ping(self) -> None:
        await self.searches.ping()

    async def find_studies(self, question: StudyQuestion) -> AsyncIterator[StudySummary]:
        try:
            async for row in self.searches.rows(_STUDIES, "/studies", study_keys(question)):
                yield self._summary(study_answer(row))
        except StudyUnknown:
            return  # Some servers have no empty list.

    def _summary(self, answer: dict[str, str]) -> StudySummary:
        return StudySummary.of_answer(
            answer,
            instances_claimed=count_of(answer.get("NumberOfStudyRelatedInstances", "")),
            patient_key=self._patient_key,
        )

    async def list_instances(self, study: StudyRef) -> Listing:
        listing = _ListingInProgress(study)
        series = await self._list_series(listing)
        if not series and await self._is_gone(study):
            return Listing((), complete=True, notes=(_GONE,))
        todo = iter(series.items())

        async def one_after_the_other() -> None:
            for series_instance_uid, claimed in todo:
                await self._list_one(listing, series_instance_uid, claimed)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self.options.lanes, len(series))):
                    group.create_task(one_after_the_other())
        except* SourceError as errors:
            raise errors.exceptions[0] from errors
        complete = listing.complete and (bool(series) or not listing.notes)
        return Listing(
            tuple(listing.instances.values()),
            complete,
            tuple(listing.notes),
            series_found=len(series),
        )

    async def _list_series(self, listing: _ListingInProgress) -> dict[str, int | None]:
        """Return the series and how many instances each claims."""
        series: dict[str, int | None] = {}
        path = f"/studies/{listing.study.study_instance_uid}/series"
        try:
            async for row in self.searches.rows(_SERIES, path):
                answer = series_answer(row)
                if not _is_of(answer, "StudyInstanceUID", listing.study.study_instance_uid):
                    listing.contradicts_itself("a series of another study in the list")
                    continue
                series_instance_uid = answer.get("SeriesInstanceUID", "")
                if not is_usable_uid(series_instance_uid):
                    listing.notes.append("a series without a usable Series Instance UID")
                    continue
                claimed = answer.get("NumberOfSeriesRelatedInstances", "")
                series[series_instance_uid] = count_of(claimed)
                if len(series) > _SERIES_MAX:
                    raise SourceUnavailable(f"more than {_SERIES_MAX} series in one study")
        except StudyUnknown:
            # A study without series is not unknown: it may not be taken for an empty one.
            listing.contradicts_itself("the archive does not know the study by its own UID")
        except QueryTruncated:
            listing.contradicts_itself("the list of series was cut")
        return series

    async def _is_gone(self, study: StudyRef) -> bool:
        """Say whether the archive does not list a study any more that it listed once."""
        keys = [("StudyInstanceUID", study.study_instance_uid)]
        try:
            async with aclosing(self.searches.rows(_STUDIES, "/studies", keys)) as rows:
                # Any row is a no: it is there, or the archive ignores the key and cannot tell.
                return await anext(rows, None) is None
        except StudyUnknown:
            return True
        except QueryTruncated:
            return False

    async def _list_one(
        self, listing: _ListingInProgress, series_instance_uid: str, claimed: int | None
    ) -> None:
        """Add the instances of one series."""
        found: set[str] = set()
        study_instance_uid = listing.study.study_instance_uid
        path = f"/studies/{study_instance_uid}/series/{series_instance_uid}/instances"
        try:
            async for row in self.searches.rows(_IMAGES, path):
                answer = image_answer(row)
                if not (
                    _is_of(answer, "StudyInstanceUID", study_instance_uid)
                    and _is_of(answer, "SeriesInstanceUID", series_instance_uid)
                ):
                    listing.contradicts_itself("an instance of another series in the list")
                    continue
                sop_instance_uid = answer.get("SOPInstanceUID", "")
                if not is_usable_uid(sop_instance_uid):
                    listing.notes.append("an instance without a usable SOP Instance UID")
                    continue
                sop_class_uid = answer.get("SOPClassUID", "")
                found.add(sop_instance_uid)
                listing.instances[series_instance_uid, sop_instance_uid] = ExpectedInstance(
                    InstanceRef(study_instance_uid, series_instance_uid, sop_instance_uid),
                    sop_class_uid if is_usable_uid(sop_class_uid) else "",
                    _syntaxes(answer.get("AvailableTransferSyntaxUID", "")),
                )
                if len(found) > _INSTANCES_MAX:
                    raise SourceUnavailable(f"more than {_INSTANCES_MAX} instances in one series")
        except (StudyUnknown, QueryTruncated):
            listing.contradicts_itself(f"the list of instances was cut at {len(found)}")
        if self._is_cut(len(found), claimed):
            listing.contradicts_itself(f"{len(found)} instances listed of {claimed or 'more'}")

    def _is_cut(self, found: int, claimed: int | None) -> bool:
        limit = self.options.find_limit
        return (claimed is not None and claimed > found) or (
            claimed is None and limit is not None and found >= limit
        )

    def retrieve(self, request: RetrieveRequest) -> WebRetrieval:
        return WebRetrieval(self, request)

    async def probe(self, study: StudyRef) -> bool:
        listing = await self.list_instances(study)
        for each in listing.instances[:1]:
            wanted = {each.instance.sop_instance_uid: each}
            async with self.retrieve(RetrieveRequest(study, wanted, narrow=True)) as retrieval:
                async for arrival in retrieval:
                    arrival.settle(stored=False)
        return bool(listing.instances)

    def may_be_its_fault(self, error: SourceUnavailable) -> bool:
        """Say whether one instance may be why the archive failed, and not its whole state."""
        return not isinstance(error, SourceBusy)

    def alternatives(self, sop_class_uids: Sequence[str]) -> Sequence[str]:  # noqa: ARG002
        """Return none: asked for a syntax by name, a server may convert; `*` says it all."""
        return ()

    async def close(self) -> None:
        """Close every connection."""
        await self.client.close()


def _is_of(answer: dict[str, str], keyword: str, uid: str) -> bool:
    """Say whether a row belongs to what was asked for; many leave out what the path says."""
    return answer.get(keyword, "") in {"", uid}


def _syntaxes(text: str) -> tuple[str, ...]:
    """Return Available Transfer Syntax UID (PS3.18 10.6.3.3), unless it is no list of UIDs."""
    syntaxes = tuple(each.strip() for each in text.split("\\"))
    return syntaxes if all(map(is_usable_uid, syntaxes)) else ()
