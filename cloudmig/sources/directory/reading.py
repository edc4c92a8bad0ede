"""Headers are read by worker processes with limits: no file stops or fells the inventory.

Files go to a worker a batch at a time and are answered one by one, in order. A worker that dies or
falls silent was at the first file that it has not answered: that one is listed as too costly, the
rest of its batch goes to the worker's successor.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloudmig.errors import SourceUnavailable
from cloudmig.model.files import FileKind
from cloudmig.own_modules import module_command
from cloudmig.sources.directory.children import begun, ended
from cloudmig.sources.directory.header_worker import READY

__all__ = ["HeaderLimits", "HeaderWorker", "worker_command"]

_LINE_BYTES_MAX = 1 << 20
_START_MAX_S = 60.0
_END_MAX_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderLimits:
    """What one file may cost."""

    memory_bytes_max: int = 1 << 30
    time_max_s: float = 20.0
    header_bytes_max: int = 256 << 20  #: Looked at, at most, before the UIDs have been found.


#: How long after its time a worker may stay silent: it may wait for a disk that does not answer.
_SILENCE_S = 10.0


def worker_command(root: Path, limits: HeaderLimits) -> list[str]:
    """Return the command line of a worker."""
    return module_command(
        "cloudmig.sources.directory.header_worker",
        str(root),
        str(limits.memory_bytes_max),
        str(limits.time_max_s),
        str(limits.header_bytes_max),
    )


class HeaderWorker:
    """One worker process, and its successors."""

    def __init__(self, command: Sequence[str], *, time_max_s: float) -> None:
        self._command = command
        self._silence_max_s = time_max_s + _SILENCE_S
        self._process: asyncio.subprocess.Process | None = None
        self.deaths = 0

    async def read(
        self, files: Sequence[tuple[int, bytes]]
    ) -> AsyncGenerator[tuple[int, list[Any]], None]:
        """Yield the number and the answer of every file, in their order."""
        left = list(files)
        while left:
            process = await self._started()
            assert process.stdin is not None
            text = "".join(json.dumps(path.decode("latin-1")) + "\n" for _, path in left)
            sending = asyncio.create_task(_send(process.stdin, text.encode("ascii")))
            try:
                while left:
                    answer = await self._answer(process)
                    if answer is None:
                        break
                    yield left.pop(0)[0], answer
            finally:
                sending.cancel()
            if left:
                await self.stop()
                self.deaths += 1
                yield left.pop(0)[0], [FileKind.TOO_COSTLY.value, -1, -1, *[""] * 8]

    async def _started(self) -> asyncio.subprocess.Process:
        if self._process is not None and self._process.returncode is None:
            return self._process
        self._process = await begun(
            self._command, ready=READY, start_max_s=_START_MAX_S, line_bytes_max=_LINE_BYTES_MAX
        )
        if self._process is None:
            raise SourceUnavailable(
                "the worker that reads headers does not start",
                hint="look at the folder of the source, and at the limits on processes and memory",
            )
        return self._process

    async def _answer(self, process: asyncio.subprocess.Process) -> Any:  # noqa: ANN401 - JSON
        """Return the next answer; None when the worker is dead or silent."""
        assert process.stdout is not None
        try:
            async with asyncio.timeout(self._silence_max_s):
                line = await process.stdout.readline()
            return json.loads(line) if line.endswith(b"\n") else None
        except (TimeoutError, ValueError):
            return None

    async def stop(self) -> None:
        """End the process, whatever it is doing."""
        process, self._process = self._process, None
        if process is not None:
            await ended(process, wait_max_s=_END_MAX_S)


async def _send(pipe: asyncio.StreamWriter, text: bytes) -> None:
    try:
        pipe.write(text)
        await pipe.drain()
    except (BrokenPipeError, ConnectionResetError):
        return  # It died: its silence says so.
