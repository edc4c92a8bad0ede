"""`cloudmig.toml` as checked, frozen models; every mistake is named at once."""

from __future__ import annotations

from cloudmig.config.dicomweb import DicomWebSettings
from cloudmig.config.loading import Configuration, load, parse
from cloudmig.config.rules import Rule
from cloudmig.config.settings import (
    AgentSettings,
    DestinationSettings,
    ListenSettings,
    PeerSettings,
    SourceSettings,
    TlsSettings,
)
from cloudmig.config.sla import SlaSettings, SlaTierSettings

__all__ = [
    "AgentSettings", "Configuration", "DestinationSettings", "DicomWebSettings", "ListenSettings",
    "PeerSettings", "Rule", "SlaSettings", "SlaTierSettings", "SourceSettings", "TlsSettings",
    "load", "parse",
]  # fmt: skip
