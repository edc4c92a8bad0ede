"""Sends one body by HTTP/1.1 PUT over kept connections, without copying or hashing it.

Not an HTTP client: no redirects, no cookies, no proxies, no upload without a length. It exists
because a PUT is half of what an instance costs; docs/adr/0008 has the figures. httptools reads the
answers. RFC 9110 is cited as [section].
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httptools

__all__ = ["HttpAnswer", "HttpPutClient"]

_ANSWER_BYTES_MAX = 64 << 10  #: Of a body; an error document of S3 has some hundred bytes.
_HEAD_BYTES_MAX = 64 << 10
#: Stores close what is idle for 5 s and more; what we close first can never race with that.
_IDLE_MAX_S = 4.0
#: TLS takes at once whatever it is given, as a second copy that no buffer size tells of.
_TLS_PIECE_BYTES = 256 << 10


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An answer that came completely."""

    status: int
    headers: Mapping[str, str]  #: Names in lower case.
    body: bytes


class HttpPutClient:
    """Keeps connections to one host. How many are in use is bounded by who calls."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        ssl_context: ssl.SSLContext | None,
        connect_timeout_s: float,
        timeout_s: float,
    ) -> None:
        self._host = host
        self._port = port
        self._ssl_context = ssl_context
        self._connect_timeout_s = connect_timeout_s
        self._timeout_s = timeout_s
        self._idle: deque[_Exchange] = deque()

    async def put(self, target: str, headers: Mapping[str, str], body: Any) -> HttpAnswer:  # noqa: ANN401 - a buffer
        """Send one request. Raises OSError (with it TimeoutError and ssl's) and nothing else.

        `headers` are complete but for Content-Length, and hold no line breaks.
        """
        lines = [f"PUT {target} HTTP/1.1", *(f"{name}: {text}" for name, text in headers.items())]
        head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode("latin-1")
        exchange = await self._connected()
        try:
            answer = await exchange.run(head, body, silence_max_s=self._timeout_s)
        except BaseException:
            exchange.cut()
            raise
        if exchange.may_be_kept:
            exchange.idle_since_s = exchange.loop.time()
            self._idle.append(exchange)
        else:
            exchange.cut()
        return answer

    async def _connected(self) -> _Exchange:
        while self._idle:
            kept = self._idle.pop()
            if kept.may_be_kept and kept.loop.time() - kept.idle_since_s < _IDLE_MAX_S:
                return kept
            kept.cut()  # Whatever lies below it is older still, and goes when it is met.
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._connect_timeout_s):
            _, exchange = await loop.create_connection(
                lambda: _Exchange(loop),
                self._host,
                self._port,
                ssl=self._ssl_context,
                server_hostname=self._host if self._ssl_context is not None else None,
            )
        return exchange

    def close(self) -> None:
        """Drop every idle connection."""
        while self._idle:
            self._idle.pop().cut()


class _Exchange(asyncio.Protocol):
    """One connection: one request at a time, and its answer."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.idle_since_s = 0.0
        self._transport: asyncio.Transport | None = None
        self._answered: asyncio.Future[HttpAnswer] | None = None
        self._parser: Any = None
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self._head_bytes = 0
        self._is_head_over = False
        self._keeps_alive = False
        self._rest = memoryview(b"")  #: Of the body: what the transport was not given yet.
        self._is_write_full = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def may_be_kept(self) -> bool:
        """Say whether the last exchange ended cleanly and the connection is still there."""
        transport = self._transport
        return (
            self._keeps_alive
            and transport is not None
            and not transport.is_closing()
            and transport.get_write_buffer_size() == 0
        )

    async def run(self, head: bytes, body: Any, *, silence_max_s: float) -> HttpAnswer:  # noqa: ANN401
        """Send a request and return its answer. Raises OSError."""
        if self._transport is None or self._transport.is_closing():
            raise ConnectionError("the store closed the connection")
        self._answered = self.loop.create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._headers, self._body = {}, bytearray()
        self._head_bytes, self._is_head_over = 0, False
        self._keeps_alive = False
        self._send(self._transport, head, body)
        self._look_again(silence_max_s)
        try:
            return await self._answered
        finally:
            if self._rest:  # Answered before it was asked: the store would take the rest for more.
                self._keeps_alive, self._rest = False, memoryview(b"")
            self._answered = self._parser = None
            if self._timer is not None:
                self._timer.cancel()

    def _send(self, transport: asyncio.Transport, head: bytes, body: Any) -> None:  # noqa: ANN401
        if transport.get_extra_info("ssl_object") is None:
            transport.writelines([head, body])
            return
        view = memoryview(body)
        self._rest = view[_TLS_PIECE_BYTES:]
        transport.writelines([head, view[:_TLS_PIECE_BYTES]])
        self._send_on()

    def _send_on(self) -> None:
        while self._rest and not self._is_write_full and self._transport is not None:
            piece, self._rest = self._rest[:_TLS_PIECE_BYTES], self._rest[_TLS_PIECE_BYTES:]
            self._transport.write(piece)

    def _unsent_bytes(self) -> int:
        assert self._transport is not None
        return len(self._rest) + self._transport.get_write_buffer_size()

    def _look_again(self, wait_s: float) -> None:
        self._timer = self.loop.call_later(
            wait_s, self._judge_progress, wait_s, self._unsent_bytes()
        )

    def _judge_progress(self, wait_s: float, unsent_before: int) -> None:
        """Give up when nothing more was sent, or nothing answered: a slow line is no dead one."""
        if self._unsent_bytes() < unsent_before:
            self._look_again(wait_s)
        elif self._answered is not None and not self._answered.done():
            self._answered.set_exception(TimeoutError())

    def cut(self) -> None:
        """Drop the connection at once."""
        self._keeps_alive = False
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def pause_writing(self) -> None:
        self._is_write_full = True

    def resume_writing(self) -> None:
        self._is_write_full = False
        self._send_on()

    def data_received(self, data: bytes) -> None:
        if self._parser is None or self._answered is None:
            self.cut()  # Bytes that nobody asked for.
            return
        self._head_bytes += 0 if self._is_head_over else len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail("the store's answer is no HTTP")
            return
        if self._head_bytes > _HEAD_BYTES_MAX:
            self._fail("the store's answer has no end")

    def connection_lost(self, exc: Exception | None) -> None:
        if self._keeps_alive:
            return  # Idle: `may_be_kept` is false from now on.
        self._fail(f"the connection was lost: {type(exc).__name__}" if exc else "no whole answer")

    def _fail(self, why: str) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(ConnectionError(why))
        self.cut()

    # What httptools calls

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._is_head_over = self._parser.get_status_code() >= 200

    def on_body(self, body: bytes) -> None:
        if len(self._body) < _ANSWER_BYTES_MAX:
            self._body += body

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            self._headers = {}  # An interim answer [15.2]; the real one follows.
            return
        if self._answered is not None and not self._answered.done():
            # Only a success says that the body was read to its end.
            self._keeps_alive = status < 300 and self._parser.should_keep_alive()
            self._answered.set_result(HttpAnswer(status, self._headers, bytes(self._body)))
