"""Where an object store is and how to talk to it, whatever its kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from obstore.store import ClientConfig  # Exists for type checkers only.

__all__ = ["READ_TIMEOUT_S", "StoreSettings", "client_options"]

#: Of a download as a whole: silences in it have a limit of their own.
READ_TIMEOUT_S = 3600.0


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


def client_options(settings: StoreSettings, timeout_s: float) -> ClientConfig:
    """Return how obstore's HTTP client behaves; `timeout_s` is of one call as a whole."""
    options: ClientConfig = {
        "connect_timeout": timedelta(seconds=settings.connect_timeout_s),
        "timeout": timedelta(seconds=timeout_s),
        "read_timeout": timedelta(seconds=settings.timeout_s),
        "allow_http": bool(settings.endpoint and settings.endpoint.startswith("http://")),
    }
    if settings.ca_path:
        options["root_certificate"] = settings.ca_path.read_bytes()
    return options
