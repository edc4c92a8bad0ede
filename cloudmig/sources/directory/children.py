"""Child processes that read files for us: begun, heard to be ready, ended whatever they do."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

__all__ = ["begun", "ended"]


async def begun(
    command: Sequence[str],
    *,
    ready: bytes,
    start_max_s: float,
    line_bytes_max: int,
    pass_fds: Sequence[int] = (),
) -> asyncio.subprocess.Process | None:
    """Return a process whose first line was `ready`; None where it said something else, or nothing.

    Raises OSError where no process can be had.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        pass_fds=pass_fds,
        limit=line_bytes_max,
    )
    assert process.stdout is not None
    is_ready = False
    try:
        async with asyncio.timeout(start_max_s):
            is_ready = await process.stdout.readline() == ready
    except (TimeoutError, ValueError):
        pass  # Silent, or talking without an end: not ready.
    finally:
        if not is_ready and process.returncode is None:
            process.kill()
    return process if is_ready else None


async def ended(process: asyncio.subprocess.Process, *, wait_max_s: float) -> None:
    """Kill a process. One that waits for a disk dies when the disk answers; nobody waits for it."""
    if process.returncode is None:
        process.kill()
    try:
        async with asyncio.timeout(wait_max_s):
            await process.wait()
    except TimeoutError:
        return
