"""Associations we ask for, against pynetdicom's SCPs and against scripted peers that misbehave."""

from __future__ import annotations

import asyncio
import io
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.events import Event

from cloudmig.demo.workplace import free_port
from cloudmig.dimse import commands, negotiation
from cloudmig.dimse.client import Association, Peer, associate
from cloudmig.dimse.commands import command_messages, encode_command
from cloudmig.dimse.contexts import (
    QUERY_TRANSFER_SYNTAX_UIDS,
    AcceptedContext,
    ProposedContext,
    choose_transfer_syntax,
)
from cloudmig.dimse.limits import Limits, Timers
from cloudmig.dimse.messages import StoreCommand, SubOperations
from cloudmig.dimse.server import Admission, AssociationRequest, StorageServer
from cloudmig.errors import SourceRefused, SourceUnavailable
from tests.integration.dimse.sink import Sink

CT = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
GET = "1.2.840.10008.5.1.4.1.2.2.3"
EXPLICIT = "1.2.840.10008.1.2.1"
PATIENCE_S = 5.0
OBJECTS = 5
MOVE_ATTEMPTS = 5
TIMERS = Timers(connect_s=2, artim_s=1, network_s=5, answer_s=5)

QUERY_CONTEXTS = [
    ProposedContext(sop_class_uid, QUERY_TRANSFER_SYNTAX_UIDS)
    for sop_class_uid in (VERIFICATION, FIND, MOVE, GET)
]
CT_CONTEXT = ProposedContext(CT, (EXPLICIT,), scp_role=True)


def encoded(data_set: Dataset) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, data_set)
    return bytes(buffer.getvalue())


def a_query() -> bytes:
    data_set = Dataset()
    data_set.QueryRetrieveLevel = "STUDY"
    data_set.StudyInstanceUID = "1.2.3"
    return encoded(data_set)


def an_object(number: int) -> Dataset:
    data_set = Dataset()
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data_set.SOPClassUID = CT
    data_set.SOPInstanceUID = f"1.2.3.{number}"
    data_set.PatientName = "CANARY^NAME"
    data_set.PixelData = bytes([number]) * 200_000
    data_set["PixelData"].VR = "OW"
    return data_set


@dataclass
class Handler:
    touch: Callable[[], None] = lambda: None
    statuses: list[int] = field(default_factory=list)
    commands: list[StoreCommand] = field(default_factory=list)
    sinks: list[Sink] = field(default_factory=list)
    closings: int = 0

    def begin(self, command: StoreCommand) -> Sink:
        self.commands.append(command)
        self.sinks.append(Sink(self.statuses.pop(0) if self.statuses else 0))
        self.touch()
        return self.sinks[-1]

    def closed(self) -> None:
        self.closings += 1


class Everybody:
    def __init__(self, handler: Handler) -> None:
        self.handler = handler

    async def admit(self, request: AssociationRequest) -> Admission:
        return Admission(
            self.handler, lambda c: choose_transfer_syntax(c.transfer_syntax_uids, None)
        )


@contextmanager
def pacs(edge_port: int = 0) -> Iterator[Peer]:
    """Run pynetdicom as a PACS, in its threads."""

    def answer_find(event: Event) -> Iterator[tuple[int, Dataset | None]]:
        for number in range(3):
            match = Dataset()
            match.QueryRetrieveLevel = "STUDY"
            match.StudyInstanceUID = f"1.2.{number}"
            yield 0xFF00, match

    def answer_move(event: Event) -> Iterator[Any]:
        yield ("127.0.0.1", edge_port) if event.move_destination == "EDGE" else (None, None)
        yield OBJECTS
        for number in range(OBJECTS):
            yield 0xFF00, an_object(number)

    def answer_get(event: Event) -> Iterator[Any]:
        yield OBJECTS
        for number in range(OBJECTS):
            yield 0xFF00, an_object(number)

    ae = AE("PACS")
    for context in QUERY_CONTEXTS:
        ae.add_supported_context(context.abstract_syntax_uid, ExplicitVRLittleEndian)
    ae.add_supported_context(CT, ExplicitVRLittleEndian, scu_role=True, scp_role=True)
    ae.add_requested_context(CT, ExplicitVRLittleEndian)
    ae.require_called_aet = True
    handlers = [
        (evt.EVT_C_ECHO, lambda event: 0),
        (evt.EVT_C_FIND, answer_find),
        (evt.EVT_C_MOVE, answer_move),
        (evt.EVT_C_GET, answer_get),
    ]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    assert server is not None
    try:
        yield Peer("127.0.0.1", server.server_address[1], "PACS", "EDGE")
    finally:
        server.shutdown()
        ae.shutdown()


async def test_a_real_pacs_is_pinged_and_released() -> None:
    with pacs() as peer:
        async with await associate(peer, QUERY_CONTEXTS, timers=TIMERS) as association:
            assert await association.ping() == 0
            assert await association.ping() == 0
            assert association.accepted_syntax(FIND) == EXPLICIT
            assert association.accepted_syntax(CT) is None
            assert association.is_open
        assert not association.is_open
        with pytest.raises(SourceUnavailable, match="released"):
            await association.ping()


async def test_find_yields_every_match_and_the_final_status() -> None:
    with pacs() as peer:
        async with await associate(peer, QUERY_CONTEXTS, timers=TIMERS) as association:
            for _ in range(2):  # One association serves many questions.
                answers = [answer async for answer in association.find(FIND, a_query())]
                assert [answer.status for answer in answers] == [0xFF00] * 3 + [0]
                matches = [
                    read_dataset(io.BytesIO(answer.identifier), False, True)
                    for answer in answers[:-1]
                ]
                assert [m.StudyInstanceUID for m in matches] == ["1.2.0", "1.2.1", "1.2.2"]
                assert answers[0].transfer_syntax_uid == EXPLICIT


async def test_move_brings_the_objects_to_our_server_and_counts_them() -> None:
    async def move() -> list[SubOperations]:
        async with StorageServer(Everybody(handler), host="127.0.0.1", port=0) as server:
            with pacs(server.port) as peer:
                async with await associate(peer, QUERY_CONTEXTS, timers=TIMERS) as association:
                    return [one async for one in association.move(MOVE, a_query(), "EDGE")]

    for attempt in range(MOVE_ATTEMPTS):
        handler = Handler()
        try:
            answers = await move()
            break
        except SourceUnavailable:
            # One thread of pynetdicom may take the answer to a C-STORE that another waits for (on
            # a busy machine in six of a hundred moves). Then all that it sent has its answer.
            answered = [sink.finished for sink in handler.sinks]
            if attempt + 1 == MOVE_ATTEMPTS or not answered or set(answered) != {1}:
                raise

    assert answers[-1].status == 0
    assert answers[-1].completed == OBJECTS
    assert answers[0].remaining == OBJECTS - 1
    assert [sink.data[-1] for sink in handler.sinks] == list(range(OBJECTS))
    assert handler.commands[0].move_originator_message_id == 1


async def test_an_unknown_move_destination_is_a_status_and_not_an_error() -> None:
    with pacs() as peer:
        async with await associate(peer, QUERY_CONTEXTS, timers=TIMERS) as association:
            answers = [one async for one in association.move(MOVE, a_query(), "NOWHERE")]

    assert [answer.status for answer in answers] == [0xA801]


async def test_get_brings_the_objects_on_its_own_association() -> None:
    handler = Handler(statuses=[0, 0xA700])
    with pacs() as peer:
        async with await associate(
            peer, [*QUERY_CONTEXTS, CT_CONTEXT], timers=TIMERS
        ) as association:
            answers = [one async for one in association.get(GET, a_query(), handler)]
            assert await association.ping() == 0

    assert answers[-1].status == 0xB000
    assert (answers[-1].completed, answers[-1].failed) == (OBJECTS - 1, 1)
    assert answers[-1].identifier is not None
    failed = read_dataset(io.BytesIO(answers[-1].identifier), False, True)
    assert failed.FailedSOPInstanceUIDList == "1.2.3.1"
    assert [sink.data[-1] for sink in handler.sinks] == list(range(OBJECTS))
    assert handler.commands[0].transfer_syntax_uid == EXPLICIT
    assert (handler.commands[0].calling_aet, handler.commands[0].called_aet) == ("PACS", "EDGE")
    assert handler.closings == 1


async def test_a_wrong_ae_title_is_a_refusal_with_a_hint() -> None:
    with pacs() as peer:
        wrong = Peer(peer.host, peer.port, "NOBODY", "EDGE")
        with pytest.raises(SourceRefused, match="rejected") as caught:
            await associate(wrong, QUERY_CONTEXTS, timers=TIMERS)

    assert "called AE title" in caught.value.hint


async def test_contexts_that_are_all_turned_down_are_a_refusal() -> None:
    with pacs() as peer, pytest.raises(SourceRefused, match="none of 1"):
        await associate(peer, [ProposedContext("1.2.840.10008.5.1.4.31", (EXPLICIT,))])


async def test_a_service_that_was_not_accepted_cannot_be_asked_for() -> None:
    with pacs() as peer:
        async with await associate(peer, QUERY_CONTEXTS[:1], timers=TIMERS) as association:
            with pytest.raises(SourceRefused, match="did not accept"):
                await anext(association.find(FIND, a_query()))
            assert await association.ping() == 0


async def test_nobody_at_the_port_is_unavailable() -> None:
    peer = Peer("127.0.0.1", free_port(), "PACS", "EDGE")

    with pytest.raises(SourceUnavailable, match="cannot be reached"):
        await associate(peer, QUERY_CONTEXTS, timers=TIMERS)


# Scripted peers


class Script:
    """The other end of an association, acting by the book of the test."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.seen: list[int] = []

    async def pdu(self) -> tuple[int, bytes]:
        head = await self.reader.readexactly(6)
        body = await self.reader.readexactly(struct.unpack(">L", head[2:])[0])
        self.seen.append(head[0])
        return head[0], head + body

    async def accept(self) -> None:
        request = negotiation.decode_request((await self.pdu())[1])
        accepted = {
            context_id: AcceptedContext(
                context_id, asked.abstract_syntax_uid, asked.transfer_syntax_uids[0]
            )
            for context_id, asked in request.contexts.items()
        }
        self.writer.write(negotiation.encode_answer(request, tuple(accepted.values()), 16384))

    async def question(self) -> None:
        """Read a request with its identifier."""
        while True:
            pdu_type, raw = await self.pdu()
            if pdu_type != 4 or raw[11] == 2:
                return

    def answer(
        self, field_value: int, status: int, identifier: bytes | None = None, **more: int
    ) -> None:
        fields: dict[int, int | str | bytes] = {
            commands.COMMAND_FIELD: field_value,
            commands.MESSAGE_ID_BEING_RESPONDED_TO: more.get("message_id", 1),
            commands.COMMAND_DATA_SET_TYPE: 0x0101 if identifier is None else 1,
            commands.STATUS: status,
        }
        context_id = more.get("context_id", 3)
        for raw in command_messages(context_id, encode_command(fields), identifier, 16384):
            self.writer.write(raw)

    def store(self, data: bytes, *, whole: bool = True) -> None:
        command = encode_command(
            {
                commands.AFFECTED_SOP_CLASS_UID: CT,
                commands.COMMAND_FIELD: 1,
                commands.MESSAGE_ID: 9,
                commands.COMMAND_DATA_SET_TYPE: 1,
                commands.AFFECTED_SOP_INSTANCE_UID: "1.2.3.4",
            }
        )
        pdus = list(command_messages(9, command, data, 1000))
        self.writer.write(b"".join(pdus if whole else pdus[:-1]))

    def reset(self) -> None:
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def end(self) -> None:
        """Read on until the other side is gone."""
        try:
            while True:
                await self.pdu()
        except (asyncio.IncompleteReadError, ConnectionError):
            return


@asynccontextmanager
async def scripted(act: Callable[[Script], Awaitable[None]]) -> AsyncIterator[Peer]:
    done: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        done.append(task)
        try:
            await act(Script(reader, writer))
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield Peer("127.0.0.1", server.sockets[0].getsockname()[1], "PACS", "EDGE")
        for task in done:
            task.cancel()
        await asyncio.gather(*done, return_exceptions=True)


async def opened(peer: Peer, timers: Timers = TIMERS, limits: Limits | None = None) -> Association:
    return await associate(peer, [*QUERY_CONTEXTS, CT_CONTEXT], timers=timers, limits=limits)


@pytest.mark.parametrize(
    ("numbers", "error"),
    [
        ((1, 1, 3), SourceRefused),
        ((1, 1, 7), SourceRefused),
        ((2, 1, 1), SourceUnavailable),
        ((2, 3, 1), SourceUnavailable),
        ((1, 3, 2), SourceUnavailable),
        ((9, 9, 9), SourceUnavailable),
    ],
)
async def test_a_rejection_is_permanent_or_passes(
    numbers: tuple[int, int, int], error: type[Exception]
) -> None:
    async def act(script: Script) -> None:
        await script.pdu()
        script.writer.write(negotiation.encode_rejection(*numbers))
        await script.end()

    async with scripted(act) as peer:
        with pytest.raises(error, match="rejected"):
            await opened(peer)


async def close_at_once(script: Script) -> None:
    return


async def abort_at_once(script: Script) -> None:
    await script.pdu()
    script.writer.write(negotiation.abort_pdu(2, 0))
    await script.end()


async def say_nothing(script: Script) -> None:
    await script.end()


async def speak_http(script: Script) -> None:
    script.writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await script.end()


async def cut_the_answer_short(script: Script) -> None:
    await script.pdu()
    script.writer.write(b"\x02\x00\x00\x00\x00\x50" + bytes(80))
    await script.end()


@pytest.mark.parametrize(
    "act", [close_at_once, abort_at_once, say_nothing, speak_http, cut_the_answer_short]
)
async def test_a_peer_that_does_not_associate_is_unavailable_or_refuses(
    act: Callable[[Script], Awaitable[None]],
) -> None:
    timers = Timers(connect_s=2, artim_s=0.1)
    async with scripted(act) as peer, asyncio.timeout(PATIENCE_S):
        with pytest.raises((SourceUnavailable, SourceRefused)):
            await opened(peer, timers=timers)


@pytest.mark.parametrize("how", ["fin", "rst", "abort", "release", "garbage", "other message"])
async def test_an_answer_that_breaks_off_is_unavailable(how: str) -> None:
    async def act(script: Script) -> None:
        await script.accept()
        await script.question()
        script.answer(0x8020, 0xFF00, b"match")
        if how == "rst":
            await script.writer.drain()
            await script.pdu()  # The ping that never gets its answer.
        elif how == "abort":
            script.writer.write(negotiation.abort_pdu(0, 0))
        elif how == "release":
            script.writer.write(negotiation.RELEASE_RQ_BYTES)
            await script.end()
        elif how == "garbage":
            script.writer.write(bytes(100))
            await script.end()
        elif how == "other message":
            script.answer(0x8020, 0xFF00, b"match", message_id=77)
            await script.end()
        if how == "rst":
            script.reset()
        else:
            script.writer.close()
            await script.end()

    async with scripted(act) as peer, asyncio.timeout(PATIENCE_S):
        association = await opened(peer)
        seen = []
        with pytest.raises(SourceUnavailable):  # noqa: PT012
            async for answer in association.find(FIND, a_query()):
                seen.append(answer.identifier)
                if how == "rst":
                    association._connection.answer(negotiation.RELEASE_RQ_BYTES)
        assert seen == [b"match"]
        assert not association.is_open
        with pytest.raises(SourceUnavailable):
            await association.ping()
        await association.release()


async def test_answers_that_came_before_the_end_are_still_given_out() -> None:
    async def act(script: Script) -> None:
        await script.accept()
        await script.question()
        for number in range(10):
            script.answer(0x8020, 0xFF00, bytes([number]))
        script.writer.write(negotiation.abort_pdu(0, 0))
        await script.end()

    async with scripted(act) as peer:
        association = await opened(peer)
        seen = []
        with pytest.raises(SourceUnavailable, match="aborted"):  # noqa: PT012
            async for answer in association.find(FIND, a_query()):
                seen.append(answer.identifier[0])  # noqa: PERF401 - the end is an error
        assert seen == list(range(10))


async def test_what_is_answered_once_more_is_left_out() -> None:
    """The threads of an archive: a final answer twice, a pending one after it."""

    async def act(script: Script) -> None:
        await script.accept()
        await script.question()
        script.answer(0x8020, 0xFF00, b"of the first")
        script.answer(0x8020, 0x0000)
        script.answer(0x8020, 0x0000)
        await script.question()
        script.answer(0x8020, 0xFF00, b"late")
        script.answer(0x8020, 0xFF00, b"of the second", message_id=2)
        script.answer(0x8020, 0x0000, message_id=2)
        await script.end()

    async with scripted(act) as peer, asyncio.timeout(PATIENCE_S):
        association = await opened(peer)
        first = [answer.identifier async for answer in association.find(FIND, a_query())]
        second = [answer.identifier async for answer in association.find(FIND, a_query())]
        association.abort()

    assert first == [b"of the first", b""]
    assert second == [b"of the second", b""]


async def test_silence_ends_an_operation_and_pending_answers_feed_it() -> None:
    async def act(script: Script) -> None:
        await script.accept()
        await script.question()
        for _ in range(6):
            script.answer(0x8021, 0xFF00, context_id=5)
            await asyncio.sleep(0.05)
        await script.end()

    timers = Timers(artim_s=0.5, answer_s=0.2)
    async with scripted(act) as peer, asyncio.timeout(PATIENCE_S):
        association = await opened(peer, timers=timers)
        seen = 0
        with pytest.raises(SourceUnavailable, match=r"no answer for 0\.2 s"):  # noqa: PT012
            async for _ in association.move(MOVE, a_query(), "EDGE"):
                seen += 1
        assert seen == 6


async def test_a_touch_from_elsewhere_keeps_a_silent_move_alive() -> None:
    async def act(script: Script) -> None:
        await script.accept()
        await script.question()
        await asyncio.sleep(0.5)
        script.answer(0x8021, 0, context_id=5)
        await script.end()

    timers = Timers(artim_s=0.5, answer_s=0.2)
    async with scripted(act) as peer, asyncio.timeout(PATIENCE_S):
        association = await opened(peer, timers=timers)

        async def touch() -> None:
            while True:
                await asyncio.sleep(0.05)
                association.touch()

        touching = asyncio.create_task(touch())
        answers = [one.status async for one in association.move(MOVE, a_query(), "EDGE")]
        touching.cancel()
    assert answers == [0]


async def test_pending_for_ever_ends_at_the_total_time() -> None:
    async def act(script: Script) -> None:
        await script.accept()
        await script.question()
        while True:
            script.answer(0x8021, 0xFF00, context_id=5)
            await script.writer.drain()
            await asyncio.sleep(0.01)

    timers = Timers(artim_s=0.5, total_s=0.2)
    async with scripted(act) as peer, asyncio.timeout(PATIENCE_S):
        association = await opened(peer, timers=timers)
        with pytest.raises(SourceUnavailable, match="too long"):
            async for _ in association.move(MOVE, a_query(), "EDGE"):
                pass


async def test_an_iterator_closed_early_aborts_instead_of_cancelling() -> None:
    scripts: list[Script] = []

    async def act(script: Script) -> None:
        scripts.append(script)
        await script.accept()
        await script.question()
        script.answer(0x8020, 0xFF00, b"match")
        script.answer(0x8020, 0xFF00, b"match")
        await script.end()

    async with scripted(act) as peer, asyncio.timeout(PATIENCE_S):
        association = await opened(peer)
        async with aclosing(association.find(FIND, a_query())) as answers:
            await anext(answers)
        assert not association.is_open
        await association.release()
        assert scripts[0].seen[-1] == 7


async def test_answers_nobody_takes_stop_the_reading() -> None:
    sent = 0

    async def act(script: Script) -> None:
        nonlocal sent
        await script.accept()
        await script.question()
        while sent < 3000:
            script.answer(0x8020, 0xFF00, bytes(10_000))
            await script.writer.drain()
            sent += 1
        script.answer(0x8020, 0)
        await script.end()

    async with scripted(act) as peer, asyncio.timeout(4 * PATIENCE_S):
        association = await opened(peer, limits=Limits(answers_waiting_max=8))
        answers = association.find(FIND, a_query())
        await anext(answers)
        before = -1
        while before != sent:  # Until the peer can send no more.
            before = sent
            await asyncio.sleep(0.1)
        assert sent < 2000
        assert sum([1 async for _ in answers]) == 3000


async def test_an_identifier_beyond_its_limit_ends_the_association() -> None:
    async def act(script: Script) -> None:
        await script.accept()
        await script.question()
        script.answer(0x8020, 0xFF00, bytes(200_000))
        await script.end()

    async with scripted(act) as peer, asyncio.timeout(PATIENCE_S):
        association = await opened(peer, limits=Limits(identifier_bytes_max=100_000))
        with pytest.raises(SourceUnavailable, match="beyond its limit"):
            await anext(association.find(FIND, a_query()))


async def test_both_sides_may_release_at_once() -> None:
    async def act(script: Script) -> None:
        await script.accept()
        assert (await script.pdu())[0] == 5
        script.writer.write(negotiation.RELEASE_RQ_BYTES)
        assert (await script.pdu())[0] == 6
        script.writer.write(negotiation.RELEASE_RP_BYTES)
        await script.end()

    async with scripted(act) as peer, asyncio.timeout(1.5):
        await (await opened(peer)).release()


async def test_a_release_nobody_answers_ends_all_the_same() -> None:
    async def act(script: Script) -> None:
        await script.accept()
        await script.end()

    timers = Timers(artim_s=0.1)
    async with scripted(act) as peer, asyncio.timeout(PATIENCE_S):
        association = await opened(peer, timers=timers)
        await association.release()
        assert not association.is_open


async def test_a_peer_that_leaves_an_idle_association_is_noticed() -> None:
    async def act(script: Script) -> None:
        await script.accept()
        await had_enough.wait()
        script.writer.write(negotiation.RELEASE_RQ_BYTES)
        assert (await script.pdu())[0] == 6

    had_enough = asyncio.Event()
    async with scripted(act) as peer, asyncio.timeout(PATIENCE_S):
        association = await opened(peer)
        had_enough.set()
        while association.is_open:
            await asyncio.sleep(0.002)
        with pytest.raises(SourceUnavailable, match="released"):
            await association.ping()


@pytest.mark.parametrize("how", ["fin", "abort", "closed by us"])
async def test_an_object_of_a_get_that_breaks_off_is_discarded_once(how: str) -> None:
    async def act(script: Script) -> None:
        await script.accept()
        await script.question()
        script.store(b"abc" * 1000)
        assert (await script.pdu())[0] == 4
        script.answer(0x8010, 0xFF00, context_id=7)
        script.store(b"abc" * 1000, whole=False)
        if how == "fin":
            script.writer.write_eof()
        elif how == "abort":
            script.writer.write(negotiation.abort_pdu(0, 0))
        await script.end()

    handler = Handler()
    async with scripted(act) as peer, asyncio.timeout(PATIENCE_S):
        association = await opened(peer)
        if how == "closed by us":
            async with aclosing(association.get(GET, a_query(), handler)) as answers:
                await anext(answers)
                while len(handler.sinks) < 2:
                    await asyncio.sleep(0.002)
        else:
            with pytest.raises(SourceUnavailable):
                async for _ in association.get(GET, a_query(), handler):
                    pass
    assert [(sink.finished, sink.discarded) for sink in handler.sinks] == [(1, 0), (0, 1)]
    assert bytes(handler.sinks[0].data) == b"abc" * 1000
    assert handler.closings == 1


async def test_an_object_nobody_asked_for_is_refused() -> None:
    answered: list[bytes] = []

    async def act(script: Script) -> None:
        await script.accept()
        await script.question()
        script.store(b"abc")
        answered.append((await script.pdu())[1])
        script.answer(0x8020, 0)
        await script.end()

    async with (
        scripted(act) as peer,
        asyncio.timeout(PATIENCE_S),
        await opened(peer) as association,
    ):
        assert [answer.status async for answer in association.find(FIND, a_query())] == [0]

    assert commands.number(commands.parse_command(answered[0][12:]), commands.STATUS) == 0x0211


async def test_a_cancelled_caller_leaves_no_association_behind() -> None:
    async def act(script: Script) -> None:
        await script.accept()
        await script.end()

    async with scripted(act) as peer, asyncio.timeout(PATIENCE_S):
        association = await opened(peer)
        asking = asyncio.create_task(anext(association.find(FIND, a_query())))
        await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert not association.is_open
        await association.release()


async def test_a_role_the_peer_denies_is_no_accepted_context() -> None:
    def serve() -> tuple[AE, Any]:
        ae = AE("PACS")
        ae.add_supported_context(GET, ExplicitVRLittleEndian)
        ae.add_supported_context(CT, ExplicitVRLittleEndian, scu_role=True, scp_role=False)
        return ae, ae.start_server(("127.0.0.1", 0), block=False)

    ae, server = serve()
    try:
        peer = Peer("127.0.0.1", server.server_address[1], "PACS", "EDGE")
        contexts = [ProposedContext(GET, (EXPLICIT,)), CT_CONTEXT]
        async with await associate(peer, contexts, timers=TIMERS) as association:
            assert association.accepted_syntax(GET) == EXPLICIT
            assert association.accepted_syntax(CT) is None
    finally:
        server.shutdown()
        ae.shutdown()
