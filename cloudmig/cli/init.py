"""`cloudmig init`."""

from __future__ import annotations

import typer


def init(context: typer.Context) -> None:
    """X."""
