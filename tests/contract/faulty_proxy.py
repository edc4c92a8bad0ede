"""A raw TCP proxy before a store that breaks single requests on purpose.

Each request takes the next fault of the script; when the script is empty, everything passes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum, auto

from tests.contract.relay import Canned, Relay, read_body, read_head

__all__ = ["Fault", "FaultyProxy", "Seen"]


class Fault(Enum):
    """What happens to one request."""

    PASS = auto()
    CUT_BEFORE_COMMIT = auto()  #: The request is read, never forwarded, the connection closed.
    CUT_AFTER_COMMIT = auto()  #: Forwarded and answered; the answer is lost.
    HANG_BEFORE_COMMIT = auto()
    HANG_AFTER_COMMIT = auto()
    RESET_IN_BODY = auto()  #: Half of the body is read, then a TCP reset.
    TRUNCATED_ANSWER = auto()
    CORRUPTED_ANSWER = auto()  #: The last byte of the answer's body is flipped.


@dataclass(frozen=True)
class Seen:
    """A request that reached the proxy."""

    method: str
    target: str
    body_bytes: int
    headers: dict[str, str]


@dataclass
class FaultyProxy(Relay):
    """Runs in the test's own loop."""

    script: list[Fault | Canned] = field(default_factory=list)
    only: str = ""  #: Only requests whose `METHOD target` contains this take from the script.
    #: Runs once, before a request whose `METHOD target` contains `meanwhile_at` is forwarded.
    meanwhile: Callable[[], Awaitable[object]] | None = None
    meanwhile_at: str = ""
    seen: list[Seen] = field(default_factory=list)
    hanging: asyncio.Event = field(default_factory=asyncio.Event)  #: Set once a request hangs.

    @asynccontextmanager
    async def running(self) -> AsyncIterator[FaultyProxy]:
        await self.start()
        try:
            yield self
        finally:
            await self.stop()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request_line, headers = await read_head(reader)
        method, target, _ = request_line.split(" ")
        fault: Fault | Canned = Fault.PASS
        if self.script and self.only in f"{method} {target}":
            fault = self.script.pop(0)
        body = await read_body(headers, reader, writer, resets=fault is Fault.RESET_IN_BODY)
        if body is None:
            return
        self.seen.append(Seen(method, target, len(body), headers))
        writer.write(await self._answer(fault, request_line, headers, body, reader))
        await writer.drain()

    async def _answer(
        self,
        fault: Fault | Canned,
        request_line: str,
        headers: dict[str, str],
        body: bytes,
        reader: asyncio.StreamReader,
    ) -> bytes:
        """Return what the client is told; nothing means that the connection is closed."""
        if isinstance(fault, Canned):
            return fault.encode()
        if fault is Fault.HANG_BEFORE_COMMIT:
            await self._hang(reader)
        if fault in {Fault.CUT_BEFORE_COMMIT, Fault.HANG_BEFORE_COMMIT}:
            return b""
        if self.meanwhile is not None and self.meanwhile_at in request_line:
            meanwhile, self.meanwhile = self.meanwhile, None
            await meanwhile()
        answer = await self._forward(request_line, headers, body)
        if fault is Fault.HANG_AFTER_COMMIT:
            await self._hang(reader)
        if fault in {Fault.CUT_AFTER_COMMIT, Fault.HANG_AFTER_COMMIT}:
            return b""
        if fault is Fault.TRUNCATED_ANSWER:
            return answer[:-5]
        if fault is Fault.CORRUPTED_ANSWER:
            return answer[:-1] + bytes([answer[-1] ^ 0xFF])
        return answer

    async def _hang(self, reader: asyncio.StreamReader) -> None:
        self.hanging.set()
        await reader.read()  # Until the client gives up.
