"""Opens a DICOMweb store as a destination. The doctor uses its settings too."""

from __future__ import annotations

from cloudmig.bootstrap.credentials import access, credentials
from cloudmig.config import DestinationSettings, DicomWebSettings
from cloudmig.destinations.dicomweb import DicomWebDestination
from cloudmig.destinations.dicomweb_opening import WebSettings, open_dicomweb

__all__ = ["web_destination", "web_settings"]


def web_destination(name: str, settings: DestinationSettings, archive: str) -> DicomWebDestination:
    """Return the destination, unwrapped. Touches no network."""
    return open_dicomweb(name, web_settings(settings), archive=archive)


def web_settings(settings: DestinationSettings) -> WebSettings:
    """Return what opens a DICOMweb store."""
    web = settings.dicomweb or DicomWebSettings()
    return WebSettings(
        **access(settings),
        profile=web.profile,
        profile_path=web.profile_file,
        profile_overrides=web.profile_overrides,
        **credentials(web),
        connections_max=settings.concurrency,
        gather_s=web.gather_s,
        patience_s=settings.outage_max_s,
    )
