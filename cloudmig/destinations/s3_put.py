"""One S3 PUT whose SHA-256 is the one that was computed when the bytes arrived.

obstore and boto3 compute it again from what lies in memory by then: a third pass over every image,
and a proof that begins later. Here the store refuses (BadDigest) what has changed in between.
Signed by Signature Version 4 (Amazon S3 API Reference, "Authenticating Requests: Using the
Authorization Header").
"""

from __future__ import annotations

import base64
import datetime as dt
import functools
import hashlib
import hmac
import re
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

from cloudmig.destinations.answers import ConditionFailed, error_for
from cloudmig.destinations.attributes import ObjectAttributes, PutAnswer
from cloudmig.destinations.http_put import HttpAnswer, HttpPutClient
from cloudmig.errors import DestinationRefused, DestinationUnavailable

__all__ = ["AccessKeys", "S3Put", "S3PutTarget", "authorization"]

_CODE = re.compile(rb"<Code>([A-Za-z0-9.]{1,64})</Code>")
_UNSIGNED = "UNSIGNED-PAYLOAD"


@dataclass(frozen=True, slots=True)
class AccessKeys:
    """Credentials as they are now."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class S3PutTarget:
    """Where objects go and what every PUT says."""

    endpoint: str  #: Scheme, host and port; with the bucket in the name unless path style.
    path_prefix: str  #: Before the key: "/", the bucket where it is path style, our prefix.
    region: str
    kms_key_id: str | None = None
    is_payload_signed: bool = True
    sends_checksum: bool = True
    sends_attributes: bool = True


class S3Put:
    """Puts bodies that are in memory into one bucket."""

    def __init__(
        self,
        target: S3PutTarget,
        keys: Callable[[], Awaitable[AccessKeys]],
        *,
        ssl_context: ssl.SSLContext | None,
        connect_timeout_s: float,
        timeout_s: float,
        now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
    ) -> None:
        url = urlsplit(target.endpoint)
        is_secure = ssl_context is not None
        assert url.hostname is not None, "an endpoint has a host"
        assert is_secure == (url.scheme == "https"), "a context goes with https"
        self._target = target
        self._keys = keys
        self._now = now
        self._host = url.netloc
        self._client = HttpPutClient(
            url.hostname,
            url.port or (443 if is_secure else 80),
            ssl_context=ssl_context,
            connect_timeout_s=connect_timeout_s,
            timeout_s=timeout_s,
        )

    async def put(
        self,
        key: str,
        body: Any,  # noqa: ANN401 - anything with the buffer protocol
        attributes: ObjectAttributes,
        *,
        file_sha256: str,
        condition: Mapping[str, str],
    ) -> PutAnswer:
        """Send one PUT.

        `condition` holds If-None-Match or If-Match. Raises `ConditionFailed` when that does not
        hold or somebody else writes at the moment, and what `answers.error_for` returns.
        """
        path = quote(self._target.path_prefix + key, safe="/-_.~")
        headers = {**self._headers(attributes, file_sha256), **condition}
        signed = authorization(
            path, headers, await self._keys(), region=self._target.region, now=self._now()
        )
        try:
            answer = await self._client.put(path, {**headers, **signed}, body)
        except ssl.SSLCertVerificationError as error:
            raise DestinationRefused(
                "put: the certificate of the store is not trusted",
                hint="check the endpoint's name, and give the store's CA if it is your own",
            ) from error
        except OSError as error:
            raise DestinationUnavailable(f"put: {type(error).__name__}") from error
        return _judge(answer, is_conditional=bool(condition))

    def _headers(self, attributes: ObjectAttributes, file_sha256: str) -> dict[str, str]:
        target = self._target
        headers = {
            "host": self._host,
            "x-amz-content-sha256": file_sha256 if target.is_payload_signed else _UNSIGNED,
        }
        if target.sends_checksum:
            headers["x-amz-checksum-sha256"] = base64.b64encode(bytes.fromhex(file_sha256)).decode()
            headers["x-amz-sdk-checksum-algorithm"] = "SHA256"
        if target.sends_attributes:
            headers["content-type"] = attributes.content_type
            for name, text in attributes.metadata.items():
                headers[f"x-amz-meta-{name}"] = text
            if attributes.storage_class:
                headers["x-amz-storage-class"] = attributes.storage_class
        if target.kms_key_id is not None:
            headers["x-amz-server-side-encryption"] = "aws:kms"
            headers["x-amz-server-side-encryption-aws-kms-key-id"] = target.kms_key_id
        return headers

    def close(self) -> None:
        """Drop idle connections."""
        self._client.close()


def _judge(answer: HttpAnswer, *, is_conditional: bool) -> PutAnswer:
    if 200 <= answer.status < 300:
        if "etag" not in answer.headers:
            # Whoever said this is no store: a proxy, or a login page.
            raise DestinationUnavailable("put: a success without an ETag")
        return PutAnswer.of(answer.headers["etag"], answer.headers.get("x-amz-version-id"))
    if is_conditional and answer.status in {409, 412}:
        raise ConditionFailed("put: the condition does not hold")
    code = _CODE.search(answer.body)
    raise error_for(answer.status, code[1].decode() if code else "", doing="put")


def authorization(
    path: str, headers: Mapping[str, str], keys: AccessKeys, *, region: str, now: dt.datetime
) -> dict[str, str]:
    """Return the headers that sign a PUT without query: all of `headers`, names in lower case.

    `path` is encoded already; `headers` hold host and x-amz-content-sha256.
    """
    at = f"{now:%Y%m%dT%H%M%SZ}"
    scope = f"{at[:8]}/{region}/s3/aws4_request"
    added = {"x-amz-date": at}
    if keys.session_token is not None:
        added["x-amz-security-token"] = keys.session_token
    every = sorted({**headers, **added}.items())
    names = ";".join(name for name, _ in every)
    lines = "".join(f"{name}:{text}\n" for name, text in every)
    request = f"PUT\n{path}\n\n{lines}\n{names}\n{headers['x-amz-content-sha256']}"
    digest = hashlib.sha256(request.encode()).hexdigest()
    to_sign = f"AWS4-HMAC-SHA256\n{at}\n{scope}\n{digest}"
    signing_key = _signing_key(keys.secret_access_key, at[:8], region)
    signature = hmac.new(signing_key, to_sign.encode(), hashlib.sha256).hexdigest()
    added["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={keys.access_key_id}/{scope}, "
        f"SignedHeaders={names}, Signature={signature}"
    )
    return added


@functools.lru_cache(maxsize=8)
def _signing_key(secret_access_key: str, date: str, region: str) -> bytes:
    key = f"AWS4{secret_access_key}".encode()
    for part in (date, region, "s3", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key
