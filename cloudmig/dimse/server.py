"""Listens for associations: the storage SCP that C-MOVE sends to.

Connections are accepted by hand instead of by `loop.create_server`, so that an address that is not
on the list is dropped before it costs a TLS handshake, and a handshake never holds up the next
connection.
"""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from cloudmig.dimse.acceptor import (
    AcceptorConnection,
    AcceptorPolicy,
    Admission,
    AssociationRequest,
    Rejection,
)
from cloudmig.dimse.limits import Limits, Timers
from cloudmig.dimse.waiting_room import Standing, WaitingRoom

__all__ = ["AcceptorPolicy", "Admission", "AssociationRequest", "Rejection", "StorageServer"]

_BACKLOG = 512
#: Nobody is cut sooner for having said nothing: enough for a TLS handshake over a slow line. Behind
#: a full backlog of silent connections a peer waits _BACKLOG / silent_connections_max times this.
_FAIR_CHANCE_S = 0.25
_OUT_OF_DESCRIPTORS_WAIT_S = 0.1
_LAST_WORDS_S = 1.0  #: For an A-ABORT to be taken.


class StorageServer:
    """A storage SCP: every association the policy admits, within the limits."""

    def __init__(
        self,
        policy: AcceptorPolicy,
        *,
        host: str,
        port: int,
        timers: Timers | None = None,
        limits: Limits | None = None,
        ssl_context: ssl.SSLContext | None = None,
        may_connect: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self._policy = policy
        self._host = host
        self._port = port
        self._timers = timers or Timers()
        self._limits = limits or Limits()
        self._ssl_context = ssl_context
        self._may_connect = may_connect
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._room = WaitingRoom(self._limits.silent_connections_max, _FAIR_CHANCE_S)
        self._handshakes: set[asyncio.Task[None]] = set()
        self._connections: set[AcceptorConnection] = set()
        self._associations: set[AcceptorConnection] = set()
        self._per_peer: Counter[str] = Counter()
        self._finishing: set[asyncio.Future[Any]] = set()

    @property
    def port(self) -> int:
        """Return the port that is listened on; of use where 0 was asked for."""
        return self._listener.getsockname()[1] if self._listener else self._port

    @property
    def associations(self) -> int:
        """Return how many associations are open."""
        return len(self._associations)

    async def start(self) -> None:
        """Listen. Raises OSError where the address is taken."""
        assert self._listener is None, "started twice"
        loop = asyncio.get_running_loop()
        [(family, _, _, _, address), *_] = await loop.getaddrinfo(
            self._host or None, self._port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        self._listener = socket.create_server(address[:2], family=family, backlog=_BACKLOG)
        self._listener.setblocking(False)
        self._accepting = loop.create_task(self._accept(self._listener))

    async def close(self, grace_s: float = 0.0) -> None:
        """Stop listening; let objects under way be answered for `grace_s`, then abort.

        A `finish` that has not ended by then is cancelled.
        """
        if self._accepting is not None:
            self._accepting.cancel()
            with suppress(asyncio.CancelledError):
                await self._accepting
            self._accepting = None
        if self._listener is not None:
            self._port = self.port
            self._listener.close()
            self._listener = None
        connections = list(self._connections)
        await self._wind_down(grace_s)
        lost = [connection.lost for connection in connections if not connection.lost.done()]
        if lost:
            await asyncio.wait(lost, timeout=_LAST_WORDS_S)
        for connection in connections:
            connection.cut()
            await connection.lost

    async def _wind_down(self, grace_s: float) -> None:
        self._room.clear()
        for association in list(self._associations):
            association.drain()
        waiting_for = [*self._work(), *(association.lost for association in self._associations)]
        if grace_s > 0 and waiting_for:
            await asyncio.wait(waiting_for, timeout=grace_s)
        for association in list(self._associations):
            association.abort("the server closes")
        for work in self._work():
            work.cancel()
        await asyncio.gather(*self._work(), *self._handshakes, return_exceptions=True)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    # Host, for the connections

    def arrived(self, connection: AcceptorConnection) -> None:
        """Note a connection whose handshake is over."""
        self._connections.add(connection)
        self._room.enter(Standing.SILENT, connection, connection.cut)

    def may_associate(self, connection: AcceptorConnection) -> bool:
        """Take an association into the count."""
        if (
            len(self._associations) >= self._limits.associations_max
            or self._per_peer[connection.peer_host] >= self._limits.associations_per_peer_max
        ):
            return False
        self._room.leave(connection)
        self._associations.add(connection)
        self._per_peer[connection.peer_host] += 1
        return True

    def ended(self, connection: AcceptorConnection) -> None:
        """Take an association out of the count; a `finish` of its last object may still run."""
        if connection in self._associations:
            self._associations.remove(connection)
            self._per_peer[connection.peer_host] -= 1
            if not self._per_peer[connection.peer_host]:
                del self._per_peer[connection.peer_host]
        if not connection.lost.done():
            self._room.enter(Standing.OVER, connection, connection.cut)
        if connection.stores is not None and (work := connection.stores.work) is not None:
            self._finishing.add(work)
            work.add_done_callback(self._finishing.discard)

    def left(self, connection: AcceptorConnection) -> None:
        """Forget a connection."""
        self._connections.discard(connection)
        self._room.leave(connection)

    def _work(self) -> list[asyncio.Future[Any]]:
        running = [a.stores.work for a in self._associations if a.stores is not None]
        return [*self._finishing, *(work for work in running if work is not None)]

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._room.make_room()
            try:
                connected, address = await loop.sock_accept(listener)
            except OSError:
                # Out of descriptors, or the peer left already: the listener itself is fine.
                await asyncio.sleep(_OUT_OF_DESCRIPTORS_WAIT_S)
                continue
            if self._may_connect(str(address[0])):
                self._welcome(connected)
            else:
                connected.close()
            # asyncio's sock_accept does not suspend while more wait: a burst would be accepted
            # whole before a byte of anybody is read, and a real peer in it be taken for silent.
            await asyncio.sleep(0)

    def _welcome(self, connected: socket.socket) -> None:
        handshake = asyncio.get_running_loop().create_task(self._connect(connected))
        self._handshakes.add(handshake)
        cut = functools.partial(_cut_handshake, handshake, connected)
        self._room.enter(Standing.HANDSHAKE, handshake, cut)
        handshake.add_done_callback(self._handshake_ended)

    def _handshake_ended(self, handshake: asyncio.Task[None]) -> None:
        self._handshakes.discard(handshake)
        self._room.leave(handshake)
        if not handshake.cancelled() and (error := handshake.exception()) is not None:
            asyncio.get_running_loop().call_exception_handler(
                {"message": "a connection could not be set up", "exception": error}
            )

    async def _connect(self, connected: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        secured = self._ssl_context is not None
        connected.setblocking(False)
        with suppress(OSError, TimeoutError):  # A handshake that failed (SSLError is an OSError).
            await loop.connect_accepted_socket(
                self._connection,
                connected,
                ssl=self._ssl_context,
                ssl_handshake_timeout=self._timers.tls_handshake_s if secured else None,
            )

    def _connection(self) -> AcceptorConnection:
        return AcceptorConnection(self, self._policy, self._timers, self._limits)


def _cut_handshake(handshake: asyncio.Task[None], connected: socket.socket) -> None:
    handshake.cancel()
    # A task cancelled before its first step never closes what it was given.
    handshake.add_done_callback(lambda _: connected.close())
