"""An association somebody else asked for: C-ECHO and C-STORE as SCP (PS3.8 9.2, states 2 to 13)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from cloudmig.dimse import commands, negotiation, wire
from cloudmig.dimse.commands import Command
from cloudmig.dimse.connection import Connection
from cloudmig.dimse.contexts import (
    CONTEXTS_MAX,
    QUERY_TRANSFER_SYNTAX_UIDS,
    VERIFICATION_SOP_CLASS_UID,
    AcceptedContext,
    ProposedContext,
    choose_transfer_syntax,
)
from cloudmig.dimse.limits import Limits, Timers
from cloudmig.dimse.messages import StoreHandler
from cloudmig.dimse.negotiation import AssociateRequest
from cloudmig.dimse.status import SOP_CLASS_NOT_SUPPORTED, SUCCESS, UNRECOGNIZED_OPERATION
from cloudmig.dimse.storing import StoreReceiver
from cloudmig.dimse.wire import AbortReason, ProtocolViolation

__all__ = ["AcceptorConnection", "AcceptorPolicy", "Admission", "AssociationRequest", "Rejection"]


@dataclass(frozen=True, slots=True)
class AssociationRequest:
    """Who wants to associate, and for what."""

    peer_host: str
    calling_aet: str
    called_aet: str
    contexts: tuple[ProposedContext, ...]


@dataclass(frozen=True, slots=True)
class Admission:
    """Lets an association in."""

    handler: StoreHandler
    #: The transfer syntax to take for a context, or None to turn the context down.
    allowed: Callable[[ProposedContext], str | None]


@dataclass(frozen=True, slots=True)
class Rejection:
    """Turns an association down: the three numbers of an A-ASSOCIATE-RJ (PS3.8 9.3.4)."""

    result: int  #: 1 permanent, 2 transient.
    source: int  #: 1 service user, 2 service provider (ACSE), 3 service provider (presentation).
    reason: int


CALLING_AET_NOT_RECOGNIZED = Rejection(1, 1, 3)
CALLED_AET_NOT_RECOGNIZED = Rejection(1, 1, 7)
TEMPORARY_CONGESTION = Rejection(2, 3, 1)
LOCAL_LIMIT_EXCEEDED = Rejection(2, 3, 2)
_APPLICATION_CONTEXT_NOT_SUPPORTED = Rejection(1, 1, 2)
_PROTOCOL_VERSION_NOT_SUPPORTED = Rejection(1, 2, 2)


class AcceptorPolicy(Protocol):
    """Decides who may associate."""

    async def admit(self, request: AssociationRequest) -> Admission | Rejection:
        """Return the decision. May wait for room, up to `Timers.admit_s`."""


class Host(Protocol):
    """The server an association belongs to."""

    def arrived(self, connection: AcceptorConnection) -> None:
        """Note a connection that has no association yet."""

    def may_associate(self, connection: AcceptorConnection) -> bool:
        """Take the association into the count, unless that is full."""

    def ended(self, connection: AcceptorConnection) -> None:
        """Take the association out of the count; its socket may linger."""

    def left(self, connection: AcceptorConnection) -> None:
        """Forget the connection."""


class AcceptorConnection(Connection):
    """One inbound connection."""

    def __init__(self, host: Host, policy: AcceptorPolicy, timers: Timers, limits: Limits) -> None:
        super().__init__(timers, limits)
        self._host = host
        self._policy = policy
        self._admission: asyncio.Task[None] | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._drained = 0
        self._is_draining = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start ARTIM (PS3.8 9.2.3, AE-5)."""
        super().connection_made(transport)
        self._host.arrived(self)
        self._watch = self.loop.call_later(self.timers.artim_s, self._no_request)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Tell the server."""
        super().connection_lost(exc)
        self._host.left(self)

    def control_pdu(self, pdu_type: int, pdu: memoryview) -> None:
        """Move through the states of PS3.8 table 9-10."""
        if pdu_type == wire.ABORT:
            self.over("the peer aborted")
            self.close()
        elif pdu_type == wire.ASSOCIATE_RQ and self._admission is None and not self.is_associated:
            self._requested(bytes(pdu))
        elif pdu_type == wire.RELEASE_RQ and self.is_associated:
            self.peer_released()
        else:
            raise ProtocolViolation(f"PDU type {pdu_type} here", AbortReason.UNEXPECTED_PDU)

    def command_received(self, context: AcceptedContext, command: Command, more: bool) -> None:
        """Serve C-ECHO and C-STORE; answer anything else as unknown (PS3.7 9.3, Annex C)."""
        assert self.stores is not None
        self._drained = -1
        field = commands.number(command, commands.COMMAND_FIELD) or 0
        is_verification = context.abstract_syntax_uid == VERIFICATION_SOP_CLASS_UID
        if field == commands.C_STORE_RQ and not is_verification:
            self.stores.begin(context, command, more)
            return
        self._drained = 0
        if field & commands.ANSWER:
            raise ProtocolViolation("an answer to nothing", AbortReason.UNEXPECTED_PARAMETER)
        if field == commands.C_CANCEL_RQ:
            return  # Has no answer of its own (PS3.7 9.3.2.3); there is nothing to cancel here.
        if field == commands.C_ECHO_RQ and is_verification:
            status = SUCCESS
        elif field == commands.C_STORE_RQ:
            status = SOP_CLASS_NOT_SUPPORTED
        else:
            status = UNRECOGNIZED_OPERATION
        self.answer_plainly(context, command, status)

    def data_received(
        self,
        context: AcceptedContext,  # noqa: ARG002 - known since the command
        data: memoryview,
        is_last: bool,
    ) -> None:
        """Pass an object on; drain what belongs to an operation we do not know."""
        assert self.stores is not None
        if self._drained < 0:
            self.stores.write(data, is_last)
            return
        self._drained += len(data)
        if self._drained > self.limits.identifier_bytes_max:
            self.give_up("an identifier beyond its limit")

    def answer(self, pdu: bytes) -> None:
        """Send; where the server is closing, an answer may be the last word."""
        super().answer(pdu)
        if self._is_draining:
            self.loop.call_soon(self.drain)

    def drain(self) -> None:
        """Abort as soon as no object is under way; the peer keeps what has no answer."""
        self._is_draining = True
        if not self.is_mid_message and not self.is_waiting_for_us:
            self.abort("the server closes")

    def ended(self) -> None:
        """Stop the clocks and give the place away."""
        if self._watch is not None:
            self._watch.cancel()
        if self._admission is not None and self._admission is not asyncio.current_task():
            self._admission.cancel()
        self._host.ended(self)

    def _requested(self, raw: bytes) -> None:
        request = negotiation.decode_request(raw)
        if not request.protocol_version & 1:
            self._reject(_PROTOCOL_VERSION_NOT_SUPPORTED)
        elif request.application_context_name != negotiation.APPLICATION_CONTEXT_NAME:
            self._reject(_APPLICATION_CONTEXT_NOT_SUPPORTED)
        elif len(request.contexts) > CONTEXTS_MAX:
            raise ProtocolViolation("too many contexts", AbortReason.INVALID_PARAMETER_VALUE)
        elif not self._host.may_associate(self):
            self._reject(LOCAL_LIMIT_EXCEEDED)
        else:
            if self._watch is not None:
                self._watch.cancel()
            self._admission = self.loop.create_task(self._admit(request))

    async def _admit(self, request: AssociateRequest) -> None:
        asked = AssociationRequest(
            self.peer_host,
            request.calling_aet,
            request.called_aet,
            tuple(request.contexts.values()),
        )
        try:
            async with asyncio.timeout(self.timers.admit_s):
                decision = await self._policy.admit(asked)
        except TimeoutError:
            decision = TEMPORARY_CONGESTION
        except Exception as bug:  # noqa: BLE001 - a bug above ends this association only
            self.give_up("the policy failed", bug)
            return
        if isinstance(decision, Rejection):
            self._reject(decision)
            return
        self.stores = StoreReceiver(
            self,
            decision.handler,
            self.limits,
            calling_aet=request.calling_aet,
            called_aet=request.called_aet,
            peer_host=self.peer_host,
        )
        try:
            accepted = _accepted(request, decision.allowed)
        except Exception as bug:  # noqa: BLE001
            self.give_up("the policy failed", bug)
            return
        self.start_messages(accepted, request.pdu_bytes_max)
        contexts = tuple(accepted.values())
        self.answer(negotiation.encode_answer(request, contexts, self.limits.pdu_bytes_max))
        self._look_at_the_clock()

    def _reject(self, rejection: Rejection) -> None:
        """Send A-ASSOCIATE-RJ and let the peer close (PS3.8 9.2.3, AE-8)."""
        self.answer(
            negotiation.encode_rejection(rejection.result, rejection.source, rejection.reason)
        )
        self.over("the association was rejected")
        self.close_after(self.timers.artim_s)

    def _no_request(self) -> None:
        self.over("no association request came")
        self.cut()

    def _look_at_the_clock(self) -> None:
        """Close an association that is silent for too long, in or between messages."""
        if self.is_over:
            return
        now_s = self.loop.time()
        allowed_s = self.timers.network_s if self.is_mid_message else self.timers.idle_s
        if self.is_waiting_for_us:
            self.active_s = now_s
        elif now_s - self.active_s >= allowed_s:
            self.abort(f"silent for {allowed_s:g} s")
            return
        again_s = min(self.timers.network_s, self.timers.idle_s) / 2
        self._watch = self.loop.call_later(again_s, self._look_at_the_clock)


def _accepted(
    request: AssociateRequest, allowed: Callable[[ProposedContext], str | None]
) -> dict[int, AcceptedContext]:
    """Return the contexts to accept: Verification always, others as the policy says."""
    accepted = {}
    for context_id, proposed in request.contexts.items():
        as_scu, _ = request.roles.get(proposed.abstract_syntax_uid, (True, False))
        if proposed.abstract_syntax_uid == VERIFICATION_SOP_CLASS_UID:
            syntax = choose_transfer_syntax(
                proposed.transfer_syntax_uids, QUERY_TRANSFER_SYNTAX_UIDS
            )
        else:
            syntax = allowed(proposed)
        if syntax is not None and as_scu:
            assert syntax in proposed.transfer_syntax_uids, "a policy picks what is proposed"
            accepted[context_id] = AcceptedContext(context_id, proposed.abstract_syntax_uid, syntax)
    return accepted
