"""The storage SCP against pynetdicom's SCU, and against peers that mean no good."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_role

from cloudmig.dimse import commands, negotiation
from cloudmig.dimse.commands import command_messages, encode_command
from cloudmig.dimse.contexts import ProposedContext, choose_transfer_syntax
from cloudmig.dimse.limits import Limits, Timers
from cloudmig.dimse.messages import StoreCommand
from cloudmig.dimse.server import Admission, AssociationRequest, Rejection, StorageServer
from tests.integration.dimse.sink import Sink

CT = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"
EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
PATIENCE_S = 5.0
TIMERS = Timers(artim_s=2, network_s=5, idle_s=5)


@dataclass
class Handler:
    """Hands out prepared sinks, or new ones."""

    prepared: list[Sink | int] = field(default_factory=list)
    commands: list[StoreCommand] = field(default_factory=list)
    sinks: list[Any] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    closings: int = 0

    def begin(self, command: StoreCommand) -> Sink | int:
        self.commands.append(command)
        taken = self.prepared.pop(0) if self.prepared else Sink()
        self.sinks.append(taken)
        return taken

    def closed(self) -> None:
        self.closings += 1
        self.ended.set()


@dataclass
class Policy:
    """Lets everybody in, unless told otherwise."""

    handler: Handler = field(default_factory=Handler)
    decision: Rejection | None = None
    gate: asyncio.Event | None = None
    allowed: Callable[[ProposedContext], str | None] = lambda context: choose_transfer_syntax(
        context.transfer_syntax_uids, None
    )
    requests: list[AssociationRequest] = field(default_factory=list)

    async def admit(self, request: AssociationRequest) -> Admission | Rejection:
        self.requests.append(request)
        if self.gate is not None:
            await self.gate.wait()
        return self.decision or Admission(self.handler, self.allowed)


def serving(
    policy: Policy,
    *,
    timers: Timers = TIMERS,
    limits: Limits | None = None,
    may_connect: Callable[[str], bool] = lambda _: True,
) -> StorageServer:
    return StorageServer(
        policy, host="127.0.0.1", port=0, timers=timers, limits=limits, may_connect=may_connect
    )


class RawPeer:
    """Speaks whatever the test wants to say."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def pdu(self) -> tuple[int, bytes]:
        """Return the next PDU; type -1 stands for the end of the stream."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                head = await self.reader.readexactly(6)
                return head[0], await self.reader.readexactly(struct.unpack(">L", head[2:])[0])
            except (asyncio.IncompleteReadError, ConnectionError):
                return -1, b""

    async def associate(self, *contexts: ProposedContext) -> tuple[int, bytes]:
        asked = contexts or (
            ProposedContext(CT, (EXPLICIT,)),
            ProposedContext(VERIFICATION, (IMPLICIT,)),
        )
        self.writer.write(negotiation.encode_request("PACS", "EDGE", asked, 16384))
        return await self.pdu()

    def say(self, data: bytes) -> None:
        self.writer.write(data)

    async def status(self) -> int | None:
        pdu_type, body = await self.pdu()
        assert pdu_type == 4, (pdu_type, body)
        return commands.number(commands.parse_command(body[6:]), commands.STATUS)

    def reset(self) -> None:
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@asynccontextmanager
async def raw_peer(server: StorageServer) -> AsyncIterator[RawPeer]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        yield RawPeer(reader, writer)
    finally:
        writer.transport.abort()


def request(field_value: int, sop_class_uid: str = CT, *, data_set: bool = True) -> bytes:
    return encode_command(
        {
            commands.AFFECTED_SOP_CLASS_UID: sop_class_uid,
            commands.COMMAND_FIELD: field_value,
            commands.MESSAGE_ID: 7,
            commands.COMMAND_DATA_SET_TYPE: 1 if data_set else 0x0101,
            commands.AFFECTED_SOP_INSTANCE_UID: "1.2.3.4",
        }
    )


def store(data: bytes, pdu_bytes_max: int = 1 << 24) -> bytes:
    return b"".join(command_messages(1, request(commands.C_STORE_RQ), data, pdu_bytes_max))


def an_object() -> Dataset:
    data_set = Dataset()
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data_set.SOPClassUID = CT
    data_set.SOPInstanceUID = "1.2.3.4.5"
    data_set.PatientName = "CANARY^NAME"
    data_set.PixelData = bytes(300_000)
    data_set["PixelData"].VR = "OW"
    return data_set


@contextmanager
def one_descriptor_left() -> Iterator[None]:
    """Let this process open one file or socket more, and no second one."""
    next_free = os.open(os.devnull, os.O_RDONLY)
    os.close(next_free)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next_free + 1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until something is so."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.002)


async def test_objects_of_a_real_scu_arrive_byte_for_byte_and_are_answered() -> None:
    policy = Policy()
    policy.handler.prepared = [Sink(), 0xA700, Sink(status=0xB000)]

    def send(port: int) -> tuple[list[int], int]:
        ae = AE("PACS")
        ae.add_requested_context(CT, ExplicitVRLittleEndian)
        ae.add_requested_context(VERIFICATION)
        association = ae.associate("127.0.0.1", port, ae_title="EDGE")
        assert association.is_established
        sent = [
            association.send_c_store(an_object(), originator_aet="MOVER", originator_id=n).Status
            for n in (1, 2, 3)
        ]
        echoed = association.send_c_echo().Status
        association.release()
        return sent, echoed

    async with serving(policy) as server:
        statuses, echoed = await asyncio.to_thread(send, server.port)
        await policy.handler.ended.wait()

    assert statuses == [0x0000, 0xA700, 0xB000]
    assert echoed == 0
    first, _, third = policy.handler.sinks
    assert bytes(first.data) == bytes(third.data)
    assert b"CANARY^NAME" in first.data
    assert len(first.data) > 300_000
    assert (first.finished, first.discarded) == (1, 0)
    seen = policy.handler.commands[1]
    assert seen.affected_sop_class_uid == CT
    assert seen.affected_sop_instance_uid == "1.2.3.4.5"
    assert seen.transfer_syntax_uid == EXPLICIT
    assert (seen.move_originator_aet, seen.move_originator_message_id) == ("MOVER", 2)
    assert (seen.calling_aet, seen.called_aet, seen.peer_host) == ("PACS", "EDGE", "127.0.0.1")
    assert policy.handler.closings == 1


async def test_the_policy_sees_the_request_and_picks_the_syntax() -> None:
    policy = Policy(allowed=lambda context: IMPLICIT if context.abstract_syntax_uid == CT else None)

    def negotiate(port: int) -> tuple[list[Any], list[Any], tuple[bool, bool]]:
        ae = AE("PACS")
        ae.add_requested_context(CT, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
        ae.add_requested_context("1.2.840.10008.5.1.4.1.1.4", ExplicitVRLittleEndian)
        ae.add_requested_context("1.2.840.10008.5.1.4.1.2.2.1")
        role = build_role(CT, scu_role=True, scp_role=True)
        association = ae.associate("127.0.0.1", port, ae_title="EDGE", ext_neg=[role])
        accepted = [
            (c.abstract_syntax, c.transfer_syntax[0]) for c in association.accepted_contexts
        ]
        refused = [c.result for c in association.rejected_contexts]
        roles = association.accepted_contexts[0]
        association.release()
        return accepted, refused, (bool(roles.as_scu), bool(roles.as_scp))

    async with serving(policy) as server:
        accepted, refused, roles = await asyncio.to_thread(negotiate, server.port)

    assert accepted == [(CT, IMPLICIT)]
    assert refused == [4, 3]
    assert roles == (True, False)
    [seen] = policy.requests
    assert (seen.calling_aet, seen.called_aet, seen.peer_host) == ("PACS", "EDGE", "127.0.0.1")
    assert seen.contexts[0] == ProposedContext(CT, (EXPLICIT, IMPLICIT), scp_role=True)


async def test_a_pdu_larger_than_the_buffer_needs_no_more_than_the_buffer() -> None:
    policy = Policy()
    data = bytes(range(256)) * 12_000

    limits = Limits(buffer_bytes=65536)
    async with serving(policy, limits=limits) as server, raw_peer(server) as peer:
        await peer.associate()
        peer.say(store(data))
        assert await peer.status() == 0

    [sink] = policy.handler.sinks
    assert bytes(sink.data) == data
    assert sink.longest_piece <= 65536


async def test_an_object_may_come_byte_by_byte() -> None:
    policy = Policy()

    async with serving(policy) as server, raw_peer(server) as peer:
        await peer.associate()
        for byte in store(b"pixels", 40):
            peer.say(bytes([byte]))
            await asyncio.sleep(0)
        assert await peer.status() == 0

    assert bytes(policy.handler.sinks[0].data) == b"pixels"


class SlowSink(Sink):
    """Is busy with its first piece until told otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.ready = asyncio.get_running_loop().create_future()

    def write(self, data: memoryview) -> Awaitable[None] | None:
        super().write(data)
        return None if self.ready.done() else self.ready


async def test_a_busy_sink_stops_the_reading_and_not_the_association() -> None:
    policy = Policy()
    slow = SlowSink()
    policy.handler.prepared = [slow]
    data = bytes(20_000_000)

    limits = Limits(buffer_bytes=65536)
    async with serving(policy, limits=limits) as server, raw_peer(server) as peer:
        await peer.associate()
        peer.say(store(data, 131072))
        await until(lambda: bool(slow.data))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await peer.writer.drain()
        assert len(slow.data) <= 65536

        slow.ready.set_result(None)

        assert await peer.status() == 0
    assert bytes(slow.data) == data


@pytest.mark.parametrize("data", [b"x", b"xy" * 50_000])
async def test_a_sink_busy_with_the_last_piece_finishes_afterwards(data: bytes) -> None:
    policy = Policy()
    slow = SlowSink()
    policy.handler.prepared = [slow]

    async with serving(policy) as server, raw_peer(server) as peer:
        await peer.associate()
        peer.say(store(data))
        await until(lambda: bool(slow.data))
        assert slow.finished == 0
        slow.ready.set_result(None)
        assert await peer.status() == 0
        peer.say(store(b"next"))
        assert await peer.status() == 0

    assert (slow.finished, slow.discarded) == (1, 0)


async def test_the_next_object_waits_for_the_answer_to_the_last() -> None:
    policy = Policy()
    gate = asyncio.Event()
    policy.handler.prepared = [Sink(gate=gate)]

    async with serving(policy) as server, raw_peer(server) as peer:
        await peer.associate()
        peer.say(store(b"one") + store(b"two") + store(b"three"))
        await until(
            lambda: policy.handler.sinks[:1] != [] and policy.handler.sinks[0].finished == 1
        )
        assert len(policy.handler.commands) == 1
        gate.set()
        assert [await peer.status() for _ in range(3)] == [0, 0, 0]

    assert [bytes(sink.data) for sink in policy.handler.sinks] == [b"one", b"two", b"three"]


async def test_a_silent_connection_is_closed_by_artim() -> None:
    timers = Timers(artim_s=0.05)
    async with serving(Policy(), timers=timers) as server, raw_peer(server) as peer:
        assert await peer.pdu() == (-1, b"")


async def test_a_connection_that_took_the_last_descriptor_is_closed_by_artim_too() -> None:
    async with serving(Policy(), timers=Timers(artim_s=0.3)) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as peer, one_descriptor_left():
            peer.setblocking(False)
            async with asyncio.timeout(PATIENCE_S):
                assert await asyncio.get_running_loop().sock_recv(peer, 1) == b""


@pytest.mark.parametrize("started", [b"", store(b"abc" * 100)[:-50]])
async def test_an_association_that_falls_silent_is_aborted(started: bytes) -> None:
    policy = Policy()
    timers = Timers(artim_s=1, network_s=0.1, idle_s=0.2)

    async with serving(policy, timers=timers) as server, raw_peer(server) as peer:
        await peer.associate()
        peer.say(started)
        assert (await peer.pdu())[0] == 7
        await policy.handler.ended.wait()

    assert [sink.discarded for sink in policy.handler.sinks] == [1] * bool(started)


async def test_waiting_for_our_own_answer_is_not_silence() -> None:
    policy = Policy()
    gate = asyncio.Event()
    policy.handler.prepared = [Sink(gate=gate)]
    timers = Timers(artim_s=1, network_s=0.05, idle_s=0.05)

    async with serving(policy, timers=timers) as server, raw_peer(server) as peer:
        await peer.associate()
        peer.say(store(b"abc"))
        asyncio.get_running_loop().call_later(0.3, gate.set)
        assert await peer.status() == 0


async def test_300_silent_connections_do_not_delay_a_real_peer() -> None:
    policy = Policy()
    timers = Timers(artim_s=30)
    async with serving(policy, timers=timers) as server:
        silent = [(await asyncio.open_connection("127.0.0.1", server.port))[1] for _ in range(300)]
        started_s = asyncio.get_running_loop().time()
        async with raw_peer(server) as peer:
            assert (await peer.associate())[0] == 2
            peer.say(store(b"abc"))
            assert await peer.status() == 0
        took_s = asyncio.get_running_loop().time() - started_s
        for writer in silent:
            writer.transport.abort()

    assert took_s < 1


async def test_an_endless_object_ends_at_its_limit() -> None:
    policy = Policy()
    limits = Limits(object_bytes_max=1_000_000)

    async with serving(policy, limits=limits) as server, raw_peer(server) as peer:
        await peer.associate()
        peer.say(store(b"")[:-12])  # The command, and then no end of data.
        piece = struct.pack(">BBLLBB", 4, 0, 65536 + 6, 65536 + 2, 1, 0) + bytes(65536)
        for _ in range(64):
            peer.say(piece)
        pdu_type, body = await peer.pdu()

    assert (pdu_type, body[2]) == (7, 0)
    [sink] = policy.handler.sinks
    assert (sink.finished, sink.discarded) == (0, 1)
    assert len(sink.data) <= 1_000_000
    assert policy.handler.closings == 1


RELEASE_RP = negotiation.RELEASE_RP_BYTES
ONE_PDV = struct.Struct(">BBLLBB")


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"\x09\x00\x00\x00\x00\x00", 1),
        (negotiation.encode_request("A", "B", [ProposedContext(CT, (EXPLICIT,))], 0), 2),
        (RELEASE_RP, 2),
        (negotiation.encode_rejection(1, 1, 1), 2),
        (ONE_PDV.pack(4, 0, 9, 5, 99, 3) + b"abc", 6),
        (ONE_PDV.pack(4, 0, 9, 5, 1, 2) + b"abc", 5),
        (ONE_PDV.pack(4, 0, 9, 5, 1, 3) + b"abc", 6),
        (ONE_PDV.pack(4, 0, 9, 500, 1, 3) + b"abc", 6),
        (b"\x04\x00\xff\xff\xff\xff", 6),
        (ONE_PDV.pack(4, 0, 60006, 60002, 1, 1) + bytes(60000), 6),
        (b"".join(command_messages(1, request(0x8001), b"", 100)), 5),
        (2 * b"".join(command_messages(1, request(1), None, 4096)), 5),
    ],
)
async def test_a_violation_is_aborted_with_its_reason(said: bytes, reason: int) -> None:
    policy = Policy()

    async with serving(policy) as server, raw_peer(server) as peer:
        await peer.associate()
        peer.say(said)
        pdu_type, body = await peer.pdu()
        await policy.handler.ended.wait()

    assert (pdu_type, body[2], body[3]) == (7, 2, reason)
    assert policy.handler.closings == 1


async def test_data_before_the_association_is_a_violation() -> None:
    async with serving(Policy()) as server, raw_peer(server) as peer:
        peer.say(store(b"abc"))
        pdu_type, body = await peer.pdu()

    assert (pdu_type, body[2], body[3]) == (7, 2, 2)


@pytest.mark.parametrize("how", ["fin", "rst", "abort", "release", "server closes"])
async def test_an_object_cut_short_is_discarded_once(how: str) -> None:
    policy = Policy()
    async with serving(policy) as server, raw_peer(server) as peer:
        await peer.associate()
        messages = command_messages(1, request(commands.C_STORE_RQ), b"abc" * 1000, 500)
        peer.say(b"".join(list(messages)[:-1]))
        await until(lambda: bool(policy.handler.sinks and policy.handler.sinks[0].data))
        if how == "fin":
            peer.writer.write_eof()
        elif how == "rst":
            peer.reset()
        elif how == "abort":
            peer.say(negotiation.abort_pdu(0, 0))
        elif how == "release":
            peer.say(negotiation.RELEASE_RQ_BYTES)
            assert (await peer.pdu())[0] == 6
        else:
            await server.close()
        await policy.handler.ended.wait()

    [sink] = policy.handler.sinks
    assert (sink.finished, sink.discarded) == (0, 1)
    assert policy.handler.closings == 1


async def test_a_peer_that_leaves_before_the_answer_does_not_end_the_finish() -> None:
    policy = Policy()
    gate = asyncio.Event()
    sink = Sink(gate=gate)
    policy.handler.prepared = [sink]

    async with serving(policy) as server:
        async with raw_peer(server) as peer:
            await peer.associate()
            peer.say(store(b"abc"))
            await until(lambda: sink.finished == 1)
        await policy.handler.ended.wait()
        gate.set()
        await until(lambda: server.associations == 0)

    assert (sink.finished, sink.discarded) == (1, 0)


@pytest.mark.parametrize("rejection", [Rejection(1, 1, 3), Rejection(1, 1, 7), Rejection(2, 3, 1)])
async def test_a_rejection_carries_its_numbers(rejection: Rejection) -> None:
    async with serving(Policy(decision=rejection)) as server, raw_peer(server) as peer:
        pdu_type, body = await peer.associate()

    assert (pdu_type, *body[1:]) == (3, rejection.result, rejection.source, rejection.reason)


async def test_one_association_too_many_is_asked_to_come_back() -> None:
    limits = Limits(associations_max=1)
    async with serving(Policy(), limits=limits) as server, raw_peer(server) as first:
        assert (await first.associate())[0] == 2
        async with raw_peer(server) as second:
            pdu_type, body = await second.associate()
            assert (pdu_type, body[1]) == (3, 2)
        first.say(negotiation.RELEASE_RQ_BYTES)
        assert (await first.pdu())[0] == 6
        async with raw_peer(server) as third:
            assert (await third.associate())[0] == 2


async def test_a_policy_that_cannot_decide_is_a_transient_rejection() -> None:
    policy = Policy(gate=asyncio.Event())
    timers = Timers(admit_s=0.05, artim_s=1)
    async with serving(policy, timers=timers) as server, raw_peer(server) as peer:
        pdu_type, body = await peer.associate()

    assert (pdu_type, body[1]) == (3, 2)


async def test_an_address_that_is_not_on_the_list_is_not_listened_to() -> None:
    policy = Policy()
    server = serving(policy, may_connect=lambda host: host != "127.0.0.1")
    async with server, raw_peer(server) as peer:
        assert await peer.associate() == (-1, b"")

    assert policy.requests == []


@pytest.mark.parametrize(
    ("context_id", "field_value", "data_set", "status"),
    [
        (1, 0x0020, True, 0x0211),
        (1, 0x0021, True, 0x0211),
        (1, 0x0150, False, 0x0211),
        (1, 0x0030, False, 0x0211),
        (3, 0x0001, True, 0x0122),
        (3, 0x0030, False, 0x0000),
        (1, 0x0001, False, 0xC000),
    ],
)
async def test_other_operations_are_answered_and_the_association_goes_on(
    context_id: int, field_value: int, data_set: bool, status: int
) -> None:
    async with serving(Policy()) as server, raw_peer(server) as peer:
        await peer.associate()
        raw = request(field_value, data_set=data_set)
        for pdu in command_messages(context_id, raw, b"abcd" if data_set else None, 4096):
            peer.say(pdu)
        assert await peer.status() == status
        peer.say(store(b"abc"))
        assert await peer.status() == 0


async def test_a_cancel_request_has_no_answer_of_its_own() -> None:
    async with serving(Policy()) as server, raw_peer(server) as peer:
        await peer.associate()
        for pdu in command_messages(1, request(0x0FFF, data_set=False), None, 4096):
            peer.say(pdu)
        peer.say(store(b"abc"))
        assert await peer.status() == 0


async def test_a_closing_server_answers_what_it_has_and_then_aborts() -> None:
    policy = Policy()
    gate = asyncio.Event()
    policy.handler.prepared = [Sink(gate=gate)]
    async with serving(policy) as server, raw_peer(server) as peer, raw_peer(server) as idle:
        await peer.associate()
        await idle.associate()
        peer.say(store(b"abc"))
        await until(lambda: bool(policy.handler.sinks) and policy.handler.sinks[0].finished == 1)
        closing = asyncio.create_task(server.close(grace_s=PATIENCE_S))
        assert (await idle.pdu())[0] == 7
        gate.set()
        assert await peer.status() == 0
        assert (await peer.pdu())[0] == 7
        await closing


async def test_a_finish_that_never_ends_does_not_keep_the_server_open() -> None:
    policy = Policy()
    sink = Sink(gate=asyncio.Event())
    policy.handler.prepared = [sink]
    async with serving(policy) as server, raw_peer(server) as peer:
        await peer.associate()
        peer.say(store(b"abc"))
        await until(lambda: sink.finished == 1)
        async with asyncio.timeout(PATIENCE_S):
            await server.close(grace_s=0.05)
        assert (await peer.pdu())[0] == 7


class BrokenSink(Sink):
    async def finish(self) -> int:
        raise AssertionError("a bug")


async def test_a_bug_above_is_reported_and_ends_one_association_only() -> None:
    policy = Policy()
    policy.handler.prepared = [BrokenSink()]
    reported: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))

    async with serving(policy) as server, raw_peer(server) as peer, raw_peer(server) as other:
        await peer.associate()
        await other.associate()
        peer.say(store(b"abc"))
        assert (await peer.pdu())[0] == 7
        other.say(store(b"abc"))
        assert await other.status() == 0

    assert [str(context["exception"]) for context in reported] == ["a bug"]
    assert "CANARY" not in str(reported)


async def test_a_peer_that_takes_no_answers_is_not_asked_for_more() -> None:
    ping = b"".join(command_messages(3, request(0x0030, VERIFICATION, data_set=False), None, 4096))
    async with serving(Policy()) as server, raw_peer(server) as peer:
        raw = peer.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await peer.associate()
        peer.reader._transport.pause_reading()  # type: ignore[attr-defined]
        with pytest.raises(TimeoutError):  # noqa: PT012
            async with asyncio.timeout(0.5):
                while True:
                    peer.say(ping * 1000)
                    await peer.writer.drain()
        peer.reader._transport.resume_reading()  # type: ignore[attr-defined]
        assert await peer.status() == 0
