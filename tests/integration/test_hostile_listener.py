"""Hostile peers at the agent's own listener, while it migrates."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import ssl
import statistics
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from cloudmig.agent.service import run_agent
from cloudmig.demo.pacs import Fault, Script, negotiation
from cloudmig.demo.pacs.wire import Link, PeerGone
from cloudmig.dimse.contexts import ProposedContext
from cloudmig.dimse.negotiation import encode_request
from cloudmig.pipeline.parts import Parts
from tests.integration.migration_world import World, a_study

STUDIES = tuple(a_study(number, series=(4,)) for number in range(1, 5))
CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
VERIFICATION = ProposedContext("1.2.840.10008.1.1", ("1.2.840.10008.1.2",))
ASSOCIATE_AC = b"\x02"
PATIENCE_S = 5.0


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


class Siege:
    """Sockets that are opened and say nothing, and real peers among them."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self.port = port
        self.tls = tls
        self.silent: list[socket.socket] = []

    def open(self, count: int) -> None:
        """Open them one after the other; in the loop's thread, none is accepted meanwhile."""
        self.silent += [self.connect() for _ in range(count)]

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)

    def end(self) -> None:
        for each in self.silent:
            each.close()
        self.silent.clear()

    def renew(self, stop: threading.Event, count: int) -> None:
        """Go on opening sockets, and close the oldest of more than `count`."""
        while not stop.wait(0.001):
            with contextlib.suppress(OSError):
                self.silent.append(self.connect())
            if len(self.silent) > count:
                self.silent.pop(0).close()

    async def associate(self, connected: socket.socket | None = None) -> float:
        """Associate as the PACS, and return the seconds it took: infinite where it failed."""
        began_s = time.monotonic()
        if connected is None:
            connected = await asyncio.to_thread(self.connect)
        connected.setblocking(False)
        name = "127.0.0.1" if self.tls else None
        try:
            async with asyncio.timeout(PATIENCE_S):
                reader, writer = await asyncio.open_connection(
                    sock=connected, ssl=self.tls, server_hostname=name
                )
                writer.write(encode_request("LEGACYPACS", "CLOUDMIG", [VERIFICATION], 16384))
                answer = await reader.readexactly(1)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            connected.close()
            return math.inf
        writer.transport.abort()
        return time.monotonic() - began_s if answer == ASSOCIATE_AC else math.inf


async def _calm_s(siege: Siege) -> float:
    """Return what an association takes here with nobody else about."""
    calm_s = statistics.median([await siege.associate() for _ in range(3)])
    assert calm_s < math.inf
    return calm_s


@contextlib.asynccontextmanager
async def besieged(folder: Path, *, with_tls: bool) -> AsyncIterator[Siege]:
    """Start the agent's listener, plain or with mutual TLS."""
    settings, context = _mutual_tls(folder) if with_tls else ({}, None)
    world = World(folder, STUDIES, settings=settings)
    async with listening(world):
        siege = Siege(world.agent_port, context)
        try:
            yield siege
        finally:
            siege.end()


async def _assert_let_in_at_once(
    folder: Path, *, with_tls: bool, before: int, behind: int = 0
) -> None:
    """See, three times, how long a real peer waits with so many silent ones before and behind."""
    waits_s = []
    async with besieged(folder, with_tls=with_tls) as siege:
        calm_s = await _calm_s(siege)
        for _ in range(3):
            siege.open(before)
            real = siege.connect() if behind else None
            siege.open(behind)
            waits_s.append(await siege.associate(real))
            siege.end()

    assert max(waits_s) < math.inf, "nobody real is turned away"
    assert statistics.median(waits_s) < calm_s + 1.0


PLAIN_OR_TLS = pytest.mark.parametrize("with_tls", [False, True], ids=["plain", "tls"])


@PLAIN_OR_TLS
@pytest.mark.parametrize("count", [5, 300])
async def test_a_real_peer_behind_silent_ones_waits_less_than_a_second(
    count: int, with_tls: bool, tmp_path: Path
) -> None:
    await _assert_let_in_at_once(tmp_path, with_tls=with_tls, before=count)


@PLAIN_OR_TLS
async def test_a_real_peer_in_the_midst_of_a_burst_is_not_taken_for_a_silent_one(
    with_tls: bool, tmp_path: Path
) -> None:
    await _assert_let_in_at_once(tmp_path, with_tls=with_tls, before=150, behind=150)


@PLAIN_OR_TLS
async def test_silent_sockets_that_are_renewed_all_the_time_delay_by_less_than_a_second(
    with_tls: bool, tmp_path: Path
) -> None:
    stop = threading.Event()
    async with besieged(tmp_path, with_tls=with_tls) as siege:
        calm_s = await _calm_s(siege)
        siege.open(300)
        renewing = asyncio.create_task(asyncio.to_thread(siege.renew, stop, 300))
        try:
            waits_s = [await siege.associate() for _ in range(5)]
        finally:
            stop.set()
            await renewing

    assert statistics.median(waits_s) < calm_s + 1.0


async def test_three_hundred_silent_sockets_delay_a_migration_by_less_than_a_second(
    tmp_path: Path,
) -> None:
    delays_s: list[float] = []
    # The promise is about the listener, not about a machine that stops for a second: best of three.
    while len(delays_s) < 3 and not any(delay_s < 1.0 for delay_s in delays_s):
        undisturbed_s = await _migration_s(tmp_path / f"calm-{len(delays_s)}", silent=0)
        besieged_s = await _migration_s(tmp_path / f"besieged-{len(delays_s)}", silent=300)
        delays_s.append(besieged_s - undisturbed_s)

    assert min(delays_s) < 1.0


async def _migration_s(folder: Path, *, silent: int) -> float:
    """Migrate everything past so many silent sockets: the seconds, without opening those."""
    folder.mkdir()
    world = World(folder, STUDIES)
    siege = Siege(world.agent_port)
    opening_s = 0.0
    with world.serving():
        await world.inventory()
        await world.plan()
        async with world.opened() as parts:
            assert parts.listener is not None
            start = parts.listener.start

            async def start_besieged() -> None:
                nonlocal opening_s
                await start()
                began_s = time.monotonic()
                siege.open(silent)
                opening_s = time.monotonic() - began_s

            parts.listener.start = start_besieged  # type: ignore[method-assign]
            summary = await run_agent(parts, stop=asyncio.Event())

    assert len(siege.silent) == silent
    siege.end()
    assert not summary.halted
    assert world.held() == world.truth()
    assert world.quarantined() == {}
    return summary.duration_s - opening_s


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


def _mutual_tls(folder: Path) -> tuple[dict[str, dict[str, Any]], ssl.SSLContext]:
    """Return settings with which the agent listens, and the context of a peer it lets in."""
    authority = trustme.CA()
    ours = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    ours.private_key_pem.write_to_path(folder / "agent.key")
    for number, blob in enumerate(ours.cert_chain_pems):
        blob.write_to_path(folder / "agent.pem", append=bool(number))
    tls = {
        "ca": str(folder / "ca.pem"), "certificate": str(folder / "agent.pem"),
        "key": str(folder / "agent.key"),
    }  # fmt: skip
    context = ssl.create_default_context(cafile=tls["ca"])
    context.load_cert_chain(tls["certificate"], tls["key"])
    return {"listen": {"tls": tls}}, context


async def test_a_peer_without_a_certificate_is_refused(tmp_path: Path) -> None:
    async with besieged(tmp_path, with_tls=True) as siege:
        stranger = ssl.create_default_context(cafile=tmp_path / "ca.pem")
        with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
            await _first_byte(siege.port, stranger)


async def _first_byte(port: int, context: ssl.SSLContext) -> None:
    """Connect and read: in TLS 1.3 the refusal of a missing certificate comes with a read."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        writer.write(b"\x01\x00")
        await reader.readexactly(1)
    finally:
        writer.close()
