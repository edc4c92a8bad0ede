"""`cloudmig.toml` as checked, frozen models; every mistake is named at once."""

from __future__ import annotations

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

__all__ = [
    "AgentSettings", "Configuration", "DestinationSettings", "ListenSettings", "PeerSettings",
    "Rule", "SourceSettings", "TlsSettings", "load", "parse",
]  # fmt: skip
