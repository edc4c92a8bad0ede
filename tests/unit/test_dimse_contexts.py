"""What is proposed, and what is picked out of a proposal."""

from __future__ import annotations

import dataclasses

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
