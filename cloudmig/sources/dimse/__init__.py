"""A PACS that speaks DIMSE: query, C-MOVE into our storage SCP, or C-GET."""

from cloudmig.sources.dimse.desk import ArrivalDesk
from cloudmig.sources.dimse.scp import AllowedPeer, StoragePolicy, Stranger
from cloudmig.sources.dimse.source import DimseSource, DimseSourceSettings

__all__ = [
    "AllowedPeer", "ArrivalDesk", "DimseSource", "DimseSourceSettings", "StoragePolicy", "Stranger",
]  # fmt: skip
