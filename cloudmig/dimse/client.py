"""Calls a PACS: C-ECHO, C-FIND, C-MOVE and C-GET as SCU (PS3.7 9.1, PS3.4 Annexes A and C)."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from cloudmig.dimse import commands, negotiation
from cloudmig.dimse.contexts import (
    CONTEXTS_MAX,
    VERIFICATION_SOP_CLASS_UID,
    AcceptedContext,
    ProposedContext,
)
from cloudmig.dimse.limits import Limits, Timers
from cloudmig.dimse.messages import FindAnswer, StoreHandler, SubOperations
from cloudmig.dimse.requestor import CERTIFICATE_HINT, Answer, RequestorConnection, tls_refusal
from cloudmig.dimse.status import Category, category
from cloudmig.dimse.storing import StoreReceiver
from cloudmig.errors import SourceRefused, SourceUnavailable

__all__ = ["Association", "Peer", "associate"]

_MEDIUM_PRIORITY = 0


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is called, and as whom."""

    host: str
    port: int
    called_aet: str
    calling_aet: str
    ssl_context: ssl.SSLContext | None = None
    server_hostname: str | None = None  #: The name in the peer's certificate, if not `host`.


async def associate(
    peer: Peer,
    contexts: Sequence[ProposedContext],
    *,
    timers: Timers | None = None,
    limits: Limits | None = None,
) -> Association:
    """Open an association (PS3.8 7.1).

    Raises `SourceUnavailable` when the peer does not answer or is busy, and `SourceRefused` when
    it does not want us: AE titles, TLS, or none of the contexts.
    """
    assert 0 < len(contexts) <= CONTEXTS_MAX, f"{len(contexts)} presentation contexts"
    timers, limits = timers or Timers(), limits or Limits()
    connection = await _connect(peer, contexts, timers, limits)
    try:
        connection.answer(
            negotiation.encode_request(
                peer.calling_aet, peer.called_aet, contexts, limits.pdu_bytes_max
            )
        )
        await connection.associated()
        if not connection.accepted:
            raise SourceRefused(
                f"{peer.called_aet} accepts none of {len(contexts)} presentation contexts",
                hint="the PACS may not offer this service, or not to this AE title",
            )
    except BaseException:
        connection.abort("not wanted after all")
        raise
    return Association(peer, connection, timers, limits)


async def _connect(
    peer: Peer, contexts: Sequence[ProposedContext], timers: Timers, limits: Limits
) -> RequestorConnection:
    secured = peer.ssl_context is not None
    where = f"{peer.called_aet} at {peer.host}:{peer.port}"
    try:
        async with asyncio.timeout(timers.connect_s + secured * timers.tls_handshake_s):
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: RequestorConnection(contexts, timers, limits),
                peer.host,
                peer.port,
                ssl=peer.ssl_context,
                server_hostname=(peer.server_hostname or peer.host) if secured else None,
                ssl_handshake_timeout=timers.tls_handshake_s if secured else None,
            )
    except TimeoutError as error:
        raise SourceUnavailable(
            f"{where} does not answer", hint="check address and port"
        ) from error
    except OSError as error:
        if refusal := tls_refusal(error):
            raise refusal from error
        raise SourceUnavailable(
            f"{where} cannot be reached: {type(error).__name__}",
            hint=CERTIFICATE_HINT if secured else "check address and port",
        ) from error
    return connection


class Association:
    """An open association; one operation at a time.

    An iterator that is closed before its end aborts the association: C-CANCEL makes some archives
    fall over, and a new association costs little.
    """

    def __init__(
        self, peer: Peer, connection: RequestorConnection, timers: Timers, limits: Limits
    ) -> None:
        self.peer = peer
        self._connection = connection
        self._timers = timers
        self._limits = limits
        self._last_message_id = 0

    @property
    def accepted(self) -> Mapping[int, AcceptedContext]:
        """Return the accepted contexts by their ID."""
        return self._connection.accepted

    @property
    def is_open(self) -> bool:
        """Say whether an operation may still be tried."""
        return not self._connection.is_over

    @property
    def is_unused(self) -> bool:
        """Say whether nothing was asked on it yet."""
        return self._last_message_id == 0

    @property
    def is_ended_by_peer(self) -> bool:
        """Say whether the peer ended it, and not we."""
        return self._connection.is_ended_by_peer

    def accepted_syntax(self, abstract_syntax_uid: str) -> str | None:
        """Return the transfer syntax of the first accepted context of a SOP class."""
        context = self._find_context(abstract_syntax_uid)
        return context.transfer_syntax_uid if context else None

    def touch(self) -> None:
        """Note a sign of life from elsewhere: an object of our C-MOVE on another association."""
        self._connection.touch()

    async def ping(self) -> int:
        """Send C-ECHO and return its status (PS3.7 9.1.5)."""
        context = self._context(VERIFICATION_SOP_CLASS_UID)
        async with aclosing(self._exchange(context, commands.C_ECHO_RQ, None)) as answers:
            return _status(await anext(answers))

    async def find(self, sop_class_uid: str, identifier: bytes) -> AsyncGenerator[FindAnswer, None]:
        """Yield the matches and the final answer of a C-FIND (PS3.7 9.1.2, PS3.4 C.4.1)."""
        context = self._context(sop_class_uid)
        async with aclosing(self._exchange(context, commands.C_FIND_RQ, identifier)) as answers:
            async for answer in answers:
                yield FindAnswer(
                    _status(answer), answer.identifier or b"", answer.transfer_syntax_uid
                )

    async def move(
        self, sop_class_uid: str, identifier: bytes, destination_aet: str
    ) -> AsyncGenerator[SubOperations, None]:
        """Yield the answers of a C-MOVE (PS3.7 9.1.4, PS3.4 C.4.2); the last one is final."""
        context = self._context(sop_class_uid)
        async with aclosing(
            self._exchange(context, commands.C_MOVE_RQ, identifier, destination_aet)
        ) as answers:
            async for answer in answers:
                yield _sub_operations(answer)

    async def get(
        self, sop_class_uid: str, identifier: bytes, handler: StoreHandler
    ) -> AsyncGenerator[SubOperations, None]:
        """Yield the answers of a C-GET (PS3.7 9.1.3, PS3.4 C.4.3); its objects go to `handler`."""
        context = self._context(sop_class_uid)
        assert self._connection.stores is None
        stores = self._connection.stores = StoreReceiver(
            self._connection,
            handler,
            self._limits,
            calling_aet=self.peer.called_aet,
            called_aet=self.peer.calling_aet,
            peer_host=self._connection.peer_host,
        )
        try:
            async with aclosing(self._exchange(context, commands.C_GET_RQ, identifier)) as answers:
                async for answer in answers:
                    yield _sub_operations(answer)
        finally:
            if self._connection.stores is stores:
                self._connection.stores = None
            stores.over()

    async def release(self) -> None:
        """Release the association and wait for its end (PS3.8 7.2). Never fails."""
        await self._connection.release()

    def abort(self) -> None:
        """Abort the association (PS3.8 7.3)."""
        self._connection.abort("aborted by us")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self.abort()
        await self.release()

    async def _exchange(
        self,
        context: AcceptedContext,
        command_field: int,
        identifier: bytes | None,
        destination_aet: str | None = None,
    ) -> AsyncGenerator[Answer, None]:
        connection = self._connection
        message_id = self._last_message_id = self._last_message_id % 0xFFFF + 1
        fields: dict[int, int | str | bytes] = {
            commands.AFFECTED_SOP_CLASS_UID: context.abstract_syntax_uid,
            commands.COMMAND_FIELD: command_field,
            commands.MESSAGE_ID: message_id,
        }
        if destination_aet is not None:
            fields[commands.MOVE_DESTINATION] = destination_aet
        if identifier is not None:
            fields[commands.PRIORITY] = _MEDIUM_PRIORITY
        has_data_set = commands.NO_DATA_SET if identifier is None else commands.HAS_DATA_SET
        fields[commands.COMMAND_DATA_SET_TYPE] = has_data_set
        is_final = False
        connection.start_operation(message_id)
        total_until_s = connection.loop.time() + self._timers.total_s
        try:
            connection.send_message(context, commands.encode_command(fields), identifier)
            while not is_final:
                answer = await connection.next_answer(total_until_s)
                is_final = category(_status(answer)) is not Category.PENDING
                if is_final:
                    connection.end_operation()
                yield answer
        finally:
            connection.end_operation()
            if not is_final:
                self.abort()

    def _find_context(self, abstract_syntax_uid: str) -> AcceptedContext | None:
        for context in self._connection.accepted.values():
            if context.abstract_syntax_uid == abstract_syntax_uid:
                return context
        return None

    def _context(self, abstract_syntax_uid: str) -> AcceptedContext:
        context = self._find_context(abstract_syntax_uid)
        if context is None:
            raise SourceRefused(
                f"{self.peer.called_aet} did not accept {abstract_syntax_uid}",
                hint="the PACS may not offer this service, or not to this AE title",
            )
        return context


def _status(answer: Answer) -> int:
    """Return the status; an answer without one means nothing good."""
    status = commands.number(answer.command, commands.STATUS)
    return 0xC000 if status is None else status


def _sub_operations(answer: Answer) -> SubOperations:
    command = answer.command
    return SubOperations(
        status=_status(answer),
        remaining=commands.number(command, commands.REMAINING),
        completed=commands.number(command, commands.COMPLETED),
        failed=commands.number(command, commands.FAILED),
        warning=commands.number(command, commands.WARNING),
        identifier=answer.identifier,
        transfer_syntax_uid=answer.transfer_syntax_uid,
    )
