"""The catalog: what exists, what is planned, what happened (design sections 4 and 5)."""

from __future__ import annotations

from cloudmig.catalog.catalog import Catalog
from cloudmig.catalog.run_lock import run_lock
from cloudmig.catalog.thread import CatalogThread

__all__ = ["Catalog", "CatalogThread", "run_lock"]
