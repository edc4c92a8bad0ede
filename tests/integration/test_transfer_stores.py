"""Stores that are down, refuse, or are slow; a spool without room."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cloudmig.agent.service import run_agent
from cloudmig.demo.oddities import heavy
from cloudmig.destinations.breaker import BreakerDestination, BreakerPolicy
from cloudmig.staging import StagingLimits
from cloudmig.staging.spool import Spool, _translate
from tests.integration.doctor_world import StrictStore
from tests.integration.migration_world import World, a_study, free_port
from tests.peers.launch.moto import s3_client

pytest_plugins = ["tests.contract.store_fixtures"]

STUDIES = tuple(a_study(number) for number in range(1, 5))


def s3(endpoint: str, bucket: str, **more: object) -> dict[str, object]:
    return {
        "url": f"s3://{bucket}", "endpoint": endpoint, "profile": "moto", "access_key_id": "GOOD",
        "secret_access_key": "testing", "attempts_max": 1, "timeout_s": 5, **more,
    }  # fmt: skip


@contextlib.asynccontextmanager
async def a_gate(endpoint: str, port: int) -> AsyncIterator[None]:
    """Forward a port to the store while the block runs: outside of it the store is down."""
    host, _, target = endpoint.removeprefix("http://").rpartition(":")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(host, int(target))

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                while data := await source.read(1 << 16):
                    sink.write(data)
                    await sink.drain()
            sink.close()

        await asyncio.gather(pump(reader, there_writer), pump(there_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    try:
        yield
    finally:
        server.close()


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = BreakerPolicy(failures_max=3, pause_s=0.3)
    monkeypatch.setattr(
        "cloudmig.destinations.opening.BreakerDestination",
        lambda inner, _: BreakerDestination(inner, policy),
    )


async def test_a_store_that_comes_back_gets_what_it_is_owed_and_holds_nobody_back(
    endpoint: str, tmp_path: Path
) -> None:
    s3_client(endpoint, "testing", "testing").create_bucket(Bucket="late")
    port = free_port()
    world = World(
        tmp_path,
        STUDIES,
        destinations={
            "near": {"url": f"file://{tmp_path / 'near'}"},
            "late": s3(f"http://127.0.0.1:{port}", "late"),
        },
    )
    with world.serving():
        await world.inventory()
        await world.plan()
        async with world.opened() as parts:
            running = asyncio.create_task(run_agent(parts, stop=asyncio.Event()))
            async with asyncio.timeout(20):
                while world.held("near") != world.truth():
                    await asyncio.sleep(0.1)
            assert not running.done(), "the other copy is still owed"
            async with a_gate(endpoint, port):
                summary = await asyncio.wait_for(running, 30)
        async with a_gate(endpoint, port):
            await world.explain_everything()

    assert not summary.halted
    assert world.quarantined() == {}
    assert len(world.ledger("copy_owed")) >= 1
    retrieved = world.pacs.counters.retrieved_studies
    assert all(retrieved[study.study_instance_uid] <= 12 for study in STUDIES)


async def test_a_refusing_store_halts_the_run_and_nothing_is_held_against_a_study(
    tmp_path: Path,
) -> None:
    with StrictStore().serving() as store:
        settings = s3(store.endpoint, "images", profile="aws", access_key_id="READONLY")
        world = World(tmp_path, STUDIES, destinations={"store": settings})
        with world.serving():
            summary = await world.migrate()

    assert summary.halted
    assert summary.hint
    assert world.quarantined() == {}
    assert set(world.states().values()) == {"planned"}


async def test_a_store_that_never_comes_back_halts_after_its_time(tmp_path: Path) -> None:
    settings = s3(f"http://127.0.0.1:{free_port()}", "gone", outage_max_s=1)
    world = World(tmp_path, STUDIES, destinations={"store": settings})
    with world.serving():
        summary = await world.migrate()

    assert summary.halted
    assert world.quarantined() == {}


@pytest.mark.parametrize("retrieve", ["c-move", "c-get"])
async def test_a_full_spool_refuses_with_a700_and_takes_the_object_later(
    retrieve: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full for the first object that spills, and has room again for the next try."""
    writes = Spool.write
    failed: list[int] = []

    def write(self: Spool, file: object, data: bytes) -> None:
        if not failed:
            failed.append(len(data))
            raise _translate(OSError(errno.ENOSPC, "No space left on device"))
        writes(self, file, data)  # type: ignore[arg-type]

    monkeypatch.setattr(Spool, "write", write)
    monkeypatch.setattr(
        "cloudmig.bootstrap.opening.StagingLimits",
        lambda **more: StagingLimits(credit_bytes=4 << 20, memory_object_bytes_max=5 << 20),
    )
    studies = [heavy(STUDIES[0], extra_bytes=9_000_000), *STUDIES[1:]]
    world = World(tmp_path, studies, retrieve=retrieve)
    with world.serving():
        summary = await world.migrate()
        await world.explain_everything()

    assert failed, "an object spilled"
    assert not summary.halted
    assert world.quarantined() == {}
    assert world.held() == world.truth()
    assert world.spooled() == []
    if retrieve == "c-move":
        assert world.pacs.counters.store_statuses[0xA700] >= 1
