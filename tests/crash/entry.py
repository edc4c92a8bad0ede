"""`python -m cloudmig`, armed: dies at one point, and takes small objects for large ones.

CLOUDMIG_KILL='after put an object:3' python -m tests.crash.entry --config cloudmig.toml run
"""

from __future__ import annotations

import functools

from cloudmig.bootstrap import destinations, opening
from cloudmig.cli.main import run
from cloudmig.destinations.multipart import LargeObjects
from cloudmig.destinations.opening import open_object_store
from cloudmig.staging import StagingLimits
from tests.crash.points import arm

#: Past this an object of these tests is large: it spills into the spool and goes up in parts.
LARGE_BYTES = 256 << 10


def _shrink() -> None:
    """Make 256 KiB what 64 MiB are, so that a test can afford many large objects."""
    large_init = LargeObjects.__init__
    LargeObjects.__init__ = functools.partialmethod(  # type: ignore[method-assign]
        large_init, part_bytes_min=LARGE_BYTES
    )
    destinations.open_object_store = functools.partial(  # type: ignore[attr-defined]
        open_object_store, large_bytes_min=LARGE_BYTES
    )
    opening.StagingLimits = functools.partial(  # type: ignore[attr-defined,misc]
        StagingLimits, credit_bytes=LARGE_BYTES, memory_object_bytes_max=LARGE_BYTES
    )


if __name__ == "__main__":
    _shrink()
    arm()
    run()
