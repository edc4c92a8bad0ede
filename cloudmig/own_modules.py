"""How a module of ours is run in a process of its own."""

from __future__ import annotations

import os
import sys

__all__ = ["module_command"]


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command line that runs a module with this Python, found where we were found.

    `-m` alone looks into the current folder first. That may be the export that is read: a
    `json.py` there would be run. Where we look there ourselves, so does the child.
    """
    looks_here = os.getcwd() in sys.path or "" in sys.path  # noqa: PTH109 - compared as text
    return [sys.executable, *([] if looks_here else ["-P"]), "-m", module, *arguments]
