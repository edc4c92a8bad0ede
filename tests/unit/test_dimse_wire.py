"""The PDU reader finds the same messages however the stream is cut, and refuses what is not one."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudmig.dimse.limits import Limits
from cloudmig.dimse.wire import AbortReason, Hold, PduReader, ProtocolViolation

LIMITS = Limits(buffer_bytes=64, associate_pdu_bytes_max=4096, data_pdu_bytes_max=1 << 20)


class Recorder:
    def __init__(self) -> None:
        self.control: list[tuple[int, bytes]] = []
        self.messages: list[tuple[int, bool, bytes]] = []
        self.longest_piece = 0
        self._open = bytearray()

    def control_pdu(self, pdu_type: int, pdu: memoryview) -> None:
        self.control.append((pdu_type, bytes(pdu)))

    def fragment(self, context_id: int, is_command: bool, is_last: bool, data: memoryview) -> None:
        self._open += data
        self.longest_piece = max(self.longest_piece, len(data))
        if is_last:
            self.messages.append((context_id, is_command, bytes(self._open)))
            self._open.clear()


def pdv(context_id: int, control: int, data: bytes) -> bytes:
    return struct.pack(">LBB", len(data) + 2, context_id, control) + data


def pdu(pdu_type: int, body: bytes) -> bytes:
    return struct.pack(">BBL", pdu_type, 0, len(body)) + body


def feed(reader: PduReader, data: bytes, sizes: list[int] | None = None) -> None:
    """Write as a transport does: never more than there is room for."""
    cuts = iter(sizes or [])
    while data:
        room = reader.get_buffer()
        assert len(room), "a transport gives up on an empty buffer"
        count = min(len(room), len(data), next(cuts, len(data)))
        room[:count] = data[:count]
        reader.received(count)
        data = data[count:]


MESSAGES = st.lists(
    st.tuples(st.sampled_from([1, 3, 255]), st.booleans(), st.binary(max_size=300)), max_size=6
)


@given(MESSAGES, st.lists(st.integers(1, 80), max_size=40), st.integers(1, 90), st.booleans())
def test_messages_come_out_as_sent_however_the_stream_is_cut(
    messages: list[tuple[int, bool, bytes]], sizes: list[int], fragment_size: int, packed: bool
) -> None:
    stream = b""
    for context_id, is_command, data in messages:
        pieces = [data[i : i + fragment_size] for i in range(0, len(data), fragment_size)] or [b""]
        pdvs = [
            pdv(context_id, is_command | (2 if index == len(pieces) - 1 else 0), piece)
            for index, piece in enumerate(pieces)
        ]
        stream += pdu(4, b"".join(pdvs)) if packed else b"".join(pdu(4, one) for one in pdvs)
    seen = Recorder()
    reader = PduReader(seen, LIMITS)

    feed(reader, stream, sizes)

    assert seen.messages == messages
    assert not reader.is_mid_pdu


def test_a_fragment_larger_than_the_buffer_is_handed_on_in_pieces() -> None:
    seen = Recorder()
    data = bytes(range(256)) * 40

    feed(PduReader(seen, LIMITS), pdu(4, pdv(1, 2, data)))

    assert seen.messages == [(1, False, data)]
    assert seen.longest_piece <= LIMITS.buffer_bytes


def test_a_control_pdu_larger_than_the_buffer_is_handed_on_whole() -> None:
    seen = Recorder()
    request = pdu(1, bytes(3000))

    feed(PduReader(seen, LIMITS), request + pdu(5, bytes(4)), [7] * 500)

    assert seen.control == [(1, request), (5, pdu(5, bytes(4)))]


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (pdu(9, b""), AbortReason.UNRECOGNIZED_PDU),
        (pdu(0, b""), AbortReason.UNRECOGNIZED_PDU),
        (b"GET / HTTP/1.1\r\n\r\n", AbortReason.UNRECOGNIZED_PDU),
        (struct.pack(">BBL", 1, 0, 0xFFFFFFFF), AbortReason.INVALID_PARAMETER_VALUE),
        (struct.pack(">BBL", 5, 0, 5000), AbortReason.INVALID_PARAMETER_VALUE),
        (struct.pack(">BBL", 4, 0, 0xFFFFFFFF), AbortReason.INVALID_PARAMETER_VALUE),
        (pdu(4, b""), AbortReason.INVALID_PARAMETER_VALUE),
        (pdu(4, struct.pack(">LBB", 1, 1, 3)), AbortReason.INVALID_PARAMETER_VALUE),
        (pdu(4, struct.pack(">LBB", 500, 1, 3) + b"x"), AbortReason.INVALID_PARAMETER_VALUE),
        (pdu(4, pdv(1, 3, b"ab") + b"xyz"), AbortReason.INVALID_PARAMETER_VALUE),
    ],
)
def test_what_is_no_pdu_is_named_by_its_reason(stream: bytes, reason: AbortReason) -> None:
    with pytest.raises(ProtocolViolation) as caught:
        feed(PduReader(Recorder(), LIMITS), stream)

    assert caught.value.reason is reason


def test_a_held_reader_stands_still_and_goes_on_where_it_stood() -> None:
    seen = Recorder()
    reader = PduReader(seen, LIMITS)
    reader.holds |= Hold.SINK

    feed(reader, pdu(4, pdv(1, 2, b"abc")))

    assert reader.is_stalled
    assert seen.messages == []
    reader.holds = Hold.NONE
    reader.advance()
    assert seen.messages == [(1, False, b"abc")]


def test_held_commands_wait_while_an_abort_behind_nothing_passes() -> None:
    seen = Recorder()
    reader = PduReader(seen, LIMITS)
    reader.holds_commands = True

    feed(reader, pdu(7, bytes(4)))
    feed(reader, pdu(4, pdv(1, 3, b"abc")))

    assert [pdu_type for pdu_type, _ in seen.control] == [7]
    assert seen.messages == []
    assert reader.is_stalled
    reader.holds_commands = False
    reader.advance()
    assert seen.messages == [(1, True, b"abc")]
    assert not reader.is_stalled


def test_bytes_that_come_after_a_hold_are_kept() -> None:
    seen = Recorder()
    reader = PduReader(seen, LIMITS)
    reader.holds |= Hold.SINK

    feed(reader, b"".join(pdu(4, pdv(1, 2, bytes([n]) * 50)) for n in range(20)))
    reader.holds = Hold.NONE
    reader.advance()

    assert [data[0] for _, _, data in seen.messages] == list(range(20))
