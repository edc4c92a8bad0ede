"""Folders that are not there yet, or are another user's."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["OWNER_HINT", "nearest_folder"]

#: Where a folder of state_dir lets nobody else in: it is the user's of the service, say.
OWNER_HINT = "Run cloudmig as the user that state_dir belongs to."


def nearest_folder(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that can be seen. Raises nothing."""
    while not os.path.exists(folder) and folder != folder.parent:  # noqa: PTH110 - Path's raises
        folder = folder.parent
    return folder
