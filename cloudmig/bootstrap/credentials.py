"""Who we are towards a DICOMweb server or a store, and how it is reached."""

from __future__ import annotations

from typing import Any

from pydantic import SecretStr

from cloudmig.config import DestinationSettings, WebCredentials

__all__ = ["access", "credentials"]


def credentials(who: WebCredentials) -> dict[str, Any]:
    """Return the credentials as arguments of `WebSettings`."""
    return {
        "username": who.username,
        "password": _plain(who.password),
        "token": _plain(who.token),
        "token_url": who.token_url,
        "client_id": who.client_id,
        "client_secret": _plain(who.client_secret),
        "scope": who.scope,
        "audience": who.audience,
        "secret_in_form": who.secret_in_form,
        "sigv4_service": who.sigv4_service,
        "certificate_path": who.certificate,
        "key_path": who.key,
    }


def _plain(secret: SecretStr | None) -> str | None:
    """Return what a secret holds. Never print it."""
    return None if secret is None else secret.get_secret_value()


def access(settings: DestinationSettings) -> dict[str, Any]:
    """Return what every store is reached with, as arguments of its settings."""
    return {
        "url": settings.url,
        "region": settings.region,
        "access_key_id": _plain(settings.access_key_id),
        "secret_access_key": _plain(settings.secret_access_key),
        "session_token": _plain(settings.session_token),
        "ca_path": settings.ca,
        "connect_timeout_s": settings.connect_s,
        "timeout_s": settings.timeout_s,
    }
