"""A long, narrow link in a process of its own: 20 ms round trip, 200 Mb/s each way.

Each direction is one queue shared by all connections, as on a leased line: a piece leaves when
those before it have left, at the link's rate, and arrives half a round trip later. A connection
is read no faster than the queue drains. Opening one costs a round trip. TCP's slow start on a
real line is not imitated, nor is loss.

Usage: python -m bench.wan LISTEN_PORT TARGET_PORT
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import uvloop

RTT_S = 0.020
BYTES_PER_S = 200e6 / 8
#: How far the queue may run ahead of the line: the depth of its buffer, in seconds.
QUEUE_MAX_S = 0.010
#: Ethernet, IP and TCP heads around 1448 bytes of payload are carried by a real line too.
PIECE_BYTES = 16 * 1448


class Direction:
    """One direction of the line: a schedule of departures shared by every connection."""

    def __init__(self) -> None:
        self._free_at = 0.0

    async def carry(self, size: int) -> float:
        """Take a piece onto the line; return the loop time at which it arrives."""
        now = asyncio.get_running_loop().time()
        self._free_at = max(self._free_at, now) + size / BYTES_PER_S
        arrives_at = self._free_at + RTT_S / 2
        ahead = self._free_at - now
        if ahead > QUEUE_MAX_S:
            await asyncio.sleep(ahead - QUEUE_MAX_S)
        return arrives_at


async def pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: Direction
) -> None:
    """Copy one direction of one connection until its end, late and no faster than the line."""
    flying: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def deliver() -> None:
        loop = asyncio.get_running_loop()
        while True:
            arrives_at, piece = await flying.get()
            await asyncio.sleep(max(0.0, arrives_at - loop.time()))
            if not piece:
                return
            writer.write(piece)
            await writer.drain()

    delivery = asyncio.create_task(deliver())
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(PIECE_BYTES):
            flying.put_nowait((await direction.carry(len(piece)), piece))
    flying.put_nowait((asyncio.get_running_loop().time() + RTT_S / 2, b""))
    with contextlib.suppress(ConnectionError):
        await delivery
        writer.write_eof()


async def serve(listen_port: int, target_port: int) -> None:
    """Forward every connection over the line until the process is ended."""
    up, down = Direction(), Direction()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(RTT_S)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target_port)
        for end in (writer, far_writer):
            end.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await asyncio.gather(pump(reader, far_writer, up), pump(far_reader, writer, down))
        finally:
            for end in (writer, far_writer):
                end.close()

    server = await asyncio.start_server(connected, "127.0.0.1", listen_port)
    async with server:
        await server.serve_forever()


def measure_upload(
    port: int, *, object_bytes: int, objects: int, connections: int
) -> tuple[float, float]:
    """PUT objects over raw kept-alive sockets; return bytes per second and the shortest answer.

    This is what the line, the proxy and the sink give to a client that costs nothing.
    """
    body = os.urandom(object_bytes)

    def send(name: int) -> float:
        with socket.create_connection(("127.0.0.1", port)) as line:
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for number in range(objects // connections):
                _put(line, f"/line/{name}-{number}", body)
            return _put(line, f"/line/{name}-ping", b"")

    started = time.perf_counter()
    with ThreadPoolExecutor(connections) as senders:
        pings = list(senders.map(send, range(connections)))
    seconds = time.perf_counter() - started
    return (objects // connections) * connections * object_bytes / seconds, min(pings)


def _put(line: socket.socket, path: str, body: bytes) -> float:
    head = f"PUT {path} HTTP/1.1\r\nHost: sink\r\nContent-Length: {len(body)}\r\n\r\n"
    started = time.perf_counter()
    line.sendall(head.encode() + body)
    answer = b""
    while b"\r\n\r\n" not in answer:
        received = line.recv(4096)
        assert received, "the sink hung up"
        answer += received
    assert answer.startswith((b"HTTP/1.1 201", b"HTTP/1.1 204")), answer[:80]
    return time.perf_counter() - started


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2])))
