"""Build an S3 store from plain settings. It brings boto3, which nobody else should wait for."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import boto3.session
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import BotoCoreError, ClientError
from obstore.auth.boto3 import Boto3CredentialProvider
from obstore.store import S3Store

from cloudmig.config.addresses import prefix_of
from cloudmig.destinations.multipart import LargeObjects
from cloudmig.destinations.object_store import Backend
from cloudmig.destinations.profiles import StoreProfile
from cloudmig.destinations.s3_control import (
    S3Control,
    client_maker,
    translate,
    usable_credentials,
)
from cloudmig.destinations.s3_put import AccessKeys, S3Put, S3PutTarget
from cloudmig.destinations.store_settings import READ_TIMEOUT_S, StoreSettings, client_options
from cloudmig.destinations.upload_log import MemoryUploadLog, UploadLog
from cloudmig.errors import ConfigError

__all__ = ["open_client", "open_s3"]


def open_s3(
    name: str,
    settings: StoreSettings,
    profile: StoreProfile,
    uploads: UploadLog | None,
    session: boto3.session.Session | None,
) -> Backend:
    """Return the parts of an S3 store. Touches no network."""
    bucket, prefix = urlsplit(settings.url).netloc, prefix_of(settings.url)
    if not bucket:
        raise ConfigError(f"destination {name}: the url names no bucket", hint="s3://bucket/prefix")
    path_style = settings.endpoint is not None
    if settings.path_style is not None:
        path_style = settings.path_style
    session, credentials = _credentials(name, settings, session)
    config: dict[str, Any] = {
        **credentials,
        "virtual_hosted_style_request": not path_style,
        "region": settings.region or session.region_name or "us-east-1",
    }
    if settings.endpoint:
        config["endpoint"] = _bucket_endpoint(settings.endpoint, bucket, path_style=path_style)
    if profile.checksum_header:
        config["checksum_algorithm"] = "sha256"
    if not profile.payload_signed:
        config["unsigned_payload"] = True
    if settings.kms_key_id:
        config |= {
            "server_side_encryption": "aws:kms",
            "sse_kms_key_id": settings.kms_key_id,
        }

    def store(timeout_s: float) -> S3Store:
        return S3Store(
            bucket,
            prefix=prefix or None,
            client_options=client_options(settings, timeout_s),
            retry_config={"max_retries": 0},  # One retry layer: the wrapper.
            **config,
        )

    control = S3Control(
        client_maker(
            session,
            endpoint=settings.endpoint,
            region=config["region"],
            path_style=path_style,
            connect_timeout_s=settings.connect_timeout_s,
            timeout_s=settings.timeout_s,
            connections_max=8,
            ca_path=settings.ca_path,
        ),
        bucket,
        renew_credentials=partial(usable_credentials, session),
        profile=profile,
        prefix=prefix,
        kms_key_id=settings.kms_key_id,
    )
    return Backend(
        store=store(settings.timeout_s),
        reading=store(READ_TIMEOUT_S),
        profile=profile,
        control=control,
        direct=_direct(
            settings,
            profile,
            _access_keys(session),
            region=config["region"],
            bucket=bucket,
            prefix=prefix,
            path_style=path_style,
        ),
        large=LargeObjects(control, uploads or MemoryUploadLog(), destination=name),
    )


def _direct(
    settings: StoreSettings,
    profile: StoreProfile,
    keys: Callable[[], Awaitable[AccessKeys]],
    *,
    region: str,
    bucket: str,
    prefix: str,
    path_style: bool,
) -> S3Put | None:
    """Return our own PUT; None behind a proxy, which obstore knows how to use."""
    endpoint = settings.endpoint or f"https://s3.{region}.amazonaws.com"
    url = urlsplit(_bucket_endpoint(endpoint, bucket, path_style=path_style))
    if url.scheme in getproxies() and not proxy_bypass(url.hostname or ""):
        return None
    folders = [url.path.strip("/"), bucket if path_style else "", prefix]
    context = None
    if url.scheme == "https":
        context = ssl.create_default_context()
        if settings.ca_path is not None:
            context.load_verify_locations(settings.ca_path)
    return S3Put(
        S3PutTarget(
            endpoint=f"{url.scheme}://{url.netloc}",
            path_prefix="/" + "".join(f"{folder}/" for folder in folders if folder),
            region=region,
            kms_key_id=settings.kms_key_id,
            is_payload_signed=profile.payload_signed,
            sends_checksum=profile.checksum_header,
            sends_attributes=profile.metadata,
        ),
        keys,
        connect_timeout_s=settings.connect_timeout_s,
        timeout_s=settings.timeout_s,
        ssl_context=context,
    )


def _access_keys(session: boto3.session.Session) -> Callable[[], Awaitable[AccessKeys]]:
    """Return what tells the session's keys as they are now."""

    async def current() -> AccessKeys:
        held = session.get_credentials()
        try:
            if isinstance(held, RefreshableCredentials) and held.refresh_needed():
                frozen = await asyncio.to_thread(usable_credentials, session)
            else:
                frozen = usable_credentials(session)
        except (BotoCoreError, ClientError, OSError) as error:
            # ClientError: what STS says when a role is assumed anew.
            raise translate(error, doing="credentials") from error
        return AccessKeys(frozen.access_key or "", frozen.secret_key or "", frozen.token)

    return current


def _credentials(
    name: str, settings: StoreSettings, session: boto3.session.Session | None
) -> tuple[boto3.session.Session, dict[str, Any]]:
    if settings.access_key_id and settings.secret_access_key:
        explicit = {
            "access_key_id": settings.access_key_id,
            "secret_access_key": settings.secret_access_key,
        }
        if settings.session_token:
            explicit["session_token"] = settings.session_token
        return (
            boto3.session.Session(
                aws_access_key_id=settings.access_key_id,
                aws_secret_access_key=settings.secret_access_key,
                aws_session_token=settings.session_token,
            ),
            explicit,
        )
    session = session or boto3.session.Session()
    try:
        return session, {"credential_provider": Boto3CredentialProvider(session)}
    except ValueError as error:
        raise ConfigError(
            f"destination {name}: no credentials were found",
            hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, a role, or"
            " access_key_id and secret_access_key in the configuration",
        ) from error


def _bucket_endpoint(endpoint: str, bucket: str, *, path_style: bool) -> str:
    """Return the endpoint as obstore wants it: with the bucket in the name unless path style."""
    if path_style:
        return endpoint
    url = urlsplit(endpoint)
    return f"{url.scheme}://{bucket}.{url.netloc}"


def open_client(
    name: str, settings: StoreSettings, *, connections_max: int, attempts: int = 1
) -> Any:  # noqa: ANN401
    """Return a boto3 client of an S3 store, for what reads as a stranger would."""
    session, _ = _credentials(name, settings, None)
    path_style = settings.endpoint is not None
    return client_maker(
        session,
        endpoint=settings.endpoint,
        region=settings.region or session.region_name or "us-east-1",
        path_style=path_style if settings.path_style is None else settings.path_style,
        connect_timeout_s=settings.connect_timeout_s,
        timeout_s=settings.timeout_s,
        connections_max=connections_max,
        ca_path=settings.ca_path,
        attempts=attempts,
    )()
