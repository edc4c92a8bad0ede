"""One DICOMweb server over HTTP: store, query, retrieve (PS3.18 10.4, 10.5, 10.6).

Every path is made of our own references: URLs that a server hands back are never followed. How a
request travels is `cloudmig.dicomweb.exchange`'s.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from cloudmig.dicomweb.answers import AnswerUnreadable, StoreAnswer, instances_of, read_store_answer
from cloudmig.dicomweb.auth import Authorizer
from cloudmig.dicomweb.exchange import (
    READ_PIECE_BYTES,
    DicomWebFailed,
    HttpExchange,
    HttpLimits,
    check_end,
    failed,
)
from cloudmig.dicomweb.multipart import MultipartTorn, Parts, RelatedBody, RelatedParts, WholeBody
from cloudmig.dicomweb.retry_after import retry_after_s
from cloudmig.dicomweb.rows import boundary_of, read_data_sets
from cloudmig.model.references import InstanceRef, StudyRef

__all__ = ["AS_STORED", "DicomWebClient", "ObjectsReply", "SearchReply", "StoreReply"]

_JSON = "application/dicom+json"
#: The transfer syntax as it is stored (PS3.18 8.7.3.5.2): without it a server may transcode.
AS_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_PAGES_MAX = 10_000
_ROWS_OF_A_LONG_LIST = 1000


@dataclass(frozen=True, slots=True)
class StoreReply:
    """The status of a store and what its answer says about each instance."""

    status: int
    answer: StoreAnswer
    retry_after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class SearchReply:
    """One answer to a search, whatever its status; its rows are not read yet."""

    status: int
    body: bytes
    content_type: str
    says_more: bool  #: There are further rows, it says (PS3.18 8.3.4.4, 8.5).
    retry_after_s: float = 0.0
    date: str = ""  #: When, by the server's clock (RFC 9110 6.6.1).


@dataclass(frozen=True, slots=True)
class ObjectsReply:
    """An answer to a retrieve while its objects arrive; None where it brings none."""

    status: int
    parts: Parts | None
    retry_after_s: float = 0.0


class DicomWebClient:
    """Asks one server. Belongs to one event loop."""

    def __init__(
        self,
        url: str,
        *,
        authorizer: Authorizer | None = None,
        ssl_context: ssl.SSLContext | None = None,
        limits: HttpLimits | None = None,
    ) -> None:
        self._http = HttpExchange(
            url, authorizer=authorizer, ssl_context=ssl_context, limits=limits or HttpLimits()
        )
        self._rows_max = 0  #: Of a page of a list, once a whole one was too long.

    @property
    def limits(self) -> HttpLimits:
        return self._http.limits

    async def ping(self) -> None:
        """Return when the server answers a query for any study; what it answers is not read."""
        for narrower in ([], [("StudyDate", "19000101")]):
            query = [("limit", "1"), *narrower]
            async with self._http.asked("GET", "/studies", accept=_JSON, query=query) as response:
                if response.status in {200, 204, 206}:
                    return
                # Some find any study too broad, however few rows are wanted.
                if narrower or response.status not in {400, 413}:
                    raise failed("query", response)

    async def store(self, study: StudyRef, body: RelatedBody) -> StoreReply:
        """Send instances of one study (STOW-RS). The reply may leave each of them open."""
        path = f"/studies/{study.study_instance_uid}"
        async with self._http.asked("POST", path, accept=_JSON, body=body) as response:
            # An answer without end says as little as one without words.
            said = await self._http.read(response) or b""
            return StoreReply(
                response.status, read_store_answer(said), retry_after_s(response.headers)
            )

    async def find_instances(
        self,
        study: StudyRef,
        sop_instance_uids: Sequence[str] = (),
        *,
        series_instance_uid: str = "",
        rows_max: int = 0,
    ) -> set[tuple[str, str]]:
        """Return series and SOP Instance UID of what the server lists in a study (QIDO-RS).

        With a series it is asked for what lies in that, and with some instances named for these
        only (UID list matching, PS3.18 8.3.4.1). `rows_max` is how many rows it gives at most at a
        time; 0 where that is unknown.
        """
        within = f"/series/{series_instance_uid}" if series_instance_uid else ""
        path = f"/studies/{study.study_instance_uid}{within}/instances"
        query: list[tuple[str, str]] = []
        if sop_instance_uids:
            query.append(("SOPInstanceUID", ",".join(sop_instance_uids)))
        found: set[tuple[str, str]] = set()
        for _ in range(_PAGES_MAX):
            limit = rows_max or self._rows_max
            page = [("offset", str(len(found)))] if found else []
            page += [("limit", str(limit))] if limit else []
            try:
                rows = await self._rows(path, [*query, *page])
            except DicomWebFailed as error:
                if error.status != 413 or limit:
                    raise
                self._rows_max = _ROWS_OF_A_LONG_LIST  # From now on: it is asked for too often.
                continue
            before = len(found)
            found |= {(series or series_instance_uid, uid) for series, uid in rows}
            if len(found) == before:
                break  # A page shorter than was asked for may be all that a server gives at once.
            if sop_instance_uids and len(found) >= len(sop_instance_uids):
                break
        return found

    async def _rows(self, path: str, query: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        async with self._http.asked("GET", path, accept=_JSON, query=query) as response:
            if response.status in {204, 404}:
                return []  # 404: some servers have no empty list of an unknown study.
            if response.status not in {200, 206}:
                raise failed("query", response)
            said = await self._http.read(response)
            content_type = response.headers.get("Content-Type", "")
            if said == b"":
                check_end(response, "query", "answer")
        if said is None:
            raise DicomWebFailed("query: the answer is too long", status=413, is_sent=True)
        try:
            return instances_of(await read_data_sets(said, content_type))
        except AnswerUnreadable as error:
            raise DicomWebFailed(f"query: {error}", is_sent=True) from error

    async def search(
        self, path: str, query: Sequence[tuple[str, str]], *, accept: str = _JSON
    ) -> SearchReply:
        """Ask a search (QIDO-RS) below the service root and return the answer as it is.

        Raises `DicomWebFailed` where none came, or one that is longer than any we asked for.
        """
        async with self._http.asked("GET", path, accept=accept, query=query) as response:
            said = await self._http.read(response)
            if said is None:
                raise DicomWebFailed("query: the answer is too long", status=413, is_sent=True)
            if said == b"" and response.status in {200, 206}:
                check_end(response, "query", "answer")
            headers = response.headers
            return SearchReply(
                response.status,
                said,
                headers.get("Content-Type", ""),
                response.status == 206 or "additional" in headers.get("Warning", ""),
                retry_after_s(response.headers),
                headers.get("Date", ""),
            )

    @asynccontextmanager
    async def retrieve_parts(self, path: str, *, accept: str) -> AsyncIterator[ObjectsReply]:
        """Ask for a study, series or instance (WADO-RS); its objects arrive within the block.

        Reading them raises `MultipartTorn` where the body is none, and the block `DicomWebFailed`
        where the connection breaks off.
        """
        async with self._http.asked("GET", path, accept=accept) as response:
            parts: Parts | None = None
            if response.status in {200, 206} and response.content_length != 0:
                pieces = aiter(response.content.iter_chunked(READ_PIECE_BYTES))
                content_type = response.headers.get("Content-Type", "")
                if response.content_type == "application/dicom":
                    check_end(response, "retrieve", "object")
                    parts = WholeBody(pieces, content_type)
                elif response.content_type.startswith("multipart/"):
                    parts = RelatedParts(pieces, boundary_of(content_type))
                else:
                    raise MultipartTorn("no DICOM objects but perhaps a page to log in")
            yield ObjectsReply(response.status, parts, retry_after_s(response.headers))

    async def retrieve(
        self, instance: InstanceRef, *, accept: str = AS_STORED
    ) -> AsyncGenerator[bytes, None]:
        """Yield the Part 10 file of an instance (WADO-RS), in the form that is asked for."""
        path = (
            f"/studies/{instance.study_instance_uid}/series/{instance.series_instance_uid}"
            f"/instances/{instance.sop_instance_uid}"
        )
        async with self._http.asked("GET", path, accept=accept) as response:
            if response.status != 200:
                raise failed("retrieve", response)
            pieces = response.content.iter_chunked(READ_PIECE_BYTES)
            if response.content_type == "application/dicom":
                check_end(response, "retrieve", "object")
                async for piece in pieces:
                    yield piece
                return
            try:
                parts = RelatedParts(
                    aiter(pieces), boundary_of(response.headers.get("Content-Type", ""))
                )
                if not await parts.next_part():
                    raise MultipartTorn("no part")
                async for piece in parts.content():
                    yield piece
            except MultipartTorn as error:
                raise DicomWebFailed(f"retrieve: {error}", is_sent=True) from error

    async def close(self) -> None:
        """Close every connection."""
        await self._http.close()
