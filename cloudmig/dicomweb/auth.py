"""Who we are towards a DICOMweb server: nobody, a name and password, a token, a signature.

A secret is never part of an error, a log line or a `repr`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import aiohttp

__all__ = [
    "AuthorizationFailed", "Authorizer", "BasicAuthorizer", "BearerAuthorizer",
    "ClientCredentials", "RequestToSign", "TokenSettings",
]  # fmt: skip

_ANSWER_BYTES_MAX = 64 << 10
#: A token that says nothing of its life is asked for again this often (RFC 6749 5.1).
_LIFE_DEFAULT_S = 300.0
_MARGIN_MAX_S = 60.0
#: Of a token server, beside 5xx; any other says that we ask it for what it never gives.
_PASSING_STATUSES = frozenset({408, 425, 429})


class AuthorizationFailed(Exception):  # noqa: N818 - named for what happened, as in errors.py
    """We have nothing to show. `may_pass` says that nobody need change anything."""

    def __init__(self, message: str, *, may_pass: bool) -> None:
        super().__init__(message)
        self.may_pass = may_pass


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestToSign:
    """What a signature may cover."""

    method: str
    url: str  #: Without the query.
    query: Sequence[tuple[str, str]] = ()
    body_sha256: Callable[[], str]  #: Hex; reads the whole body, so it blocks.


class Authorizer(Protocol):
    """Gives the headers by which a server knows us."""

    async def headers(
        self, session: aiohttp.ClientSession, request: RequestToSign
    ) -> Mapping[str, str]:
        """Return the headers, asking for a new token where the old one is about to end."""
        ...

    def rejected(self, shown: Mapping[str, str]) -> bool:
        """Take note that a server answered 401 to them; say whether others can be had."""
        ...


@dataclass(frozen=True, slots=True)
class BasicAuthorizer:
    """A name and a password (RFC 7617)."""

    username: str
    password: str = field(repr=False)

    async def headers(
        self,
        session: aiohttp.ClientSession,  # noqa: ARG002
        request: RequestToSign,  # noqa: ARG002
    ) -> Mapping[str, str]:
        return _basic(self.username, self.password)

    def rejected(self, shown: Mapping[str, str]) -> bool:  # noqa: ARG002
        return False


@dataclass(frozen=True, slots=True)
class BearerAuthorizer:
    """A token that somebody else renews (RFC 6750)."""

    token: str = field(repr=False)

    async def headers(
        self,
        session: aiohttp.ClientSession,  # noqa: ARG002
        request: RequestToSign,  # noqa: ARG002
    ) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def rejected(self, shown: Mapping[str, str]) -> bool:  # noqa: ARG002
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSettings:
    """Where tokens come from, and what is shown for them."""

    token_url: str
    client_id: str
    client_secret: str = field(repr=False)
    scope: str = ""
    audience: str = ""  #: Some servers want it beside the scope.
    #: How the secret is shown: by Basic authentication, or in the form (RFC 6749 2.3.1).
    style: Literal["basic", "form"] = "basic"
    timeout_s: float = 30.0


class ClientCredentials:
    """OAuth2 client credentials (RFC 6749 4.4): renewed before the end, and once after a 401."""

    def __init__(
        self, settings: TokenSettings, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._now = now
        self._token = ""
        self._renew_at_s = 0.0
        self._asking = asyncio.Lock()

    async def headers(
        self,
        session: aiohttp.ClientSession,
        request: RequestToSign,  # noqa: ARG002
    ) -> Mapping[str, str]:
        async with self._asking:  # Whoever comes meanwhile takes the same token.
            if not self._token or self._now() >= self._renew_at_s:
                await self._renew(session)
            return {"Authorization": f"Bearer {self._token}"}

    def rejected(self, shown: Mapping[str, str]) -> bool:
        if shown["Authorization"] == f"Bearer {self._token}":
            self._token = ""
        return True

    async def _renew(self, session: aiohttp.ClientSession) -> None:
        settings = self._settings
        form = {"grant_type": "client_credentials"}
        form |= {"scope": settings.scope} if settings.scope else {}
        form |= {"audience": settings.audience} if settings.audience else {}
        headers = {"Accept": "application/json"}
        if settings.style == "form":
            form |= {"client_id": settings.client_id, "client_secret": settings.client_secret}
        else:
            headers |= _basic(settings.client_id, settings.client_secret)
        begun_s = self._now()
        try:
            async with session.post(
                settings.token_url, data=form, headers=headers, allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=settings.timeout_s),
            ) as answer:  # fmt: skip
                status = answer.status
                body = await answer.content.read(_ANSWER_BYTES_MAX)
                while len(body) < _ANSWER_BYTES_MAX and not answer.content.at_eof():
                    body += await answer.content.read(_ANSWER_BYTES_MAX - len(body))
        except (aiohttp.ClientError, OSError) as error:
            said = f"no token: {type(error).__name__}"
            raise AuthorizationFailed(said, may_pass=True) from error
        if status != 200:
            raise AuthorizationFailed(
                f"no token: the token server answered {status}",
                may_pass=status >= 500 or status in _PASSING_STATUSES,
            )
        self._token, life_s = _read_token(body)
        # Before its end, by a margin that leaves a short token most of its life.
        self._renew_at_s = begun_s + life_s - min(_MARGIN_MAX_S, life_s / 5)


def _basic(username: str, password: str) -> dict[str, str]:
    pair = f"{username}:{password}".encode()
    return {"Authorization": f"Basic {base64.b64encode(pair).decode('ascii')}"}


def _read_token(body: bytes) -> tuple[str, float]:
    try:
        answer = json.loads(body)
        token, life = answer["access_token"], answer.get("expires_in")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        # The body may hold a token all the same: not even the cause may show it.
        said = "no token in the token server's answer"
        raise AuthorizationFailed(said, may_pass=True) from None
    if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
        said = "no usable token in the token server's answer"
        raise AuthorizationFailed(said, may_pass=True)
    try:
        life_s = float(life)
    except (TypeError, ValueError, OverflowError):
        return token, _LIFE_DEFAULT_S
    return token, life_s if life_s > 0 else _LIFE_DEFAULT_S
