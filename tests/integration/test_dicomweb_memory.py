"""What a DICOMweb store is sent lies in memory once, however much is on its way at once."""

from __future__ import annotations

import asyncio
import hashlib
import json
import tracemalloc
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from cloudmig.destinations.dicomweb import DicomWebDestination
from cloudmig.destinations.dicomweb_profiles import dicomweb_profile
from cloudmig.destinations.gathering import Gathering, Order
from cloudmig.dicomweb import DicomWebClient
from cloudmig.model.instance import StagedInstance
from cloudmig.model.outcome import Refused, Stored
from cloudmig.model.references import InstanceRef, StudyRef
from tests.contract.destination_contract import ARCHIVE, an_instance
from tests.integration.dicomweb_world import a_study_of

MEBIBYTE = 1 << 20
READ_BYTES = 64 << 10


class Swallower:
    """Reads requests without keeping them; names every instance it was told of as stored."""

    def __init__(self, items: Sequence[StagedInstance]) -> None:
        uids = [item.instance.sop_instance_uid for item in items if item.instance is not None]
        stored = [{"00081155": {"vr": "UI", "Value": [uid]}} for uid in uids]
        said = json.dumps({"00081199": {"vr": "SQ", "Value": stored}}).encode()
        self._answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(said), said)
        self.read_bytes = 0

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=READ_BYTES)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"GET "):
                    writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
                    continue
                fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
                left = int(fields[b"content-length"])
                while left:
                    piece = await reader.read(min(left, READ_BYTES))
                    left -= len(piece)
                    self.read_bytes += len(piece)
                writer.write(self._answer)
        except asyncio.IncompleteReadError:
            writer.close()


async def store_all(items: Sequence[StagedInstance], **overrides: Any) -> int:  # noqa: ANN401
    """Store everything at once; return the bytes that arrived."""
    swallower = Swallower(items)
    async with swallower.serving() as url:
        profile = dicomweb_profile("plain", {"confirm": "answer", **overrides})
        web = DicomWebDestination("web", DicomWebClient(url), profile, archive=ARCHIVE)
        outcomes = await asyncio.gather(*map(web.store, items))
        await web.close()
    assert all(isinstance(each, Stored) for each in outcomes)
    return swallower.read_bytes


def as_the_agent_runs(work: Coroutine[Any, Any, int]) -> int:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def sharing_one_body(count: int, size_bytes: int) -> list[StagedInstance]:
    """Return instances of four studies whose bytes are one object: all of it is there once."""
    body = bytes(size_bytes)
    digest = hashlib.sha256(body).hexdigest()
    return [
        StagedInstance(each.instance, "1.2", "1.2", size_bytes, digest, digest, body=body)
        for _ in range(4)
        for each in a_study_of(count // 4)
    ]


@pytest.mark.parametrize(("count", "size_bytes"), [(128, MEBIBYTE), (4096, 32 << 10)])
def test_sending_batches_copies_no_body(count: int, size_bytes: int) -> None:
    """128 MiB in four requests at once; joined small parts are copied a few at a time."""
    items = sharing_one_body(count, size_bytes)
    tracemalloc.start()
    try:
        read_bytes = as_the_agent_runs(store_all(items, batch_instances_max=10_000))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert read_bytes > 128 * MEBIBYTE
    assert peak_bytes < 24 * MEBIBYTE


def test_a_spooled_object_is_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    path, size_bytes = tmp_path / "object.dcm", 300 * MEBIBYTE
    with path.open("wb") as file:
        file.truncate(size_bytes)
    digest = hashlib.sha256()
    for _ in range(300):
        digest.update(bytes(MEBIBYTE))
    item = StagedInstance(
        an_instance(), "1.2", "1.2", size_bytes, digest.hexdigest(), "", path=path
    )
    before_bytes = resident_bytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # Forget the high-water mark.

    read_bytes = as_the_agent_runs(store_all([item]))

    assert read_bytes > size_bytes
    assert resident_bytes("VmHWM") - before_bytes < 64 * MEBIBYTE


def resident_bytes(name: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(name)


async def test_requests_at_once_never_hold_more_than_their_bound() -> None:
    """64 studies of one megabyte each at once, in requests of at most 100 kB, three at a time."""
    at_once_bytes, highest_bytes, requests = 0, 0, 0

    async def send(_: StudyRef, orders: Sequence[Order]) -> None:
        nonlocal at_once_bytes, highest_bytes, requests
        size_bytes = sum(order.staged.size_bytes for order in orders)
        at_once_bytes, requests = at_once_bytes + size_bytes, requests + 1
        highest_bytes = max(highest_bytes, at_once_bytes)
        await asyncio.sleep(0)
        at_once_bytes -= size_bytes
        for order in orders:
            order.settle(Refused("of no importance"))

    gathering = Gathering(
        send, instances_max=100, bytes_max=100_000, requests_max=3, gather_s=0.001
    )
    body = bytes(30_000)
    items = [
        StagedInstance(InstanceRef(f"1.{study}", "1.2", f"1.{study}.{number}"), "1.2", "1.2",
                       len(body), "", "", body=body)
        for study in range(64) for number in range(33)
    ]  # fmt: skip

    await asyncio.gather(*map(gathering.put, items))

    assert requests == 64 * 11, "three of 30 kB fit into one"
    assert highest_bytes <= 3 * 100_000
