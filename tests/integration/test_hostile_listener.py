"""Hostile peers at the agent's own listener, while it migrates."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import trustme

from cloudmig.agent.service import run_agent
from cloudmig.demo.pacs import Fault, Script, negotiation
from cloudmig.demo.pacs.wire import Link, PeerGone
from cloudmig.pipeline.parts import Parts
from tests.integration.migration_world import World, a_study

STUDIES = tuple(a_study(number, series=(4,)) for number in range(1, 5))
CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"


@contextlib.asynccontextmanager
async def listening(world: World) -> AsyncIterator[Parts]:
    """Open the agent and start its listener, as `run` does."""
    with world.serving():
        async with world.opened() as parts:
            assert parts.listener is not None
            await parts.listener.start()
            try:
                yield parts
            finally:
                await parts.listener.close()


def _silent(port: int, count: int) -> list[socket.socket]:
    return [socket.create_connection(("127.0.0.1", port), timeout=5) for _ in range(count)]


async def _seconds(migrate: Callable[[], Awaitable[object]]) -> float:
    began = time.monotonic()
    await migrate()
    return time.monotonic() - began


async def test_three_hundred_silent_sockets_delay_a_migration_by_less_than_a_second(
    tmp_path: Path,
) -> None:
    (tmp_path / "calm").mkdir()
    (tmp_path / "besieged").mkdir()
    calm = World(tmp_path / "calm", STUDIES)
    with calm.serving():
        await calm.inventory()
        await calm.plan()
        undisturbed_s = await _seconds(calm.run)

    world = World(tmp_path / "besieged", STUDIES)
    sockets: list[socket.socket] = []
    with world.serving():
        await world.inventory()
        await world.plan()
        async with world.opened() as parts:
            assert parts.listener is not None
            start = parts.listener.start

            async def start_besieged() -> None:
                await start()
                sockets.extend(await asyncio.to_thread(_silent, world.agent_port, 300))

            parts.listener.start = start_besieged  # type: ignore[method-assign]
            began = time.monotonic()
            summary = await run_agent(parts, stop=asyncio.Event())
            besieged_s = time.monotonic() - began
        for each in sockets:
            each.close()

    assert len(sockets) == 300
    assert not summary.halted
    assert world.held() == world.truth()
    # Opening 300 sockets and closing the listener is in this time, too.
    assert besieged_s < undisturbed_s + 1.0 + 2.0
    assert world.quarantined() == {}


async def test_an_endless_store_ends_at_the_limit_and_others_go_on(tmp_path: Path) -> None:
    first = STUDIES[0].study_instance_uid
    script = Script(
        fault=Fault.ENDLESS_STORE,
        fault_retrieves=99,
        fault_at_store=1,
        fault_studies=frozenset({first}),
        endless_bytes_max=64 << 20,
    )
    settings = {
        "agent": {"object_bytes_max": "4 MiB", "spool_bytes_max": "8 MiB", "attempts_max": 2}
    }
    world = World(tmp_path, STUDIES, script, settings=settings)
    with world.serving():
        summary = await world.migrate()
        sent_bytes = world.pacs.counters.sent_bytes
        await world.explain_everything()

    assert not summary.halted
    assert world.quarantined().keys() == {first}
    held = world.held()
    expected = {
        one.sop_instance_uid for study in STUDIES[1:] for one in study.instances()
    }  # fmt: skip
    assert expected <= held.keys()
    assert sent_bytes < 64 << 20
    assert world.spooled() == []


@pytest.mark.parametrize(
    ("calling_aet", "called_aet"),
    [("STRANGER", "CLOUDMIG"), ("LEGACYPACS", "SOMEBODY")],
    ids=["a foreign calling AE title", "a called AE title that is not ours"],
)
async def test_an_association_by_a_foreign_name_is_rejected(
    calling_aet: str, called_aet: str, tmp_path: Path
) -> None:
    world = World(tmp_path, STUDIES)
    async with listening(world):
        with pytest.raises(PeerGone):
            await asyncio.to_thread(_associate, world.agent_port, calling_aet, called_aet)
        link = await asyncio.to_thread(_associate, world.agent_port, "LEGACYPACS", "CLOUDMIG")
        await asyncio.to_thread(link.release)


def _associate(port: int, calling_aet: str, called_aet: str) -> Link:
    return negotiation.request(
        ("127.0.0.1", port), calling_aet=calling_aet, called_aet=called_aet,
        contexts=[(CT, EXPLICIT)],
    )  # fmt: skip


async def test_a_foreign_address_is_turned_away(tmp_path: Path) -> None:
    # The PACS is said to be elsewhere; so loopback is a stranger.
    world = World(tmp_path, STUDIES, settings={"sources.main": {"host": "192.0.2.1"}})
    async with listening(world):
        with pytest.raises((PeerGone, OSError)):
            await asyncio.to_thread(_associate, world.agent_port, "LEGACYPACS", "CLOUDMIG")


async def test_five_silent_tls_peers_do_not_keep_a_real_one_waiting(tmp_path: Path) -> None:
    authority = trustme.CA()
    ours = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    ours.private_key_pem.write_to_path(tmp_path / "agent.key")
    for number, blob in enumerate(ours.cert_chain_pems):
        blob.write_to_path(tmp_path / "agent.pem", append=bool(number))
    tls = {
        "ca": str(tmp_path / "ca.pem"), "certificate": str(tmp_path / "agent.pem"),
        "key": str(tmp_path / "agent.key"),
    }  # fmt: skip
    world = World(tmp_path, STUDIES, settings={"listen": {"tls": tls}})
    async with listening(world):
        silent = await asyncio.to_thread(_silent, world.agent_port, 5)
        context = ssl.create_default_context(cafile=tls["ca"])
        context.load_cert_chain(tls["certificate"], tls["key"])
        began = time.monotonic()
        _, writer = await asyncio.wait_for(
            asyncio.open_connection("127.0.0.1", world.agent_port, ssl=context), 5
        )
        waited_s = time.monotonic() - began
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

        stranger = ssl.create_default_context(cafile=tls["ca"])
        with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
            await _first_byte(world.agent_port, stranger)
        for each in silent:
            each.close()

    assert waited_s < 1.0


async def _first_byte(port: int, context: ssl.SSLContext) -> None:
    """Connect and read: in TLS 1.3 the refusal of a missing certificate comes with a read."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        writer.write(b"\x01\x00")
        await reader.readexactly(1)
    finally:
        writer.close()
