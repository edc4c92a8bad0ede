"""Opens a DICOMweb source. The doctor uses it too, so that it examines what a run uses."""

from __future__ import annotations

from collections.abc import Callable

from cloudmig.bootstrap.credentials import credentials
from cloudmig.config import WebSourceSettings
from cloudmig.destinations.dicomweb_opening import WebSettings, authorizer_of, ssl_context_of
from cloudmig.dicomweb import DicomWebClient, HttpLimits
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
    access = WebSettings(url=settings.url, ca_path=settings.ca, **credentials(settings.dicomweb))
    client = DicomWebClient(
        settings.url,
        authorizer=authorizer_of(access),
        ssl_context=ssl_context_of(f"source {name}", access),
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
