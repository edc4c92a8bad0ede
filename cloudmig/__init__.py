"""Moves medical images out of a legacy PACS into object storage, complete and proven."""

__version__ = "0.1.0"
