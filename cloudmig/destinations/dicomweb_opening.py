"""Build a DICOMweb destination from plain settings."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cloudmig.config.certificates import usable_certificates
from cloudmig.destinations.dicomweb import DicomWebDestination
from cloudmig.destinations.dicomweb_profiles import dicomweb_profile
from cloudmig.dicomweb import (
    Authorizer,
    BasicAuthorizer,
    BearerAuthorizer,
    ClientCredentials,
    DicomWebClient,
    HttpLimits,
    TokenSettings,
    tls_context,
)

__all__ = ["WebSettings", "authorizer_of", "open_dicomweb", "ssl_context_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSettings:
    """Where a DICOMweb store is and how to talk to it, checked by its reader."""

    url: str
    profile: str = "plain"
    profile_path: Path | None = None
    profile_overrides: Mapping[str, Any] = field(default_factory=dict)
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    token_url: str | None = None
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    scope: str = ""
    audience: str = ""
    secret_in_form: bool = False
    sigv4_service: str | None = None  #: Sign for this service of AWS.
    region: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    ca_path: Path | None = None
    certificate_path: Path | None = None
    key_path: Path | None = None
    connect_timeout_s: float = 10.0
    timeout_s: float = 120.0  #: Of a silence while sending, waiting or reading.
    connections_max: int = 16
    gather_s: float = 0.03
    patience_s: float = 3600.0


def open_dicomweb(name: str, settings: WebSettings, *, archive: str) -> DicomWebDestination:
    """Return the destination, unwrapped. Touches no network."""
    profile = dicomweb_profile(
        settings.profile, settings.profile_overrides, extra=settings.profile_path
    )
    client = DicomWebClient(
        settings.url,
        authorizer=authorizer_of(settings),
        ssl_context=ssl_context_of(f"destination {name}", settings),
        limits=HttpLimits(
            connect_max_s=settings.connect_timeout_s,
            silence_max_s=settings.timeout_s,
            connections_max=settings.connections_max,
            keepalive_s=profile.keepalive_s,
        ),
    )
    return DicomWebDestination(
        name,
        client,
        profile,
        archive=archive,
        gather_s=settings.gather_s,
        patience_s=settings.patience_s,
    )


def authorizer_of(settings: WebSettings) -> Authorizer | None:
    """Return who we are towards a DICOMweb server; None where nobody asks."""
    if settings.username is not None:
        return BasicAuthorizer(settings.username, settings.password or "")
    if settings.token is not None:
        return BearerAuthorizer(settings.token)
    if settings.sigv4_service is not None:
        from cloudmig.destinations.sigv4 import sigv4_authorizer  # noqa: PLC0415 - it brings boto3

        return sigv4_authorizer(
            settings.sigv4_service,
            region=settings.region,
            access_key_id=settings.access_key_id,
            secret_access_key=settings.secret_access_key,
            session_token=settings.session_token,
        )
    if settings.token_url is None:
        return None
    return ClientCredentials(
        TokenSettings(
            token_url=settings.token_url,
            client_id=settings.client_id or "",
            client_secret=settings.client_secret or "",
            scope=settings.scope,
            audience=settings.audience,
            style="form" if settings.secret_in_form else "basic",
        )
    )


def ssl_context_of(whose: str, settings: WebSettings) -> ssl.SSLContext | None:
    """Return what TLS is spoken with; None where neither address nor certificate asks for it."""
    if urlsplit(settings.url).scheme != "https" and settings.certificate_path is None:
        return None
    with usable_certificates(whose):
        return tls_context(settings.ca_path, settings.certificate_path, settings.key_path)
