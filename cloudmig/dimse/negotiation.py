"""A-ASSOCIATE, A-RELEASE and A-ABORT PDUs, by pynetdicom's codecs (PS3.8 9.3.2 to 9.3.8).

The only module that knows pynetdicom's classes for them. What comes out is ours: plain frozen
values. The peer's bytes are untrusted, so any failure to decode them is a protocol violation.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pynetdicom import pdu, pdu_primitives
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import uid_to_service_class

from cloudmig.dimse.contexts import (
    IMPLICIT_VR_LITTLE_ENDIAN,
    AcceptedContext,
    ProposedContext,
)
from cloudmig.dimse.wire import AbortReason, ProtocolViolation

__all__ = [
    "IMPLEMENTATION_CLASS_UID",
    "RELEASE_RP_BYTES",
    "RELEASE_RQ_BYTES",
    "AssociateAnswer",
    "AssociateRequest",
    "abort_pdu",
    "decode_answer",
    "decode_rejection",
    "decode_request",
    "encode_answer",
    "encode_rejection",
    "encode_request",
]

#: Under 2.25 (PS3.5 B.2): the UUID5 of "cloudmig" in the URL name space; needs no registry.
IMPLEMENTATION_CLASS_UID = "2.25.336944173407407998338203452893819104277"
IMPLEMENTATION_VERSION_NAME = "CLOUDMIG"
APPLICATION_CONTEXT_NAME = "1.2.840.10008.3.1.1.1"

RELEASE_RQ_BYTES = bytes.fromhex("05000000000400000000")
RELEASE_RP_BYTES = bytes.fromhex("06000000000400000000")

# Results of a presentation context (PS3.8 table 9-18).
ACCEPTED = 0
USER_REJECTION = 1
ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
TRANSFER_SYNTAXES_NOT_SUPPORTED = 4

_USER_INFORMATION = 0x50
_KNOWN_ITEMS = frozenset({0x10, 0x20, 0x21})
#: Maximum length and role selection. The rest is not for us, and often not as the standard has it.
_USER_ITEMS_READ = frozenset({0x51, 0x54})
_AE_TITLES = slice(10, 42)


@dataclass(frozen=True, slots=True, eq=False)
class AssociateRequest:
    """What an A-ASSOCIATE-RQ asks for. Compared by identity: equal bytes give the same one."""

    calling_aet: str
    called_aet: str
    contexts: Mapping[int, ProposedContext]
    roles: Mapping[str, tuple[bool, bool]]  #: SOP class -> (SCU, SCP) role the requestor proposes.
    pdu_bytes_max: int
    protocol_version: int
    application_context_name: str


@dataclass(frozen=True, slots=True)
class AssociateAnswer:
    """What an A-ASSOCIATE-AC grants."""

    contexts: Mapping[int, AcceptedContext]  #: The accepted ones, usable in the role asked for.
    pdu_bytes_max: int


def encode_request(
    calling_aet: str, called_aet: str, contexts: Sequence[ProposedContext], pdu_bytes_max: int
) -> bytes:
    """Return an A-ASSOCIATE-RQ (PS3.8 9.3.2); the n-th context gets the ID 2n+1."""
    return _encoded_request(calling_aet, called_aet, tuple(contexts), pdu_bytes_max)


@functools.lru_cache(maxsize=8)
def _encoded_request(
    calling_aet: str, called_aet: str, contexts: tuple[ProposedContext, ...], pdu_bytes_max: int
) -> bytes:
    primitive = pdu_primitives.A_ASSOCIATE()
    primitive.application_context_name = APPLICATION_CONTEXT_NAME
    primitive.calling_ae_title = calling_aet
    primitive.called_ae_title = called_aet
    definitions = []
    for index, proposed in enumerate(contexts):
        context = _context(2 * index + 1, proposed.transfer_syntax_uids)
        context.abstract_syntax = proposed.abstract_syntax_uid
        definitions.append(context)
    primitive.presentation_context_definition_list = definitions
    as_scp = dict.fromkeys(c.abstract_syntax_uid for c in contexts if c.scp_role)
    roles = [_role(uid, scu=False, scp=True) for uid in as_scp]
    primitive.user_information = [*_identity(pdu_bytes_max), *roles]
    request = pdu.A_ASSOCIATE_RQ()
    request.from_primitive(primitive)
    return bytes(request.encode())


@functools.lru_cache(maxsize=8)
def decode_request(raw: bytes) -> AssociateRequest:
    """Read an A-ASSOCIATE-RQ. Raises `ProtocolViolation`.

    A PACS sends the same bytes for every C-MOVE: with its 128 contexts, 12 ms to decode each time.
    """
    try:
        request = pdu.A_ASSOCIATE_RQ()
        request.decode(_readable(raw))
        primitive = request.to_primitive()
        roles = {
            _uid(item.sop_class_uid): (bool(item.scu_role), bool(item.scp_role))
            for item in primitive.user_information
            if isinstance(item, pdu_primitives.SCP_SCU_RoleSelectionNegotiation)
        }
        contexts = {
            int(context.context_id or 0): ProposedContext(
                _uid(context.abstract_syntax),
                tuple(_uid(uid) for uid in context.transfer_syntax),
                scp_role=roles.get(_uid(context.abstract_syntax), (True, False))[1],
            )
            for context in primitive.presentation_context_definition_list
        }
        return AssociateRequest(
            calling_aet=request.calling_ae_title.strip(),
            called_aet=request.called_ae_title.strip(),
            contexts=contexts,
            roles=roles,
            pdu_bytes_max=_pdu_bytes_max(primitive),
            protocol_version=int(request.protocol_version),
            application_context_name=str(request.application_context_name or ""),
        )
    except Exception as error:
        # The codec raises whatever its slicing meets (KeyError, AssertionError, struct.error ...).
        raise _undecodable("A-ASSOCIATE-RQ") from error


@functools.lru_cache(maxsize=8)
def encode_answer(
    request: AssociateRequest, accepted_contexts: tuple[AcceptedContext, ...], pdu_bytes_max: int
) -> bytes:
    """Return an A-ASSOCIATE-AC (PS3.8 9.3.3). We are the SCP of every context we accept."""
    accepted = {context.context_id: context for context in accepted_contexts}
    primitive = pdu_primitives.A_ASSOCIATE()
    primitive.application_context_name = APPLICATION_CONTEXT_NAME
    primitive.calling_ae_title = request.calling_aet
    primitive.called_ae_title = request.called_aet
    results = []
    for context_id, proposed in request.contexts.items():
        taken = accepted.get(context_id)
        # Of a context turned down it means nothing (PS3.8 9.3.3.2), and some propose none.
        turned_down = next(iter(proposed.transfer_syntax_uids), IMPLICIT_VR_LITTLE_ENDIAN)
        syntax = taken.transfer_syntax_uid if taken else turned_down
        context = _context(context_id, (syntax,))
        context.result = ACCEPTED if taken else _rejection_of(proposed)
        results.append(context)
    primitive.presentation_context_definition_results_list = results
    usable = {context.abstract_syntax_uid for context in accepted_contexts}
    roles = [
        _role(uid, scu=proposed_scu, scp=False)
        for uid, (proposed_scu, _) in request.roles.items()
        if proposed_scu and uid in usable
    ]
    primitive.user_information = [*_identity(pdu_bytes_max), *roles]
    answer = pdu.A_ASSOCIATE_AC()
    answer.from_primitive(primitive)
    return bytes(answer.encode())


def decode_answer(raw: bytes, proposed: Sequence[ProposedContext]) -> AssociateAnswer:
    """Read an A-ASSOCIATE-AC against what was proposed. Raises `ProtocolViolation`."""
    return _decoded_answer(raw, tuple(proposed))


@functools.lru_cache(maxsize=8)
def _decoded_answer(raw: bytes, proposed: tuple[ProposedContext, ...]) -> AssociateAnswer:
    try:
        answer = pdu.A_ASSOCIATE_AC()
        answer.decode(_readable(raw))
        primitive = answer.to_primitive()
        # A class that is denied the SCP role (PS3.7 D.3.3.4) cannot be received. One that is not
        # mentioned can: some archives send C-GET sub-operations without answering the role item.
        denied = {
            _uid(item.sop_class_uid)
            for item in primitive.user_information
            if isinstance(item, pdu_primitives.SCP_SCU_RoleSelectionNegotiation)
            and not item.scp_role
        }
        contexts = {}
        for context in primitive.presentation_context_definition_results_list:
            context_id = int(context.context_id or 0)
            if context.result != ACCEPTED or not context_id % 2:
                continue
            asked = proposed[context_id // 2]
            transfer_syntax_uid = _uid(context.transfer_syntax[0])
            if asked.scp_role and asked.abstract_syntax_uid in denied:
                continue
            if transfer_syntax_uid not in asked.transfer_syntax_uids:
                raise ValueError("a transfer syntax nobody proposed")
            contexts[context_id] = AcceptedContext(
                context_id, asked.abstract_syntax_uid, transfer_syntax_uid
            )
        return AssociateAnswer(contexts, _pdu_bytes_max(primitive))
    except Exception as error:
        raise _undecodable("A-ASSOCIATE-AC") from error


def encode_rejection(result: int, source: int, reason: int) -> bytes:
    """Return an A-ASSOCIATE-RJ (PS3.8 9.3.4)."""
    return struct.pack(">BBLBBBB", 3, 0, 4, 0, result, source, reason)


def decode_rejection(raw: bytes) -> tuple[int, int, int, str]:
    """Return result, source, reason and their words. Raises `ProtocolViolation`."""
    try:
        rejection = pdu.A_ASSOCIATE_RJ()
        rejection.decode(raw)
        result, source = int(rejection.result or 0), int(rejection.source or 0)
        reason = int(rejection.reason_diagnostic or 0)
    except Exception as error:
        raise _undecodable("A-ASSOCIATE-RJ") from error
    try:
        said = f"{rejection.result_str}, {rejection.source_str}, {rejection.reason_str}"
    except (ValueError, KeyError):
        said = f"result {result}, source {source}, reason {reason}"
    return result, source, reason, said


def abort_pdu(source: int, reason: int) -> bytes:
    """Return an A-ABORT (PS3.8 9.3.8)."""
    return struct.pack(">BBLBBBB", 7, 0, 4, 0, 0, source, reason)


def _context(context_id: int, transfer_syntax_uids: Sequence[str]) -> PresentationContext:
    context = PresentationContext()
    context.context_id = context_id
    for transfer_syntax_uid in transfer_syntax_uids:
        context.add_transfer_syntax(transfer_syntax_uid)
    return context


def _identity(
    pdu_bytes_max: int,
) -> tuple[
    pdu_primitives.MaximumLengthNotification,
    pdu_primitives.ImplementationClassUIDNotification,
    pdu_primitives.ImplementationVersionNameNotification,
]:
    length = pdu_primitives.MaximumLengthNotification()
    length.maximum_length_received = pdu_bytes_max
    implementation = pdu_primitives.ImplementationClassUIDNotification()
    implementation.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    version = pdu_primitives.ImplementationVersionNameNotification()
    version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    return length, implementation, version


def _role(
    sop_class_uid: str, *, scu: bool, scp: bool
) -> pdu_primitives.SCP_SCU_RoleSelectionNegotiation:
    role = pdu_primitives.SCP_SCU_RoleSelectionNegotiation()
    role.sop_class_uid = sop_class_uid
    role.scu_role = scu
    role.scp_role = scp
    return role


def _rejection_of(proposed: ProposedContext) -> int:
    """Say why: a storage class is known to us, so it can only be its syntaxes."""
    if uid_to_service_class(proposed.abstract_syntax_uid).__name__ == "StorageServiceClass":
        return TRANSFER_SYNTAXES_NOT_SUPPORTED
    return ABSTRACT_SYNTAX_NOT_SUPPORTED


def _uid(value: object) -> str:
    """Return a UID without its padding: PS3.8 annex F has none, some archives have several."""
    return str(value or "").strip("\0 ")


def _pdu_bytes_max(primitive: pdu_primitives.A_ASSOCIATE) -> int:
    """Return the longest PDU the peer takes; 0 means any (PS3.8 D.1)."""
    for item in primitive.user_information:
        if isinstance(item, pdu_primitives.MaximumLengthNotification):
            return int(item.maximum_length_received or 0)
    return 0


def _undecodable(what: str) -> ProtocolViolation:
    return ProtocolViolation(f"an {what} cannot be read", AbortReason.INVALID_PARAMETER_VALUE)


def _readable(raw: bytes) -> bytes:
    """Return a PDU that the codec can read: it raises where real archives are careless.

    Items it does not know shall be ignored (PS3.8 9.3.1), as are those that nobody here reads.
    AE titles are padded with spaces (PS3.8 9.3.2), but by some with NULs.
    """
    if len(raw) < 74:
        raise ValueError("shorter than its fixed fields")
    body = bytearray()
    for item_type, item in _items(raw[74:]):
        if item_type == _USER_INFORMATION:
            known = b"".join(sub for kind, sub in _items(item[4:]) if kind in _USER_ITEMS_READ)
            body += struct.pack(">BBH", item_type, 0, len(known)) + known
        elif item_type in _KNOWN_ITEMS:
            body += item
    titles = raw[_AE_TITLES].replace(b"\0", b" ")
    head = struct.pack(">L", 68 + len(body)) + raw[6:10] + titles + raw[42:74]
    return raw[:2] + head + bytes(body)


def _items(raw: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(raw):
        item_type, _, length = struct.unpack_from(">BBH", raw, position)
        item = raw[position : position + 4 + length]
        if len(item) < 4 + length:
            raise ValueError("an item is cut short")
        yield item_type, item
        position += 4 + length
