"""A server that goes silent, at whatever moment, costs a bounded time and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from cloudmig.destinations.dicomweb import DicomWebDestination
from cloudmig.destinations.dicomweb_profiles import dicomweb_profile
from cloudmig.dicomweb import DicomWebClient, HttpLimits
from cloudmig.errors import DestinationUnavailable
from tests.contract.destination_contract import ARCHIVE, an_instance, staged

EMPTY = b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom+json\r\nContent-Length: 2\r\n\r\n[]"
HOLD_S = 30.0
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def reads_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Leave the body where it is: the buffers of both sides fill up."""
    await asyncio.sleep(HOLD_S)


async def answers_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(1 << 20):
        pass


async def answers_half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
    await answers_nothing(reader, writer)


async def trickles(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say something again and again, and never come to an end."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        writer.write(b" ")
        await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def serving(on_store: Handler) -> AsyncIterator[str]:
    """Answer queries with an empty list, and stores as told."""
    tasks = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            while (await reader.readuntil(b"\r\n\r\n")).startswith(b"GET"):
                writer.write(EMPTY)
            await on_store(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/dicom-web"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("on_store", [reads_nothing, answers_nothing, answers_half, trickles])
async def test_a_silent_server_is_given_up_in_bounded_time(on_store: Handler) -> None:
    async with serving(on_store) as url:
        limits = HttpLimits(silence_max_s=0.3, total_max_s=1.5)
        client = DicomWebClient(url, limits=limits)
        destination = DicomWebDestination(
            "web", client, dicomweb_profile("orthanc"), archive=ARCHIVE
        )
        item = staged(an_instance(), b"x" * (24 << 20))
        async with asyncio.timeout(10):
            with pytest.raises(DestinationUnavailable):
                await destination.store(item)
            await destination.close()
