"""Who may send to our storage SCP, and in which transfer syntax (`dimse.AcceptorPolicy`)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from cloudmig.dimse.contexts import ProposedContext, choose_transfer_syntax
from cloudmig.dimse.server import Admission, AssociationRequest, Rejection
from cloudmig.sources.dimse.desk import ArrivalDesk, DeskHandler

__all__ = ["AllowedPeer", "StoragePolicy", "Stranger"]

# PS3.8 table 9-21: result permanent, source service-user.
_CALLED_AET_NOT_RECOGNIZED = Rejection(result=1, source=1, reason=7)
_CALLING_AET_NOT_RECOGNIZED = Rejection(result=1, source=1, reason=3)
#: Strangers told of: anybody can come under any number of names.
_TOLD_MAX = 32


@dataclass(frozen=True, slots=True)
class AllowedPeer:
    """A sender: its address and its AE title, both must match."""

    host: str  #: IP address
    calling_aet: str


@dataclass(frozen=True, slots=True)
class Stranger:
    """Who was turned away. It may be the PACS, under a name or asking for one nobody configured."""

    host: str
    calling_aet: str = ""  #: Empty where the address alone is unknown.
    called_aet: str = ""  #: What it called us, where that is no AE title of ours.


class StoragePolicy:
    """Admits the configured senders to the AE titles that belong to their source."""

    def __init__(
        self,
        desk: ArrivalDesk,
        peers: Mapping[str, Collection[AllowedPeer]],
        *,
        tell_refused: Callable[[Stranger], None] = lambda _: None,
    ) -> None:
        """Take the senders allowed for each of our AE titles. `tell_refused` gets others, once."""
        self._tell_refused = tell_refused
        self._told: set[Stranger] = set()
        self._desk = desk
        self._peers = {our_aet: frozenset(allowed) for our_aet, allowed in peers.items()}
        self._hosts = frozenset(peer.host for allowed in peers.values() for peer in allowed)

    def may_connect(self, peer_host: str) -> bool:
        """Say whether any configured sender has this address."""
        if peer_host not in self._hosts:
            self._tell(Stranger(peer_host))
            return False
        return True

    async def admit(self, request: AssociationRequest) -> Admission | Rejection:
        """Reserve the credit of the first object for a known sender; reject everybody else."""
        allowed = self._peers.get(request.called_aet)
        if allowed is None:
            self._tell(Stranger(request.peer_host, request.calling_aet, request.called_aet))
            return _CALLED_AET_NOT_RECOGNIZED
        if AllowedPeer(request.peer_host, request.calling_aet) not in allowed:
            self._tell(Stranger(request.peer_host, request.calling_aet))
            return _CALLING_AET_NOT_RECOGNIZED
        only = self._desk.only_transfer_syntax(request.called_aet)
        for retrieval in self._desk.running(request.called_aet):
            for context in request.contexts:
                retrieval.offered(context.abstract_syntax_uid, context.transfer_syntax_uids)
        credit = await self._desk.area.take_credit()
        handler = DeskHandler(self._desk, request.called_aet, credit)
        return Admission(handler, functools.partial(_choose, only))

    def _tell(self, stranger: Stranger) -> None:
        if stranger not in self._told and len(self._told) < _TOLD_MAX:
            self._told.add(stranger)
            self._tell_refused(stranger)


def _choose(only: str | None, context: ProposedContext) -> str | None:
    if only is not None:
        # Nothing else is left to try: what it is proposed beside would not come, and did not.
        return only if only in context.transfer_syntax_uids else None
    return choose_transfer_syntax(context.transfer_syntax_uids, None)
