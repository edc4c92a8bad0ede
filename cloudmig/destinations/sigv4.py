"""AWS Signature Version 4 for DICOMweb: the endpoint of HealthImaging takes nothing else.

The body is hashed before it is sent, in a thread: the signature covers its bytes.
"""

from __future__ import annotations

import asyncio
import os
import urllib.parse
from collections.abc import Mapping

import boto3.session
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError, ClientError

from cloudmig.dicomweb import AuthorizationFailed, RequestToSign

__all__ = ["SigV4Authorizer", "sigv4_authorizer"]

_CONTENT_DIGEST = "X-Amz-Content-SHA256"


def sigv4_authorizer(
    service: str,
    *,
    region: str | None,
    access_key_id: str | None,
    secret_access_key: str | None,
    session_token: str | None,
) -> SigV4Authorizer:
    """Return what signs for a service of AWS; without keys, with those every AWS tool finds."""
    session = boto3.session.Session(
        aws_access_key_id=access_key_id,
        aws_secret_access_key=secret_access_key,
        aws_session_token=session_token,
        region_name=region or os.environ.get("AWS_REGION"),  # boto3 does not look.
    )
    return SigV4Authorizer(session, region=session.region_name or "us-east-1", service=service)


class SigV4Authorizer:
    """Signs each request with the credentials that a session has at that moment."""

    def __init__(self, session: boto3.session.Session, *, region: str, service: str) -> None:
        self._session = session
        self._region = region
        self._service = service

    async def headers(self, _http: object, request: RequestToSign) -> Mapping[str, str]:
        return await asyncio.to_thread(self._sign, request)

    def rejected(self, shown: Mapping[str, str]) -> bool:  # noqa: ARG002
        return False

    def _sign(self, request: RequestToSign) -> Mapping[str, str]:
        credentials = self._session.get_credentials()
        if credentials is None:
            raise AuthorizationFailed("no AWS credentials were found", may_pass=False)
        try:
            frozen = credentials.get_frozen_credentials()
        except (BotoCoreError, ClientError, OSError) as error:
            said = f"no credentials: {type(error).__name__}"
            raise AuthorizationFailed(said, may_pass=True) from error
        query = urllib.parse.urlencode(request.query, safe="-_.~", quote_via=urllib.parse.quote)
        signed = AWSRequest(
            method=request.method,
            # Not as a mapping: a key may be there twice, as includefield is.
            url=f"{request.url}?{query}" if query else request.url,
            headers={_CONTENT_DIGEST: request.body_sha256()},
        )
        SigV4Auth(frozen, self._service, self._region).add_auth(signed)
        return dict(signed.headers.items())
