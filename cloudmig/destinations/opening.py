"""Build a destination from plain settings. Only this module chooses between kinds of stores."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import boto3.session
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import BotoCoreError, ClientError
from obstore.auth.boto3 import Boto3CredentialProvider
from obstore.store import AzureStore, GCSStore, LocalStore, MemoryStore, S3Store

from cloudmig.destinations.breaker import BreakerDestination, BreakerPolicy
from cloudmig.destinations.multipart import LargeObjects, MemoryUploadLog, UploadLog
from cloudmig.destinations.object_store import Backend, ObjectStoreDestination
from cloudmig.destinations.profiles import StoreProfile, profile_named
from cloudmig.destinations.retrying import RetryingDestination, RetryPolicy
from cloudmig.destinations.s3_control import (
    S3Control,
    client_maker,
    translate,
    usable_credentials,
)
from cloudmig.destinations.s3_put import AccessKeys, S3Put, S3PutTarget
from cloudmig.destinations.throttled import ThrottledDestination, ThrottleLimits
from cloudmig.destinations.wrapping import ObjectKeeper
from cloudmig.errors import ConfigError

if TYPE_CHECKING:
    from obstore.store import ClientConfig  # Exists for type checkers only.

__all__ = ["Protected", "StoreSettings", "open_client", "open_object_store", "protect"]

_MEMORY: dict[str, MemoryStore] = {}
_READ_TIMEOUT_S = 3600.0
_DEFAULT_PROFILES = {
    "s3": "aws", "gs": "gcs", "az": "azure", "file": "file", "memory": "memory",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSettings:
    """Where a store is and how to talk to it: `[destinations.<name>]`, checked by its reader."""

    url: str
    endpoint: str | None = None
    region: str | None = None
    profile: str | None = None  #: None chooses by the scheme of the URL.
    profile_overrides: Mapping[str, bool] = field(default_factory=dict)
    path_style: bool | None = None  #: None means: exactly where an endpoint is given.
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    ca_path: Path | None = None  #: PEM of the authority that signed the store's certificate.
    kms_key_id: str | None = None
    connect_timeout_s: float = 10.0
    timeout_s: float = 120.0  #: Of a silence while sending or reading; of a HEAD as a whole.


def open_object_store(
    name: str,
    settings: StoreSettings,
    *,
    archive: str,
    storage_class: str = "",
    uploads: UploadLog | None = None,
    session: boto3.session.Session | None = None,
    large_bytes_min: int = 64 << 20,
) -> ObjectStoreDestination:
    """Return the destination, unwrapped. Touches no network.

    Without explicit keys, `session` (or a new one) finds credentials as every AWS tool does.
    """
    scheme = urlsplit(settings.url).scheme
    builders: dict[str, Callable[[], Backend]] = {
        "s3": lambda: _s3(name, settings, _profile(settings), uploads, session),
        "gs": lambda: _other(GCSStore, settings, _profile(settings)),
        "az": lambda: _other(AzureStore, settings, _profile(settings)),
        "file": lambda: _local(settings, _profile(settings)),
        "memory": lambda: _memory(settings, _profile(settings)),
    }
    if scheme not in builders:
        raise ConfigError(
            f"destination {name}: no store has URLs that begin with {scheme or 'nothing'}:",
            hint=f"use one of {', '.join(builders)}",
        )
    return ObjectStoreDestination(
        name,
        builders[scheme](),
        archive=archive,
        storage_class=storage_class,
        large_bytes_min=large_bytes_min,
    )


@dataclass(frozen=True, slots=True)
class Protected:
    """A destination as the pipeline uses it, and the breaker that says whether it is down."""

    destination: RetryingDestination
    breaker: BreakerDestination


def protect(
    inner: ObjectKeeper,
    *,
    retry: RetryPolicy | None = None,
    breaker: BreakerPolicy | None = None,
    limits: ThrottleLimits | None = None,
) -> Protected:
    """Wrap: retries outside, so that the breaker sees every attempt and no attempt waits for it."""
    broken = BreakerDestination(ThrottledDestination(inner, limits), breaker)
    return Protected(RetryingDestination(broken, retry), broken)


def open_control(
    name: str, settings: StoreSettings, *, session: boto3.session.Session | None = None
) -> S3Control | None:
    """Return the control plane alone, for checks before a run; None where the store is no S3."""
    if urlsplit(settings.url).scheme != "s3":
        return None
    return _s3(name, settings, _profile(settings), None, session).control


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


def _profile(settings: StoreSettings) -> StoreProfile:
    scheme = urlsplit(settings.url).scheme
    profile = profile_named(
        settings.profile or _DEFAULT_PROFILES[scheme], settings.profile_overrides
    )
    if settings.kms_key_id and not profile.sse_kms:
        raise ConfigError(
            f"the profile {profile.name} has no SSE-KMS",
            hint="remove kms_key_id, or override sse_kms of the profile",
        )
    return profile


def _s3(
    name: str,
    settings: StoreSettings,
    profile: StoreProfile,
    uploads: UploadLog | None,
    session: boto3.session.Session | None,
) -> Backend:
    url = urlsplit(settings.url)
    bucket, prefix = url.netloc, unquote(url.path).strip("/")
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
            client_options=_client_options(settings, timeout_s),
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
        reading=store(_READ_TIMEOUT_S),
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


def _client_options(settings: StoreSettings, timeout_s: float) -> ClientConfig:
    options: ClientConfig = {
        "connect_timeout": timedelta(seconds=settings.connect_timeout_s),
        "timeout": timedelta(seconds=timeout_s),
        "read_timeout": timedelta(seconds=settings.timeout_s),
        "allow_http": bool(settings.endpoint and settings.endpoint.startswith("http://")),
    }
    if settings.ca_path:
        options["root_certificate"] = settings.ca_path.read_bytes()
    return options


def _other(
    kind: type[GCSStore | AzureStore], settings: StoreSettings, profile: StoreProfile
) -> Backend:
    """Google and Azure: credentials come from their own environment variables."""

    def store(timeout_s: float) -> GCSStore | AzureStore:
        config: Any = {"endpoint": settings.endpoint} if settings.endpoint else {}
        return kind.from_url(
            settings.url,
            client_options=_client_options(settings, timeout_s),
            retry_config={"max_retries": 0},
            **config,
        )

    return Backend(store=store(settings.timeout_s), reading=store(_READ_TIMEOUT_S), profile=profile)


def _local(settings: StoreSettings, profile: StoreProfile) -> Backend:
    url = urlsplit(settings.url)
    if url.netloc or not url.path.startswith("/"):
        raise ConfigError("a file URL needs an absolute path", hint="file:///srv/images")
    root = Path(unquote(url.path))
    return Backend(store=LocalStore(root, mkdir=True), profile=profile, local_root=root)


def _memory(settings: StoreSettings, profile: StoreProfile) -> Backend:
    """Memory of this process: one URL is one store, as long as the process lives."""
    store = _MEMORY.setdefault(urlsplit(settings.url).netloc, MemoryStore())
    return Backend(store=store, profile=profile)
