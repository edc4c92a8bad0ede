"""A proxy that understands enough DIMSE to break a single message of it.

Every presentation data value is passed on in a PDU of its own; what a command says is known before
any of it is passed on, so a fault may answer, change, delay or drop it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from tests.peers.faults.pdu import (
    ABORT,
    P_DATA,
    Command,
    Fragment,
    fragments,
    p_data,
    read_pdu,
)

__all__ = ["Action", "Answer", "Cut", "Decide", "DimseProxy", "Inspect", "Pass"]


@dataclass(frozen=True, slots=True)
class Pass:
    """Pass the command on, changed or not, after a while or at once."""

    command: Command | None = None
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer it here; neither it nor its data set is passed on."""

    command: Command


@dataclass(frozen=True, slots=True)
class Cut:
    """Abort both associations."""


@dataclass(frozen=True, slots=True)
class Inspect:
    """Decide when the data set is known, too: answer, or pass on these bytes instead."""

    judge: Callable[[bytes], Answer | bytes]


Action = Pass | Answer | Cut | Inspect
Decide = Callable[[Command], Awaitable[Action]]


class _Aborted(Exception):  # noqa: N818 - the fault asked for it
    pass


@dataclass(slots=True, eq=False)
class Way:
    """One direction of one connection: what came in parts, and what is done with it."""

    decide: Decide
    forth: asyncio.StreamWriter
    back: asyncio.StreamWriter
    _command: bytearray = field(default_factory=bytearray)
    _data_set: bytearray = field(default_factory=bytearray)
    _action: Action = field(default_factory=Pass)
    _held: Fragment | None = None  #: A command that waits for its data set.

    async def take(self, fragment: Fragment) -> None:
        """Pass a value on, or do what the fault says."""
        if fragment.of_command:
            self._command += fragment.body
            if fragment.is_last:
                await self._whole_command(fragment.context_id)
        elif isinstance(self._action, Answer):
            if fragment.is_last:
                await self._answer(self._action, fragment.context_id)
        elif isinstance(self._action, Inspect):
            self._data_set += fragment.body
            if fragment.is_last:
                await self._judge(self._action, fragment.context_id)
        else:
            await self._send(fragment)

    async def _whole_command(self, context_id: int) -> None:
        command = Command.decode(bytes(self._command))
        self._command.clear()
        self._action = await self.decide(command)
        match self._action:
            case Cut():
                raise _Aborted
            case Answer() as answer:
                if not command.has_data_set:
                    await self._answer(answer, context_id)
                return
            case Inspect():
                assert command.has_data_set
                self._held = Fragment(context_id, 3, command.encode())
                return
            case Pass(changed, delay_s):
                if delay_s:
                    await asyncio.sleep(delay_s)
                command = changed or command
        await self._send(Fragment(context_id, 3, command.encode()))

    async def _judge(self, inspect: Inspect, context_id: int) -> None:
        said = inspect.judge(bytes(self._data_set))
        self._data_set.clear()
        if isinstance(said, Answer):
            await self._answer(said, context_id)
            return
        assert self._held is not None
        await self._send(self._held)
        await self._send(Fragment(context_id, 2, said))

    async def _answer(self, answer: Answer, context_id: int) -> None:
        self._action = Pass()
        self.back.write(p_data(Fragment(context_id, 3, answer.command.encode())))
        await self.back.drain()

    async def _send(self, fragment: Fragment) -> None:
        self.forth.write(p_data(fragment))
        await self.forth.drain()


class DimseProxy:
    """Listens on `port` and connects on to `upstream`. Runs in the loop that starts it."""

    def __init__(self, port: int, upstream: tuple[str, int], decide: Decide) -> None:
        self.port = port
        self.unreachable = asyncio.Event()  #: Set when the upstream refused a connection.
        self._upstream = upstream
        self._decide = decide
        self._socket: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._relays: set[asyncio.Task[None]] = set()

    async def reserve(self) -> None:
        """Take the port without listening on it: connections are refused."""
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", self.port))

    async def start(self) -> None:
        """Listen."""
        if self._socket is None:
            await self.reserve()
        self._server = await asyncio.start_server(self._serve, sock=self._socket, limit=1 << 20)

    async def stop(self) -> None:
        """Close the listener and every connection."""
        if self._server is not None:
            self._server.close()
        elif self._socket is not None:
            self._socket.close()
        for relay in self._relays:
            relay.cancel()
        await asyncio.gather(*self._relays, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._relays.add(task)
        try:
            await self._relay(reader, writer)
        finally:
            self._relays.discard(task)
            await _close(writer)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            theirs, to_them = await asyncio.open_connection(*self._upstream, limit=1 << 20)
        except OSError:
            self.unreachable.set()
            _reset(writer)
            return
        for each in (writer, to_them):
            each.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ways = [
            asyncio.create_task(_pump(reader, Way(self._decide, to_them, writer))),
            asyncio.create_task(_pump(theirs, Way(self._decide, writer, to_them))),
        ]
        try:
            done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            if any(isinstance(task.exception(), _Aborted) for task in done):
                for each in (writer, to_them):
                    each.write(ABORT)
        finally:
            for task in ways:
                task.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            await _close(to_them)


async def _pump(reader: asyncio.StreamReader, way: Way) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            pdu = await read_pdu(reader)
            if pdu[0] == P_DATA:
                for fragment in fragments(pdu):
                    await way.take(fragment)
            else:
                way.forth.write(pdu)
                await way.forth.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
