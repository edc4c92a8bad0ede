"""What stands between a client and a store, request by request, for faults to be put in between.

One request per connection, so that a broken one takes nothing else with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from dataclasses import dataclass, field
from urllib.parse import urlsplit

__all__ = ["Canned", "Relay", "read_body", "read_head"]

_HEAD_MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Canned:
    """An answer that the store never gave."""

    status: int
    code: str = ""

    def encode(self) -> bytes:
        """Return it as bytes."""
        body = f"<Error><Code>{self.code}</Code></Error>".encode() if self.code else b""
        kind = "Content-Type: application/xml\r\n" if body else ""
        return (
            f"HTTP/1.1 {self.status} Canned\r\n{kind}Content-Length: {len(body)}\r\n"
            "Connection: close\r\n\r\n"
        ).encode() + body


@dataclass
class Relay:
    """Listens on a port of its own and passes on to `upstream`, a URL."""

    upstream: str
    endpoint: str = field(default="", init=False)
    _server: asyncio.Server | None = field(default=None, init=False)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set, init=False)

    async def start(self) -> None:
        """Listen on a free port of the loopback interface."""
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", 0, limit=_HEAD_MAX_BYTES
        )
        self.endpoint = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Close the listener and every connection."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one request and write what the client is told."""
        raise NotImplementedError

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

    async def _forward(self, request_line: str, headers: dict[str, str], body: bytes) -> bytes:
        """Return the store's answer, and say in it that the connection ends here."""
        url = urlsplit(self.upstream)
        reader, writer = await asyncio.open_connection(url.hostname, url.port)
        lines = "".join(f"{name}: {text}\r\n" for name, text in headers.items())
        writer.write(f"{request_line}\r\n{lines}Connection: close\r\n\r\n".encode("latin-1") + body)
        try:
            return _with_close(await reader.read())
        finally:
            await _closed(writer)


async def read_head(reader: asyncio.StreamReader) -> tuple[str, dict[str, str]]:
    """Return the request line, and the headers with names in lower case, without Connection."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    request_line, *lines = head.rstrip().split("\r\n")
    pairs = (line.split(":", 1) for line in lines)
    headers = {name.strip().lower(): text.strip() for name, text in pairs}
    headers.pop("connection", None)
    return request_line, headers


async def read_body(
    headers: dict[str, str],
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    *,
    resets: bool,
) -> bytes | None:
    """Return the body; or None after half of it, when a TCP reset is to end the connection."""
    if headers.pop("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    length = int(headers.get("content-length", "0"))
    if not resets:
        return await reader.readexactly(length)
    await reader.readexactly(length // 2)
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    return None


def _with_close(answer: bytes) -> bytes:
    head, gap, body = answer.partition(b"\r\n\r\n")
    kept = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
    return b"\r\n".join([*kept, b"Connection: close"]) + gap + body


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
