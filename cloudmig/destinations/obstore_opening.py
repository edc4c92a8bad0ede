"""Open a bucket at Google or a container at Azure: obstore does everything there."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from obstore.store import AzureStore, GCSStore

from cloudmig.destinations.object_store import Backend
from cloudmig.destinations.obstore_errors import OBSTORE_ERRORS
from cloudmig.destinations.profiles import StoreProfile
from cloudmig.destinations.store_settings import READ_TIMEOUT_S, StoreSettings, client_options
from cloudmig.errors import ConfigError

__all__ = ["open_azure_or_google"]

#: What each needs before it can be asked at all. obstore's own words may quote a key.
_NEEDED = {
    "az": "set access_key_id and secret_access_key to the name and a key of the storage account,"
    " or AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY in the environment",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS to the key file of a service account",
}


def open_azure_or_google(name: str, settings: StoreSettings, profile: StoreProfile) -> Backend:
    """Return the store; what the settings leave out comes from its own environment variables."""
    kind, config = _kind(settings)

    def store(timeout_s: float) -> GCSStore | AzureStore:
        return kind.from_url(
            settings.url,
            client_options=client_options(settings, timeout_s),
            retry_config={"max_retries": 0},
            **config,
        )

    try:
        return Backend(
            store=store(settings.timeout_s), reading=store(READ_TIMEOUT_S), profile=profile
        )
    except OBSTORE_ERRORS as error:
        scheme = urlsplit(settings.url).scheme
        raise ConfigError(
            f"destination {name}: its credentials are missing or cannot be read",
            hint=_NEEDED[scheme],
        ) from error


def _kind(settings: StoreSettings) -> tuple[type[GCSStore | AzureStore], dict[str, Any]]:
    if urlsplit(settings.url).scheme == "gs":
        return GCSStore, {"base_url": settings.endpoint} if settings.endpoint else {}
    config = {
        "endpoint": settings.endpoint,
        "account_name": settings.access_key_id,
        "account_key": settings.secret_access_key,
    }
    return AzureStore, {name: text for name, text in config.items() if text}
