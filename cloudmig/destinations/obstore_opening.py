"""Open a bucket at Google or a container at Azure: obstore does everything there.

An object is one PUT there, and obstore's clients see no silence while they send: they know how long
a call may take as a whole. So each size has a client of its own, with `timeout_s` for each 64 MiB.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from obstore.store import AzureStore, GCSStore

from cloudmig.destinations.object_store import Backend
from cloudmig.destinations.obstore_errors import OBSTORE_ERRORS
from cloudmig.destinations.profiles import StoreProfile
from cloudmig.destinations.store_settings import READ_TIMEOUT_S, StoreSettings, client_options
from cloudmig.errors import ConfigError

__all__ = ["open_azure_or_google"]

_TIMED_BYTES = 64 << 20  #: What `timeout_s` is for: 1.1 MB/s with its default.
#: What each needs before it can be asked at all. obstore's own words may quote a key.
_NEEDED = {
    "az": "set access_key_id and secret_access_key to the name and a key of the storage account,"
    " or AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY in the environment",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS to the key file of a service account",
}


def open_azure_or_google(name: str, settings: StoreSettings, profile: StoreProfile) -> Backend:
    """Return the store; what the settings leave out comes from its own environment variables."""
    kind, config = _kind(settings)

    def store(timeout_s: float, *, times: int = 1) -> GCSStore | AzureStore:
        patient = replace(settings, timeout_s=settings.timeout_s * times)
        return kind.from_url(
            settings.url,
            client_options=client_options(patient, timeout_s * times),
            retry_config={"max_retries": 0},
            **config,
        )

    @cache
    def sending(doublings: int) -> GCSStore | AzureStore:
        return store(settings.timeout_s, times=1 << doublings)

    try:
        return Backend(
            store=sending(0),
            reading=store(READ_TIMEOUT_S),
            sending=lambda size_bytes: sending(_doublings(size_bytes)),
            profile=profile,
        )
    except OBSTORE_ERRORS as error:
        scheme = urlsplit(settings.url).scheme
        raise ConfigError(
            f"destination {name}: its credentials are missing or cannot be read",
            hint=_NEEDED[scheme],
        ) from error


def _doublings(size_bytes: int) -> int:
    """Return how often the time for 64 MiB is doubled: few clients, each with its connections."""
    return (max(size_bytes - 1, 0) // _TIMED_BYTES).bit_length()


def _kind(settings: StoreSettings) -> tuple[type[GCSStore | AzureStore], dict[str, Any]]:
    if urlsplit(settings.url).scheme == "gs":
        return GCSStore, {"base_url": settings.endpoint} if settings.endpoint else {}
    config = {
        "endpoint": settings.endpoint,
        "account_name": settings.access_key_id,
        "account_key": settings.secret_access_key,
    }
    return AzureStore, {name: text for name, text in config.items() if text}
