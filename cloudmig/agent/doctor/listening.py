"""Our storage SCP, for the time of an examination."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from cloudmig.config import Configuration, PacsSettings
from cloudmig.dimse.server import StorageServer
from cloudmig.dimse.tls import server_context
from cloudmig.sources.dimse import AllowedPeer, ArrivalDesk, StoragePolicy, Stranger
from cloudmig.staging.area import StagingArea, StagingLimits
from cloudmig.staging.budget import MemoryBudget
from cloudmig.staging.spool import Spool

__all__ = ["Listening", "listening"]

_MEMORY_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Listening:
    """Our storage SCP for the time of the examination."""

    desk: ArrivalDesk
    port: int | None  #: None where it could not listen; another check says why.
    refused: Sequence[Stranger]  #: Who was turned away so far.


@contextlib.asynccontextmanager
async def listening(config: Configuration) -> AsyncIterator[Listening]:
    """Listen as the agent would, with a small memory and no spool."""
    spool = Spool(config.agent.spool_dir, bytes_max=0)
    limits = StagingLimits(memory_object_bytes_max=_MEMORY_BYTES)
    desk = ArrivalDesk(StagingArea(MemoryBudget(_MEMORY_BYTES), spool, limits))
    peers: dict[str, list[AllowedPeer]] = {}
    for source in config.pacs.values():
        allowed = await _allowed(source)
        for ae_title in source.ae_titles:
            peers.setdefault(ae_title, []).extend(allowed)
    refused: list[Stranger] = []
    policy = StoragePolicy(desk, peers, tell_refused=refused.append)
    async with AsyncExitStack() as stack:
        port = None
        with contextlib.suppress(OSError, ssl.SSLError):  # Other checks say so, with hints.
            tls = config.listen.tls
            context = None
            if tls is not None and tls.certificate is not None:
                context = server_context(tls.ca, tls.certificate, tls.key)
            server = StorageServer(
                policy,
                host=config.listen.host,
                port=config.listen.port,
                ssl_context=context,
                may_connect=policy.may_connect,
            )
            await stack.enter_async_context(server)
            port = server.port
        yield Listening(desk, port, refused)


async def _allowed(source: PacsSettings) -> list[AllowedPeer]:
    """Return the addresses and AE titles the PACS may send from."""
    senders = [(source.host, source.aet), *((peer.host, peer.aet) for peer in source.peers)]
    allowed = []
    for host, aet in senders:
        with contextlib.suppress(OSError):
            found = await asyncio.get_running_loop().getaddrinfo(host, None)
            allowed += [AllowedPeer(str(address[0]), aet) for *_, address in found]
    return allowed
