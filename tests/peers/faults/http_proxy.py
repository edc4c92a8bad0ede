"""A proxy before an object store that breaks single HTTP requests or their answers.

One request per connection, so that a broken one takes nothing else with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from urllib.parse import unquote, urlsplit

__all__ = ["Canned", "HttpProxy", "HttpRequest", "Way"]

_HEAD_MAX_BYTES = 1 << 20


class Way(Enum):
    """What happens to one request."""

    PASS = auto()
    HANG_BEFORE = auto()  #: It never reaches the store, and no answer comes.
    HANG_AFTER = auto()  #: The store does it; the answer never comes.
    RESET_IN_BODY = auto()  #: Half of the body is read, then a TCP reset.
    DAMAGE_BODY = auto()  #: One byte in the middle of the body is another when it arrives.
    TRUNCATE_ANSWER = auto()  #: The second half of the answer's body is cut off.
    CORRUPT_ANSWER = auto()  #: One byte in the middle of the answer's body is another.
    CLOSE = auto()  #: The connection ends without an answer; the store does nothing.


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


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What a fault may look at."""

    method: str
    key: str  #: Of the object, without the bucket; empty for the bucket itself.


Decide = Callable[[HttpRequest], Way | Canned]


@dataclass(slots=True)
class HttpProxy:
    """Listens on a port of its own and passes on to `upstream`, a URL."""

    upstream: str
    decide: Decide
    endpoint: str = ""
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

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

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._one(reader, writer)
        finally:
            self._tasks.discard(task)
            await _close(writer)

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        request, headers = _read_head(head)
        length = int(headers.get("content-length", "0"))
        way = self.decide(request)
        if headers.pop("expect", "").lower() == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if way is Way.RESET_IN_BODY:
            await reader.readexactly(length // 2)
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            return
        body = await reader.readexactly(length)
        if isinstance(way, Canned):
            writer.write(way.encode())
        elif way is Way.HANG_BEFORE:
            await reader.read()  # Until the client gives up.
        elif way is not Way.CLOSE:
            if way is Way.DAMAGE_BODY:
                body = _with_other_byte(body, len(body) // 2)
            answer = await self._forward(head.split(b"\r\n", 1)[0], headers, body)
            if way is Way.HANG_AFTER:
                await reader.read()
                return
            writer.write(_as_faulty(answer, way))
        await writer.drain()

    async def _forward(self, request_line: bytes, headers: dict[str, str], body: bytes) -> bytes:
        url = urlsplit(self.upstream)
        reader, writer = await asyncio.open_connection(url.hostname, url.port)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(request_line + f"\r\n{lines}Connection: close\r\n\r\n".encode("latin-1"))
        writer.write(body)
        try:
            return _with_close(await reader.read())
        finally:
            await _close(writer)


def _read_head(head: bytes) -> tuple[HttpRequest, dict[str, str]]:
    request_line, *lines = head.decode("latin-1").rstrip().split("\r\n")
    method, target, _ = request_line.split(" ")
    pairs = (line.split(":", 1) for line in lines)
    headers = {name.strip().lower(): value.strip() for name, value in pairs}
    headers.pop("connection", None)
    path = unquote(urlsplit(target).path).lstrip("/")
    return HttpRequest(method, path.partition("/")[2]), headers


def _with_close(answer: bytes) -> bytes:
    """Tell the client that its connection ends here, whatever the store said."""
    head, gap, body = answer.partition(b"\r\n\r\n")
    kept = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
    return b"\r\n".join([*kept, b"Connection: close"]) + gap + body


def _as_faulty(answer: bytes, way: Way) -> bytes:
    begins = answer.find(b"\r\n\r\n") + 4
    middle = begins + (len(answer) - begins) // 2
    if way is Way.TRUNCATE_ANSWER:
        return answer[:middle]
    if way is Way.CORRUPT_ANSWER and middle < len(answer):
        return _with_other_byte(answer, middle)
    return answer


def _with_other_byte(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 0x5A]) + content[place + 1 :]


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
