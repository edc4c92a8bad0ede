"""Who we are towards a DICOMweb server, be it a source or a destination."""

from __future__ import annotations

from typing import Any

from pydantic import SecretStr

from cloudmig.config import WebCredentials

__all__ = ["credentials", "plain"]


def credentials(who: WebCredentials) -> dict[str, Any]:
    """Return the credentials as arguments of `WebSettings`."""
    return {
        "username": who.username,
        "password": plain(who.password),
        "token": plain(who.token),
        "token_url": who.token_url,
        "client_id": who.client_id,
        "client_secret": plain(who.client_secret),
        "scope": who.scope,
        "audience": who.audience,
        "secret_in_form": who.secret_in_form,
        "sigv4_service": who.sigv4_service,
        "certificate_path": who.certificate,
        "key_path": who.key,
    }


def plain(secret: SecretStr | None) -> str | None:
    """Return what a secret holds. Never print it."""
    return None if secret is None else secret.get_secret_value()
