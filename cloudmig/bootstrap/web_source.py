"""Opens a DICOMweb source. The doctor uses it too, so that it examines what a run uses."""

from __future__ import annotations

import ssl
import urllib.parse
from collections.abc import Callable

from pydantic import SecretStr

from cloudmig.config import WebSourceSettings
from cloudmig.destinations.dicomweb_opening import WebSettings, authorizer_of
from cloudmig.dicomweb import DicomWebClient, HttpLimits, tls_context
from cloudmig.errors import ConfigError
from cloudmig.sources.dicomweb import WebSource, WebSourceOptions
from cloudmig.staging import StagingArea

__all__ = ["web_source"]


def web_source(
    name: str,
    settings: WebSourceSettings,
    area: StagingArea,
    *,
    object_bytes_max: int,
    patient_key: Callable[[str, str], str],
) -> WebSource:
    """Return the source. Touches no network."""
    who = settings.dicomweb
    access = WebSettings(
        url=settings.url,
        username=who.username,
        password=_plain(who.password),
        token=_plain(who.token),
        token_url=who.token_url,
        client_id=who.client_id,
        client_secret=_plain(who.client_secret),
        scope=who.scope,
        audience=who.audience,
        secret_in_form=who.secret_in_form,
        sigv4_service=who.sigv4_service,
    )
    client = DicomWebClient(
        settings.url,
        authorizer=authorizer_of(access),
        ssl_context=_context(name, settings),
        limits=HttpLimits(
            connect_max_s=settings.connect_s,
            silence_max_s=settings.idle_s,
            total_max_s=settings.total_s,
            connections_max=settings.lanes,
        ),
    )
    options = WebSourceOptions(
        name=name,
        lanes=settings.lanes,
        object_bytes_max=object_bytes_max,
        page_rows=settings.page_rows,
        find_limit=settings.find_limit,
        as_stored=settings.as_stored,
    )
    return WebSource(options, client, area, patient_key=patient_key)


def _context(name: str, settings: WebSourceSettings) -> ssl.SSLContext | None:
    who = settings.dicomweb
    if urllib.parse.urlsplit(settings.url).scheme != "https" and who.certificate is None:
        return None
    try:
        return tls_context(settings.ca, who.certificate, who.key)
    except OSError as error:
        raise ConfigError(
            f"source {name}: certificate, key or ca cannot be used: {type(error).__name__}",
            hint="they are PEM files that the agent may read; the key has no password",
        ) from error


def _plain(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
