"""`cloudmig.toml` as checked, frozen models; every mistake is named at once."""

from __future__ import annotations

from cloudmig.config.dicomweb import DicomWebSettings, WebCredentials
from cloudmig.config.loading import Configuration, load, parse
from cloudmig.config.rules import Rule
from cloudmig.config.settings import (
    AgentSettings,
    DestinationSettings,
    HealthSettings,
    ListenSettings,
)
from cloudmig.config.sla import SlaSettings, SlaTierSettings
from cloudmig.config.sources import (
    DirectorySettings,
    PacsSettings,
    PeerSettings,
    SourceSettings,
    TlsSettings,
    WebSourceSettings,
)

__all__ = [
    "AgentSettings", "Configuration", "DestinationSettings", "DicomWebSettings",
    "DirectorySettings", "HealthSettings", "ListenSettings", "PacsSettings", "PeerSettings", "Rule",
    "SlaSettings", "SlaTierSettings", "SourceSettings", "TlsSettings", "WebCredentials",
    "WebSourceSettings", "load", "parse",
]  # fmt: skip
