"""One DICOMweb server over HTTP: store, query, retrieve (PS3.18 10.4, 10.5, 10.6).

Every path is made of our own references: URLs that a server hands back are never followed, and
neither are redirects, cookies or proxies from the environment. Every wait and every size has an
end. Nothing here tries again, except once with a new token after a 401.
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from cloudmig.dicomweb.answers import AnswerUnreadable, StoreAnswer, read_rows, read_store_answer
from cloudmig.dicomweb.auth import AuthorizationFailed, Authorizer, RequestToSign
from cloudmig.dicomweb.breaks import what_broke, why_untrusted
from cloudmig.dicomweb.multipart import MultipartTorn, Parts, RelatedBody, RelatedParts, WholeBody
from cloudmig.dicomweb.retry_after import retry_after_s
from cloudmig.dicomweb.rows import boundary_of
from cloudmig.model.references import InstanceRef, StudyRef

__all__ = [
    "DicomWebClient", "DicomWebFailed", "HttpLimits", "ObjectsReply", "SearchReply", "StoreReply",
    "tls_context",
]  # fmt: skip

_JSON = "application/dicom+json"
#: The transfer syntax as it is stored (PS3.18 8.7.3.5.2): without it a server may transcode.
_AS_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_READ_PIECE_BYTES = 256 << 10
_PAGES_MAX = 10_000
_ROWS_OF_A_LONG_LIST = 1000


class DicomWebFailed(Exception):  # noqa: N818 - named for what happened, as in errors.py
    """A request was not answered, or not as hoped. Holds nothing of an answer's text."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        is_retrieve: bool = False,
        retry_after_s: float = 0.0,
        is_untrusted: bool = False,
        is_unknown: bool = False,
        is_sent: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status  #: None where no usable answer came.
        self.is_retrieve = is_retrieve  #: An object was asked for, no list.
        self.retry_after_s = retry_after_s
        self.is_untrusted = is_untrusted  #: The server's certificate is not one we believe.
        self.is_unknown = is_unknown  #: We have no credentials to show, and shall get none.
        self.is_sent = is_sent  #: There was a connection: the server may have got something.


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """How long a server may take and how much it may say."""

    connect_max_s: float = 10.0
    silence_max_s: float = 120.0  #: Of a server that reads, thinks or answers.
    total_max_s: float = 3600.0  #: Of one request and its answer, however lively they are.
    connections_max: int = 16
    #: Idle connections are closed before the server does it: a store is never sent into a closed
    #: one, which could not be told from one that broke off.
    keepalive_s: float = 5.0
    answer_bytes_max: int = 32 << 20


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


def tls_context(
    ca: Path | None = None, certificate: Path | None = None, key: Path | None = None
) -> ssl.SSLContext:
    """Return the context of an HTTPS client; with a certificate of our own it is mutual TLS."""
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    return context


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
        self._url = url.rstrip("/")
        self._authorizer = authorizer
        self._ssl = ssl_context
        self._limits = limits or HttpLimits()
        self._session: aiohttp.ClientSession | None = None
        self._rows_max = 0  #: Of a page of a list, once a whole one was too long.

    @property
    def limits(self) -> HttpLimits:
        return self._limits

    async def ping(self) -> None:
        """Return when the server answers a query for any study; what it answers is not read."""
        for narrower in ([], [("StudyDate", "19000101")]):
            query = [("limit", "1"), *narrower]
            async with self._asked("GET", "/studies", accept=_JSON, query=query) as response:
                if response.status in {200, 204, 206}:
                    return
                # Some find any study too broad, however few rows are wanted.
                if narrower or response.status not in {400, 413}:
                    raise _failed("query", response)

    async def store(self, study: StudyRef, body: RelatedBody) -> StoreReply:
        """Send instances of one study (STOW-RS). The reply may leave each of them open."""
        path = f"/studies/{study.study_instance_uid}"
        async with self._asked("POST", path, accept=_JSON, body=body) as response:
            # An answer without end says as little as one without words.
            said = await self._read(response) or b""
            return StoreReply(
                response.status, read_store_answer(said), retry_after_s(response.headers)
            )

    async def find_instances(
        self, study: StudyRef, sop_instance_uids: Sequence[str] = (), *, rows_max: int = 0
    ) -> set[tuple[str, str]]:
        """Return series and SOP Instance UID of what the server lists in a study (QIDO-RS).

        With some named, it is asked for these only (UID list matching, PS3.18 8.3.4.1). `rows_max`
        is how many rows it gives at most at a time; 0 where that is unknown.
        """
        query: list[tuple[str, str]] = []
        if sop_instance_uids:
            query.append(("SOPInstanceUID", ",".join(sop_instance_uids)))
        found: set[tuple[str, str]] = set()
        for _ in range(_PAGES_MAX):
            limit = rows_max or self._rows_max
            page = [("offset", str(len(found)))] if found else []
            page += [("limit", str(limit))] if limit else []
            try:
                rows = await self._rows(study, [*query, *page])
            except DicomWebFailed as error:
                if error.status != 413 or limit:
                    raise
                self._rows_max = _ROWS_OF_A_LONG_LIST  # From now on: it is asked for too often.
                continue
            before = len(found)
            found |= set(rows)
            if len(found) == before:
                break  # A page shorter than was asked for may be all that a server gives at once.
            if sop_instance_uids and len(found) >= len(sop_instance_uids):
                break
        return found

    async def _rows(
        self, study: StudyRef, query: Sequence[tuple[str, str]]
    ) -> list[tuple[str, str]]:
        path = f"/studies/{study.study_instance_uid}/instances"
        async with self._asked("GET", path, accept=_JSON, query=query) as response:
            if response.status in {204, 404}:
                return []  # 404: some servers have no empty list of an unknown study.
            if response.status not in {200, 206}:
                raise _failed("query", response)
            said = await self._read(response)
            if said == b"":
                _check_end(response, "query", "answer")
        if said is None:
            raise DicomWebFailed("query: the answer is too long", status=413, is_sent=True)
        try:
            return read_rows(said)
        except AnswerUnreadable as error:
            raise DicomWebFailed(f"query: {error}", is_sent=True) from error

    async def search(
        self, path: str, query: Sequence[tuple[str, str]], *, accept: str = _JSON
    ) -> SearchReply:
        """Ask a search (QIDO-RS) below the service root and return the answer as it is.

        Raises `DicomWebFailed` where none came, or one that is longer than any we asked for.
        """
        async with self._asked("GET", path, accept=accept, query=query) as response:
            said = await self._read(response)
            if said is None:
                raise DicomWebFailed("query: the answer is too long", status=413, is_sent=True)
            if said == b"" and response.status in {200, 206}:
                _check_end(response, "query", "answer")
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
        async with self._asked("GET", path, accept=accept) as response:
            parts: Parts | None = None
            if response.status in {200, 206} and response.content_length != 0:
                pieces = aiter(response.content.iter_chunked(_READ_PIECE_BYTES))
                content_type = response.headers.get("Content-Type", "")
                if response.content_type == "application/dicom":
                    _check_end(response, "retrieve", "object")
                    parts = WholeBody(pieces, content_type)
                elif response.content_type.startswith("multipart/"):
                    parts = RelatedParts(pieces, boundary_of(content_type))
                else:
                    raise MultipartTorn("no DICOM objects but perhaps a page to log in")
            yield ObjectsReply(response.status, parts, retry_after_s(response.headers))

    async def retrieve(self, instance: InstanceRef) -> AsyncGenerator[bytes, None]:
        """Yield the Part 10 file of an instance as the server holds it (WADO-RS)."""
        path = (
            f"/studies/{instance.study_instance_uid}/series/{instance.series_instance_uid}"
            f"/instances/{instance.sop_instance_uid}"
        )
        async with self._asked("GET", path, accept=_AS_STORED) as response:
            if response.status != 200:
                raise _failed("retrieve", response)
            pieces = response.content.iter_chunked(_READ_PIECE_BYTES)
            if response.content_type == "application/dicom":
                _check_end(response, "retrieve", "object")
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
        if self._session is not None:
            await self._session.close()
            self._session = None

    @asynccontextmanager
    async def _asked(
        self,
        method: str,
        path: str,
        *,
        accept: str,
        query: Sequence[tuple[str, str]] = (),
        body: RelatedBody | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        url = f"{self._url}{path}"
        doing = "store" if body is not None else "ask"
        is_sent = False
        try:
            for is_last in (False, True):
                shown = await self._credentials(method, url, query, body)
                headers = {"Accept": accept, "Accept-Encoding": "identity", **shown}
                async with self._open().request(
                    method,
                    url,
                    params=list(query),
                    headers=headers,
                    data=body,
                    allow_redirects=False,
                ) as response:
                    is_sent = True
                    refused = response.status == 401 and self._authorizer is not None
                    if refused and not is_last and self._rejected(shown):
                        continue
                    yield response
                    return
        except AuthorizationFailed as error:
            unknown = not error.may_pass
            raise DicomWebFailed(f"{doing}: {error}", is_unknown=unknown) from error
        except aiohttp.ClientConnectorCertificateError as error:
            raise DicomWebFailed(f"{doing}: {why_untrusted(error)}", is_untrusted=True) from error
        except (aiohttp.ClientError, OSError) as error:
            is_sent = is_sent or not isinstance(error, aiohttp.ClientConnectorError)
            raise DicomWebFailed(f"{doing}: {what_broke(error)}", is_sent=is_sent) from error

    async def _credentials(
        self,
        method: str,
        url: str,
        query: Sequence[tuple[str, str]],
        body: RelatedBody | None,
    ) -> Mapping[str, str]:
        if self._authorizer is None:
            return {}
        digest = _no_body_sha256 if body is None else body.sha256
        request = RequestToSign(method=method, url=url, query=query, body_sha256=digest)
        return await self._authorizer.headers(self._open(), request)

    def _rejected(self, shown: Mapping[str, str]) -> bool:
        return self._authorizer is not None and self._authorizer.rejected(shown)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            limits = self._limits
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=limits.connections_max,
                    keepalive_timeout=limits.keepalive_s,
                    ssl=self._ssl or True,
                ),
                timeout=aiohttp.ClientTimeout(
                    total=limits.total_max_s,
                    sock_connect=limits.connect_max_s,
                    sock_read=limits.silence_max_s,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                read_bufsize=_READ_PIECE_BYTES,
            )
        return self._session

    async def _read(self, response: aiohttp.ClientResponse) -> bytes | None:
        """Return an answer, or None when it is longer than any we asked for."""
        said = bytearray()
        async for piece in response.content.iter_chunked(_READ_PIECE_BYTES):
            said += piece
            if len(said) > self._limits.answer_bytes_max:
                response.close()
                return None
        return bytes(said)


def _no_body_sha256() -> str:
    return hashlib.sha256().hexdigest()


def _check_end(response: aiohttp.ClientResponse, doing: str, what: str) -> None:
    """Refuse what nothing but the end of the connection tells the end of (RFC 9112 6.3).

    An object or an empty list that broke off would pass for whole. Parts have a last delimiter.
    The end of what is compressed is not looked for by aiohttp, and we have asked for it as it is.
    """
    said = ""
    if response.content_length is None and "Transfer-Encoding" not in response.headers:
        said = f"nothing tells where the {what} ends, neither Content-Length nor chunks"
    elif response.headers.get("Content-Encoding", "identity").lower() != "identity":
        said = f"the {what} comes compressed, though asked for as it is: it may be cut unseen"
    if said:
        raise DicomWebFailed(f"{doing}: {said}", is_sent=True)


def _failed(doing: str, response: aiohttp.ClientResponse) -> DicomWebFailed:
    return DicomWebFailed(
        f"{doing}: HTTP {response.status}",
        status=response.status,
        is_retrieve=doing == "retrieve",
        retry_after_s=retry_after_s(response.headers),
        is_sent=True,
    )
