"""Build a destination from plain settings. Only this module chooses between kinds of stores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from obstore.store import LocalStore, MemoryStore

from cloudmig.config.addresses import folder_of
from cloudmig.destinations.breaker import BreakerDestination, BreakerPolicy
from cloudmig.destinations.local_files import LocalFiles
from cloudmig.destinations.object_store import Backend, ObjectStoreDestination
from cloudmig.destinations.obstore_opening import open_azure_or_google
from cloudmig.destinations.profiles import StoreProfile, profile_named
from cloudmig.destinations.retrying import RetryingDestination, RetryPolicy
from cloudmig.destinations.store_settings import StoreSettings
from cloudmig.destinations.throttled import ThrottledDestination, ThrottleLimits
from cloudmig.destinations.upload_log import UploadLog
from cloudmig.destinations.wrapping import ObjectKeeper
from cloudmig.errors import ConfigError, DestinationUnavailable

if TYPE_CHECKING:
    from boto3.session import Session

    from cloudmig.destinations.s3_control import S3Control

__all__ = [
    "Protected", "StoreSettings", "open_control", "open_object_store", "profile_of", "protect",
]  # fmt: skip

_MEMORY: dict[str, MemoryStore] = {}
_DEFAULT_PROFILES = {
    "s3": "aws", "gs": "gcs", "az": "azure", "file": "file", "memory": "memory",
}  # fmt: skip


def open_object_store(
    name: str,
    settings: StoreSettings,
    *,
    archive: str,
    storage_class: str = "",
    uploads: UploadLog | None = None,
    session: Session | None = None,
    large_bytes_min: int = 64 << 20,
    is_used: bool = False,
) -> ObjectStoreDestination:
    """Return the destination, unwrapped. Touches no network.

    `is_used` says that something was stored in a folder: empty, it is not the right one.
    Without explicit keys, `session` (or a new one) finds credentials as every AWS tool does.
    """
    scheme = urlsplit(settings.url).scheme
    builders: dict[str, Callable[[], Backend]] = {
        "s3": lambda: _s3(name, settings, uploads, session),
        "gs": lambda: open_azure_or_google(name, settings, profile_of(settings)),
        "az": lambda: open_azure_or_google(name, settings, profile_of(settings)),
        "file": lambda: _local(name, settings, profile_of(settings), is_used=is_used),
        "memory": lambda: _memory(settings, profile_of(settings)),
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
    name: str, settings: StoreSettings, *, session: Session | None = None
) -> S3Control | None:
    """Return the control plane alone, for checks before a run; None where the store is no S3."""
    if urlsplit(settings.url).scheme != "s3":
        return None
    return _s3(name, settings, None, session).control


def profile_of(settings: StoreSettings) -> StoreProfile:
    """Return what the store can do, by its name or its URL, with the user's corrections."""
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
    uploads: UploadLog | None,
    session: Session | None,
) -> Backend:
    from cloudmig.destinations.s3_opening import open_s3  # noqa: PLC0415 - it brings boto3

    return open_s3(name, settings, profile_of(settings), uploads, session)


def _local(name: str, settings: StoreSettings, profile: StoreProfile, *, is_used: bool) -> Backend:
    root = folder_of(settings.url)
    if not root.is_absolute():
        raise ConfigError("a file URL needs an absolute path", hint="file:///srv/images")
    try:
        if is_used:  # To make it would be to make it on the disk that its own is mounted over.
            root.stat()
        else:
            root.mkdir(parents=True, exist_ok=True)
        files = LocalFiles(root, is_used=is_used)
        return Backend(store=LocalStore(root), profile=profile, files=files)
    except OSError as error:
        raise DestinationUnavailable(
            f"destination {name}: its folder cannot be opened ({error.strerror})",
            hint="is its disk mounted, and may this user write there?",
        ) from error


def _memory(settings: StoreSettings, profile: StoreProfile) -> Backend:
    """Memory of this process: one URL is one store, as long as the process lives."""
    store = _MEMORY.setdefault(urlsplit(settings.url).netloc, MemoryStore())
    return Backend(store=store, profile=profile)
