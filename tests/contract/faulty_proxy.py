"""A raw TCP proxy before a store that breaks single requests on purpose.

Each request takes the next fault of the script; when the script is empty, everything passes.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from urllib.parse import urlsplit

__all__ = ["Answer", "Fault", "FaultyProxy", "Seen"]


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
class Answer:
    """A canned answer that the store never gave."""

    status: int
    code: str = ""

    def encode(self) -> bytes:
        body = f"<Error><Code>{self.code}</Code></Error>".encode() if self.code else b""
        head = f"HTTP/1.1 {self.status} Canned\r\nContent-Length: {len(body)}\r\n"
        return f"{head}Connection: close\r\n\r\n".encode() + body


@dataclass(frozen=True)
class Seen:
    """A request that reached the proxy."""

    method: str
    target: str
    body_bytes: int
    headers: dict[str, str]


@dataclass
class FaultyProxy:
    """Runs in the test's own loop."""

    upstream: str
    script: list[Fault | Answer] = field(default_factory=list)
    only: str = ""  #: Only requests whose `METHOD target` contains this take from the script.
    #: Runs once, before a request whose `METHOD target` contains `meanwhile_at` is forwarded.
    meanwhile: Callable[[], Awaitable[object]] | None = None
    meanwhile_at: str = ""
    seen: list[Seen] = field(default_factory=list)
    endpoint: str = ""
    hanging: asyncio.Event = field(default_factory=asyncio.Event)  #: Set once a request hangs.

    @asynccontextmanager
    async def running(self) -> AsyncIterator[FaultyProxy]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 20)
        self.endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._one(reader, writer)
        finally:
            self._tasks.discard(task)
            await _closed(writer)

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        request_line, *lines = head.rstrip().split("\r\n")
        method, target, _ = request_line.split(" ")
        headers = {name.lower(): text for name, text in (line.split(": ", 1) for line in lines)}
        length = int(headers.get("content-length", "0"))
        fault: Fault | Answer = Fault.PASS
        if self.script and self.only in f"{method} {target}":
            fault = self.script.pop(0)
        if headers.pop("expect", "") == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if fault is Fault.RESET_IN_BODY:
            await reader.readexactly(length // 2)
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            return
        body = await reader.readexactly(length)
        self.seen.append(Seen(method, target, length, headers))
        writer.write(await self._answer(fault, request_line, headers, body, reader))
        await writer.drain()

    async def _answer(
        self,
        fault: Fault | Answer,
        request_line: str,
        headers: dict[str, str],
        body: bytes,
        reader: asyncio.StreamReader,
    ) -> bytes:
        """Return what the client is told; nothing means that the connection is closed."""
        if isinstance(fault, Answer):
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

    async def _forward(self, request_line: str, headers: dict[str, str], body: bytes) -> bytes:
        url = urlsplit(self.upstream)
        reader, writer = await asyncio.open_connection(url.hostname, url.port)
        lines = "".join(
            f"{name}: {text}\r\n" for name, text in headers.items() if name != "connection"
        )
        writer.write(f"{request_line}\r\n{lines}Connection: close\r\n\r\n".encode("latin-1") + body)
        try:
            return await reader.read()
        finally:
            await _closed(writer)


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
