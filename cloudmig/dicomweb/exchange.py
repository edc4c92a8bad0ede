"""HTTP with one DICOMweb server: credentials, TLS, limits, and what went wrong in plain words.

Redirects, cookies and proxies from the environment are never followed. Every wait and every size
has an end. Nothing here tries again, except once with a new token after a 401.
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from cloudmig.dicomweb.auth import AuthorizationFailed, Authorizer, RequestToSign
from cloudmig.dicomweb.breaks import what_broke, why_untrusted
from cloudmig.dicomweb.multipart import RelatedBody
from cloudmig.dicomweb.retry_after import retry_after_s

__all__ = [
    "READ_PIECE_BYTES", "DicomWebFailed", "HttpExchange", "HttpLimits", "check_end", "failed",
    "tls_context",
]  # fmt: skip

READ_PIECE_BYTES = 256 << 10


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


def tls_context(
    ca: Path | None = None, certificate: Path | None = None, key: Path | None = None
) -> ssl.SSLContext:
    """Return the context of an HTTPS client; with a certificate of our own it is mutual TLS."""
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    return context


class HttpExchange:
    """Requests to one server and their answers. Belongs to one event loop."""

    def __init__(
        self,
        url: str,
        *,
        authorizer: Authorizer | None,
        ssl_context: ssl.SSLContext | None,
        limits: HttpLimits,
    ) -> None:
        self.limits = limits
        self._url = url.rstrip("/")
        self._authorizer = authorizer
        self._ssl = ssl_context
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    @asynccontextmanager
    async def asked(
        self,
        method: str,
        path: str,
        *,
        accept: str,
        query: Sequence[tuple[str, str]] = (),
        body: RelatedBody | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Ask for what is at a path below the service root; the answer arrives within the block."""
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
            limits = self.limits
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
                read_bufsize=READ_PIECE_BYTES,
            )
        return self._session

    async def read(self, response: aiohttp.ClientResponse) -> bytes | None:
        """Return an answer, or None when it is longer than any we asked for."""
        said = bytearray()
        async for piece in response.content.iter_chunked(READ_PIECE_BYTES):
            said += piece
            if len(said) > self.limits.answer_bytes_max:
                response.close()
                return None
        return bytes(said)


def _no_body_sha256() -> str:
    return hashlib.sha256().hexdigest()


def check_end(response: aiohttp.ClientResponse, doing: str, what: str) -> None:
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


def failed(doing: str, response: aiohttp.ClientResponse) -> DicomWebFailed:
    return DicomWebFailed(
        f"{doing}: HTTP {response.status}",
        status=response.status,
        is_retrieve=doing == "retrieve",
        retry_after_s=retry_after_s(response.headers),
        is_sent=True,
    )
