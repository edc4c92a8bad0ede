"""Puts an agent together: the only package that names concrete sources and destinations."""

from cloudmig.bootstrap.copies import open_origin
from cloudmig.bootstrap.destinations import open_store_client, store_settings, web_settings
from cloudmig.bootstrap.opening import open_agent, open_catalog_only, open_copies
from cloudmig.pipeline.parts import Parts

__all__ = [
    "Parts", "open_agent", "open_catalog_only", "open_copies", "open_origin", "open_store_client",
    "store_settings", "web_settings",
]  # fmt: skip
