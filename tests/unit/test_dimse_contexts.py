"""What is proposed, and what is picked out of a proposal."""

from __future__ import annotations

import dataclasses
import struct

import pytest

from cloudmig.dimse.contexts import (
    CONTEXTS_MAX,
    LOSSLESS_TRANSFER_SYNTAX_UIDS,
    LOSSY_TRANSFER_SYNTAX_UIDS,
    TRANSFER_SYNTAX_UIDS,
    AcceptedContext,
    ProposedContext,
    choose_transfer_syntax,
    retrieve_contexts,
)
from cloudmig.dimse.negotiation import (
    IMPLEMENTATION_CLASS_UID,
    decode_answer,
    decode_request,
    encode_answer,
    encode_request,
)
from cloudmig.dimse.wire import ProtocolViolation

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
J2K_LOSSLESS = "1.2.840.10008.1.2.4.90"
J2K = "1.2.840.10008.1.2.4.91"
JPEG = "1.2.840.10008.1.2.4.50"


@pytest.mark.parametrize(
    ("proposed", "allowed", "chosen"),
    [
        ([EXPLICIT, IMPLICIT], None, EXPLICIT),
        ([IMPLICIT, EXPLICIT], None, IMPLICIT),
        ([J2K, EXPLICIT], None, EXPLICIT),
        ([J2K, JPEG], None, J2K),
        ([J2K, JPEG], {JPEG}, JPEG),
        ([J2K, EXPLICIT], {J2K}, None),
        ([J2K_LOSSLESS, IMPLICIT], {IMPLICIT}, IMPLICIT),
        ([EXPLICIT], set(), None),
        (["1.2.3.4"], None, "1.2.3.4"),
        ([], None, None),
    ],
)
def test_the_first_proposed_allowed_syntax_is_taken_and_lossy_ones_only_alone(
    proposed: list[str], allowed: set[str] | None, chosen: str | None
) -> None:
    assert choose_transfer_syntax(proposed, allowed) == chosen


def test_no_syntax_is_listed_twice() -> None:
    assert len(set(TRANSFER_SYNTAX_UIDS)) == len(TRANSFER_SYNTAX_UIDS)
    assert not set(LOSSY_TRANSFER_SYNTAX_UIDS) & set(LOSSLESS_TRANSFER_SYNTAX_UIDS)


def test_each_class_and_syntax_gets_a_context_of_its_own_within_the_limit() -> None:
    classes = [f"{CT}.{n}" for n in range(20)]

    groups = retrieve_contexts(classes, TRANSFER_SYNTAX_UIDS)

    assert all(len(group) <= CONTEXTS_MAX - 1 for group in groups)
    pairs = [(c.abstract_syntax_uid, c.transfer_syntax_uids) for group in groups for c in group]
    assert sorted(pairs) == sorted(
        (sop_class, (syntax,)) for sop_class in classes for syntax in TRANSFER_SYNTAX_UIDS
    )
    assert all(context.scp_role for group in groups for context in group)


def test_the_contexts_of_one_class_stay_on_one_association() -> None:
    groups = retrieve_contexts([CT, MR, CT], TRANSFER_SYNTAX_UIDS[:30], reserved=CONTEXTS_MAX - 40)

    assert [{c.abstract_syntax_uid for c in group} for group in groups] == [{CT}, {MR}]


def test_nothing_to_ask_for_is_no_association() -> None:
    assert retrieve_contexts([], TRANSFER_SYNTAX_UIDS) == []


def test_a_request_reads_back_with_its_roles() -> None:
    contexts = [
        ProposedContext(CT, (EXPLICIT,), scp_role=True),
        ProposedContext(CT, (IMPLICIT,), scp_role=True),
        ProposedContext(MR, (EXPLICIT, IMPLICIT)),
    ]

    request = decode_request(encode_request("EDGE", "PACS", contexts, 131072))

    assert list(request.contexts) == [1, 3, 5]
    assert list(request.contexts.values()) == contexts
    assert request.roles == {CT: (False, True)}
    assert (request.calling_aet, request.called_aet) == ("EDGE", "PACS")
    assert request.pdu_bytes_max == 131072


def test_128_contexts_of_all_syntaxes_can_be_asked_for() -> None:
    contexts = [ProposedContext(f"1.2.{n}", TRANSFER_SYNTAX_UIDS) for n in range(CONTEXTS_MAX)]

    request = decode_request(encode_request("EDGE", "PACS", contexts, 131072))

    assert max(request.contexts) == 255
    assert list(request.contexts.values()) == contexts


def test_an_answer_reads_back_without_what_was_refused() -> None:
    proposed = [ProposedContext(CT, (EXPLICIT, IMPLICIT)), ProposedContext(MR, (J2K,))]
    request = decode_request(encode_request("EDGE", "PACS", proposed, 0))
    accepted = {1: AcceptedContext(1, CT, IMPLICIT)}

    answer = decode_answer(encode_answer(request, tuple(accepted.values()), 16384), proposed)

    assert answer.contexts == accepted
    assert answer.pdu_bytes_max == 16384


def test_unknown_items_in_a_request_are_ignored() -> None:
    raw = encode_request("EDGE", "PACS", [ProposedContext(CT, (EXPLICIT,))], 0)
    unknown = b"\x77\x00\x00\x03abc"
    longer = raw[:2] + (len(raw) - 6 + len(unknown)).to_bytes(4, "big") + raw[6:] + unknown

    read = dataclasses.asdict(decode_request(longer))
    assert read == dataclasses.asdict(decode_request(raw))


def item(item_type: int, content: bytes) -> bytes:
    return struct.pack(">BBH", item_type, 0, len(content)) + content


def with_user_items(raw: bytes, *items: bytes) -> bytes:
    """Return an A-ASSOCIATE PDU with these in its user information, the last item."""
    start = raw.rindex(b"\x50\x00")
    longer = raw[:start] + item(0x50, raw[start + 4 :] + b"".join(items))
    return longer[:2] + struct.pack(">L", len(longer) - 6) + longer[6:]


@pytest.mark.parametrize(
    "careless",
    [
        item(0x52, b"1." + b"2" * 80),
        item(0x55, b"VERSION 1\0\0\0"),
        item(0x55, b"A version name of more than 16 letters"),
        item(0x55, b"V\xe9rsion"),
        item(0x58, bytes([9, 0, 0, 1, 65, 0, 0])),
    ],
    ids=["class UID", "NULs", "long name", "no ASCII", "user identity"],
)
def test_what_nobody_here_reads_may_be_written_as_it_likes(careless: bytes) -> None:
    proposed = [ProposedContext(CT, (EXPLICIT,))]
    raw = encode_request("EDGE", "PACS", proposed, 0)
    request = decode_request(raw)
    accepted = AcceptedContext(1, CT, EXPLICIT)
    answer = encode_answer(request, (accepted,), 0)

    read = dataclasses.asdict(decode_request(with_user_items(raw, careless)))
    assert read == dataclasses.asdict(request)
    assert decode_answer(with_user_items(answer, careless), proposed).contexts == {1: accepted}


def test_ae_titles_may_be_padded_with_nuls() -> None:
    raw = encode_request("EDGE", "PACS", [ProposedContext(CT, (EXPLICIT,))], 0)
    padded = raw[:10] + b"PACS".ljust(16, b"\0") + b"EDGE".ljust(16, b"\0") + raw[42:]

    request = decode_request(padded)

    assert (request.calling_aet, request.called_aet) == ("EDGE", "PACS")


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.parametrize("padding", ["\0", "\0\0", "  "])
def test_uids_may_be_padded(padding: str) -> None:
    proposed = [ProposedContext(CT, (EXPLICIT,))]
    careless = [ProposedContext(CT + padding, (EXPLICIT + padding,))]

    request = decode_request(encode_request("EDGE", "PACS", careless, 0))
    assert list(request.contexts.values()) == proposed
    raw = encode_answer(request, (AcceptedContext(1, CT, EXPLICIT + padding),), 0)
    assert decode_answer(raw, proposed).contexts == {1: AcceptedContext(1, CT, EXPLICIT)}


def test_a_context_without_a_transfer_syntax_is_turned_down() -> None:
    proposed = [ProposedContext(CT, (EXPLICIT,)), ProposedContext(MR, ())]
    request = decode_request(encode_request("EDGE", "PACS", proposed, 0))
    accepted = AcceptedContext(1, CT, EXPLICIT)

    answer = decode_answer(encode_answer(request, (accepted,), 0), proposed)

    assert answer.contexts == {1: accepted}


@pytest.mark.parametrize("cut", [7, 40, 73, 80, 100, -1])
def test_a_request_that_is_cut_short_is_a_violation(cut: int) -> None:
    raw = encode_request("EDGE", "PACS", [ProposedContext(CT, (EXPLICIT,))], 0)

    with pytest.raises(ProtocolViolation):
        decode_request(raw[:cut])


def test_an_answer_with_a_syntax_nobody_proposed_is_a_violation() -> None:
    asked = [ProposedContext(CT, (EXPLICIT,))]
    request = decode_request(encode_request("EDGE", "PACS", asked, 0))
    raw = encode_answer(request, (AcceptedContext(1, CT, J2K),), 0)

    with pytest.raises(ProtocolViolation):
        decode_answer(raw, asked)


def test_our_implementation_class_uid_is_a_uuid_under_2_25() -> None:
    assert IMPLEMENTATION_CLASS_UID.startswith("2.25.")
    assert len(IMPLEMENTATION_CLASS_UID) <= 64
    assert int(IMPLEMENTATION_CLASS_UID.split(".")[2]) < 1 << 128
