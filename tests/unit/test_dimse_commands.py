"""Command sets and statuses, checked against pydicom's and pynetdicom's reading of them."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.filereader import read_dataset

from cloudmig.dimse import commands
from cloudmig.dimse.status import Category, category, words


def as_pydicom(raw: bytes) -> dict[str, object]:
    data_set = read_dataset(io.BytesIO(raw), is_implicit_VR=True, is_little_endian=True)
    return {element.keyword: element.value for element in data_set}


def test_a_command_set_reads_back_with_another_parser() -> None:
    raw = commands.encode_command(
        {
            commands.AFFECTED_SOP_CLASS_UID: "1.2.840.10008.5.1.4.1.2.2.2",
            commands.COMMAND_FIELD: commands.C_MOVE_RQ,
            commands.MESSAGE_ID: 7,
            commands.MOVE_DESTINATION: "EDGE1",
            commands.PRIORITY: 0,
            commands.COMMAND_DATA_SET_TYPE: commands.HAS_DATA_SET,
        }
    )

    seen = as_pydicom(raw)

    assert seen["CommandGroupLength"] == len(raw) - 12
    assert seen["AffectedSOPClassUID"] == "1.2.840.10008.5.1.4.1.2.2.2"
    assert seen["MoveDestination"] == "EDGE1"
    assert seen["MessageID"] == 7
    assert commands.text(commands.parse_command(raw), commands.MOVE_DESTINATION) == "EDGE1"


@pytest.mark.parametrize("status", [0x0000, 0xA700, 0xFFFF])
@pytest.mark.parametrize("sop_instance_uid", [b"1.2.3.45", b"", b"../../etc/passwd"])
def test_a_store_answer_is_one_whole_pdu(status: int, sop_instance_uid: bytes) -> None:
    heads: dict[tuple[int, bytes, int], bytes] = {}

    for message_id in (1, 65535):
        raw = commands.store_answer(heads, 5, message_id, b"1.2.840.1", sop_instance_uid, status)

        pdu_type, _, pdu_length = struct.unpack_from(">BBL", raw)
        pdv_length, context_id, control = struct.unpack_from(">LBB", raw, 6)
        assert (pdu_type, pdu_length, pdv_length) == (4, len(raw) - 6, len(raw) - 10)
        assert (context_id, control) == (5, 3)
        command = commands.parse_command(raw[12:])
        assert commands.number(command, commands.COMMAND_FIELD) == 0x8001
        assert commands.number(command, commands.MESSAGE_ID_BEING_RESPONDED_TO) == message_id
        assert commands.number(command, commands.STATUS) == status
        assert command[commands.AFFECTED_SOP_INSTANCE_UID] == sop_instance_uid
        group_length = struct.unpack_from("<HHLL", raw, 12)
        assert group_length == (0, 0, 4, len(raw) - 24)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_command_set_or_a_command_error(raw: bytes) -> None:
    try:
        command = commands.parse_command(raw)
    except commands.CommandError:
        return
    assert commands.number(command, commands.COMMAND_FIELD) is not None


@pytest.mark.parametrize("limit", [8, 100, 4096])
def test_messages_keep_to_the_length_the_peer_takes(limit: int) -> None:
    command, data_set = b"c" * 300, b"d" * 501

    pdus = list(commands.command_messages(9, command, data_set, limit))

    assert all(len(pdu) - 6 <= limit for pdu in pdus)
    assert b"".join(pdu[12:] for pdu in pdus) == command + data_set
    assert [pdu[11] for pdu in pdus].count(3) == 1
    assert pdus[-1][11] == 2


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (0x0000, Category.SUCCESS),
        (0xFF00, Category.PENDING),
        (0xFF01, Category.PENDING),
        (0xFE00, Category.CANCEL),
        (0xB000, Category.WARNING),
        (0x0107, Category.WARNING),
        (0xA700, Category.FAILURE),
        (0xA801, Category.FAILURE),
        (0xC123, Category.FAILURE),
        (0x4321, Category.FAILURE),
    ],
)
def test_every_status_has_a_category(status: int, expected: Category) -> None:
    assert category(status) is expected
    assert words(status).startswith(f"0x{status:04X} {expected.value}")


def test_an_unknown_move_destination_is_put_in_words() -> None:
    assert "estination" in words(0xA801)
