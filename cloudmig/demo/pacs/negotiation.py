"""Opening associations, as acceptor and as requestor (PS3.8 section 7.1, PS3.7 annex D)."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterable

from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
)
from pynetdicom.presentation import PresentationContext

from cloudmig.demo.pacs.wire import Link, PeerGone
from cloudmig.demo.studies import made_up_uid

__all__ = ["REJECT_CALLING_AET", "REJECT_FULL", "accept", "request"]

_ASSOCIATE_RQ, _ASSOCIATE_AC = 1, 2
_APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
_OUR_PDU_BYTES = 131_072
_REJECTED_WAIT_MAX_S = 5.0
#: Result, source, reason (PS3.8 table 9-21): what an association is rejected with.
REJECT_CALLING_AET = (1, 1, 3)
REJECT_FULL = (2, 3, 2)


def accept(
    connection: socket.socket,
    *,
    supports: Callable[[str, str], bool],
    objection: Callable[[str], tuple[int, int, int] | None],
    contexts_max: int | None = None,
) -> Link | None:
    """Answer an A-ASSOCIATE-RQ; None when the peer asked for nothing or was turned away.

    At more contexts than `contexts_max` the answer is all that comes.

    Of each context the first proposed transfer syntax that `supports` agrees to is taken; all
    proposed roles are.
    """
    link = Link(connection, {}, 0)
    kind, body = link.read_pdu()
    if kind != _ASSOCIATE_RQ:
        link.close()
        return None
    asked = _decoded(A_ASSOCIATE_RQ(), kind, body)
    calling_aet = str(asked.calling_ae_title).strip()
    rejection = objection(calling_aet)
    if rejection is not None:
        connection.sendall(struct.pack(">BBIBBBB", 3, 0, 4, 0, *rejection))
        link.await_close(_REJECTED_WAIT_MAX_S)
        return None
    results = [_judged(context, supports) for context in asked.presentation_context_definition_list]
    roles = [
        item
        for item in asked.user_information
        if isinstance(item, SCP_SCU_RoleSelectionNegotiation)
    ]
    answer = _primitive(str(asked.calling_ae_title), str(asked.called_ae_title), roles)
    answer.result = 0
    answer.result_source = 1
    answer.presentation_context_definition_results_list = results
    pdu = A_ASSOCIATE_AC()
    pdu.from_primitive(answer)
    connection.sendall(pdu.encode())
    if contexts_max is not None and len(results) > contexts_max:
        link.close()
        return None
    accepted = {
        result.context_id: (str(result.abstract_syntax), str(result.transfer_syntax[0]))
        for result in results
        if result.result == 0 and result.context_id is not None
    }
    established = Link(connection, accepted, asked.maximum_length_received or 0)
    established.calling_aet = calling_aet
    return established


def request(
    address: tuple[str, int],
    *,
    calling_aet: str,
    called_aet: str,
    contexts: Iterable[tuple[str, str]],
    timeout_s: float = 10.0,
) -> Link:
    """Open an association with one context per class and syntax, so that nothing is converted."""
    try:
        connection = socket.create_connection(address, timeout=timeout_s)
    except OSError as error:
        raise PeerGone from error
    connection.settimeout(None)
    proposed: dict[int, tuple[str, str]] = {}
    for number, pair in enumerate(contexts):
        proposed[2 * number + 1] = pair
    question = _primitive(calling_aet, called_aet, [])
    question.presentation_context_definition_list = [
        _context(context_id, abstract_syntax, transfer_syntax)
        for context_id, (abstract_syntax, transfer_syntax) in proposed.items()
    ]
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(question)
    link = Link(connection, {}, 0)
    try:
        connection.sendall(pdu.encode())
        kind, body = link.read_pdu()
    except (OSError, PeerGone) as error:
        link.close()
        raise PeerGone from error
    if kind != _ASSOCIATE_AC:
        link.close()
        raise PeerGone
    answer = _decoded(A_ASSOCIATE_AC(), kind, body)
    accepted = {
        result.context_id: proposed[result.context_id]
        for result in answer.presentation_context_definition_results_list
        if result.result == 0 and result.context_id is not None
    }
    return Link(connection, accepted, answer.maximum_length_received or 0)


def _decoded(pdu: A_ASSOCIATE_RQ | A_ASSOCIATE_AC, kind: int, body: bytes) -> A_ASSOCIATE:
    pdu.decode(struct.pack(">BBI", kind, 0, len(body)) + body)
    return pdu.to_primitive()


def _primitive(
    calling_aet: str, called_aet: str, roles: list[SCP_SCU_RoleSelectionNegotiation]
) -> A_ASSOCIATE:
    primitive = A_ASSOCIATE()
    primitive.application_context_name = _APPLICATION_CONTEXT
    primitive.calling_ae_title = calling_aet
    primitive.called_ae_title = called_aet
    length = MaximumLengthNotification()
    length.maximum_length_received = _OUR_PDU_BYTES
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = made_up_uid("implementation")
    primitive.user_information = [length, implementation, *roles]
    return primitive


def _context(
    context_id: int | None, abstract_syntax: str, *transfer_syntaxes: str
) -> PresentationContext:
    context = PresentationContext()
    context.context_id = context_id
    context.abstract_syntax = abstract_syntax
    context.transfer_syntax = list(transfer_syntaxes)
    return context


def _judged(
    proposed: PresentationContext, supports: Callable[[str, str], bool]
) -> PresentationContext:
    abstract_syntax = str(proposed.abstract_syntax)
    offered = [str(syntax) for syntax in proposed.transfer_syntax]
    taken = next((syntax for syntax in offered if supports(abstract_syntax, syntax)), None)
    judged = _context(proposed.context_id, abstract_syntax, taken or offered[0])
    judged.result = 0 if taken else 3  # Abstract syntax not supported (PS3.8 table 9-18).
    return judged
