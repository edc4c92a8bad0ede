"""One `cloudmig run` per SQLite catalog, kept apart by a lock on a file beside it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cloudmig.errors import CatalogError

__all__ = ["run_lock"]


@contextmanager
def run_lock(path: Path) -> Iterator[None]:
    """Hold the right to work on the catalog at `path`, or say that another run has it.

    The kernel gives the lock back when the process ends, however it ends. Does not hold across
    hosts on network disks: several agents use PostgreSQL.
    """
    lock = path.with_name(path.name + ".run")
    try:
        descriptor = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CatalogError(
            f"the lock of the catalog cannot be opened: {error.strerror}",
            hint="check that state_dir exists and that cloudmig may write to it",
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CatalogError(
                "another cloudmig run works on this catalog",
                hint="stop it first; several agents at once need a PostgreSQL catalog",
            ) from error
        yield
    finally:
        os.close(descriptor)
