"""Sends batches of one study by STOW-RS and finds out what became of each instance.

    listed before          read it back: ours -> Stored, another one -> Taken
    named as stored        Stored, or looked for, or read back, as the profile wants it
    with a warning         read it back: a server may have altered it (PS3.18 10.5.3, B000H)
    failed, or not named   look for it, and whether it can be read: a list may lag behind
    and not there          final reason -> Refused; else try later, and alone
    whole request refused  413: in halves; 400, 409, 415, 422: one by one
    broken off, 500, 502   try later, and alone: a server may break at the same one every time

A success counts for an instance only when the answer names it (PS3.18 10.5.3). Nothing of an
answer's text gets into an error. Nothing is sent again here that may have arrived: whoever
repeats a store comes by `deliver`, which looks first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass

from cloudmig.destinations.bodies import StagedBody, map_spooled
from cloudmig.destinations.dicomweb_errors import (
    error_for_status,
    is_final,
    is_refusal,
    reason_text,
    translate,
)
from cloudmig.destinations.dicomweb_profiles import DicomWebProfile
from cloudmig.destinations.gathering import Order
from cloudmig.destinations.presence import Presence
from cloudmig.destinations.suspects import Suspects
from cloudmig.dicomweb import DicomWebClient, DicomWebFailed, RelatedBody
from cloudmig.dicomweb.client import StoreReply
from cloudmig.dicomweb.multipart import PartBytes
from cloudmig.errors import DestinationError, DestinationUnavailable, SpoolFull
from cloudmig.model.instance import Receipt, StagedInstance
from cloudmig.model.outcome import Refused, Stored, Taken
from cloudmig.model.references import InstanceRef, StudyRef

__all__ = ["StudySender"]

_READS_AT_ONCE = 4
_PAUSE_MAX_S = 60.0
#: SOP classes and transfer syntaxes that are remembered; no archive has so many.
_FORMS_MAX = 10_000
#: Statuses that refuse a request for what is in it, perhaps in one part of it.
_CONTENT_REFUSED = frozenset({400, 409, 413, 415, 422})
#: What no second try of an instance alone changes.
_ENDINGS = {
    413: "too large for this store",
    415: "this store takes others, but none in its form",
}
#: Statuses that no instance is to blame for.
_BUSY = frozenset({408, 425, 429, 503})


@dataclass(frozen=True, slots=True)
class _Doubt:
    """An instance of which an answer does not say that it is there as it was sent."""

    order: Order
    why: str
    is_final: bool = False
    is_unnamed: bool = False  #: The answer says nothing of this instance itself.


class StudySender:
    """Settles or fails every order it is given."""

    def __init__(
        self,
        client: DicomWebClient,
        profile: DicomWebProfile,
        *,
        receipt_of: Callable[[StagedInstance], Receipt],
        read_back: Callable[[StagedInstance], Awaitable[Receipt | None]],
        lower_bytes_max: Callable[[int], None],
        now: Callable[[], float],
        patience_s: float,
    ) -> None:
        self._client = client
        self._profile = profile
        self._receipt_of = receipt_of
        self._read_back = read_back
        self._lower_bytes_max = lower_bytes_max
        self._now = now
        self._presence = Presence(client, profile, now=now)
        self._suspects = Suspects(now=now, patience_s=patience_s)
        self._reads = asyncio.Semaphore(_READS_AT_ONCE)
        self._not_before_s = 0.0
        self._forms_taken: set[tuple[str, str]] = set()

    async def deliver(self, study: StudyRef, orders: Sequence[Order]) -> None:
        """Send what the store does not list yet; compare what it does."""
        try:
            there = await self._presence.of(study, [order.instance for order in orders])
        except DicomWebFailed as error:
            raise translate(error) from error
        known = [order for order in orders if order.instance in there]
        new = [order for order in orders if order.instance not in there]
        async with asyncio.TaskGroup() as group:
            for order in known:
                group.create_task(self._judge(study, order, fresh=False))
            group.create_task(self._send(study, new))

    def forget(self, study: StudyRef) -> None:
        """Look anew at a study: somebody may have deleted something there."""
        self._presence.forget(study)

    async def _send(self, study: StudyRef, orders: Sequence[Order]) -> None:
        alone = [order for order in orders if order.sop_instance_uid in self._suspects]
        suspected = set(alone)
        await self._request(study, [order for order in orders if order not in suspected])
        for order in alone:
            await self._request(study, [order])

    async def _request(self, study: StudyRef, orders: Sequence[Order]) -> None:
        """Send one request and settle its orders, with narrower requests where that may help."""
        sent, bodies = await _open_bodies(orders)
        if not sent:
            return
        await asyncio.sleep(min(_PAUSE_MAX_S, max(0.0, self._not_before_s - self._now())))
        body = RelatedBody(bodies, silence_max_s=self._client.limits.silence_max_s)
        try:
            reply = await self._client.store(study, body)
        except DicomWebFailed as error:
            self._presence.forget(study)
            failure = translate(error)
            for order in sent:
                if error.is_sent and error.status is None:
                    self._blame(order, failure, is_alone=len(sent) == 1, broke=True)
                else:
                    order.fail(failure)
            return
        self._not_before_s = self._now() + reply.retry_after_s
        is_of_content = reply.status == 415 and (len(sent) > 1 or self._suspects.took_others)
        if is_refusal(reply.status) and not is_of_content:
            failure = error_for_status(reply.status, doing="store")
            for order in sent:
                order.fail(failure)
            return
        await self._read_reply(study, sent, reply)

    async def _read_reply(
        self, study: StudyRef, orders: Sequence[Order], reply: StoreReply
    ) -> None:
        doubts = [doubt for order in orders if (doubt := self._doubt(order, reply, orders))]
        doubtful = {doubt.order for doubt in doubts}
        doubts += await self._confirm(study, [each for each in orders if each not in doubtful])
        if not doubts:
            return
        self._presence.forget(study)
        if reply.status >= 500 or reply.status in _BUSY:
            # Busy or broken: asking it more questions now would not help. `deliver` looks.
            failure = error_for_status(reply.status, doing="store")
            for doubt in doubts:
                if reply.status in _BUSY:
                    doubt.order.fail(failure)
                else:
                    self._blame(doubt.order, failure, is_alone=len(orders) == 1, broke=True)
            return
        await self._look(study, doubts, reply, is_alone=len(orders) == 1)

    def _doubt(self, order: Order, reply: StoreReply, orders: Sequence[Order]) -> _Doubt | None:
        """Return why an answer does not prove that an instance is there as it was sent."""
        uid, answer = order.sop_instance_uid, reply.answer
        if uid in answer.stored:
            warning = answer.stored[uid]
            return None if warning is None else _Doubt(order, f"warning {warning:04X}H")
        named = uid in answer.failed
        if not named and not (answer.unnamed and len(orders) == 1):
            return _Doubt(order, f"HTTP {reply.status} does not say", is_unnamed=True)
        reason = answer.failed[uid] if named else answer.unnamed[0]
        return _Doubt(order, reason_text(reason), is_final=is_final(reason, self._profile))

    async def _confirm(self, study: StudyRef, orders: Sequence[Order]) -> list[_Doubt]:
        """Settle what an answer names as stored; return what is not there all the same."""
        if not orders:
            return []
        if self._profile.confirm == "read":
            async with asyncio.TaskGroup() as group:
                reads = [
                    group.create_task(self._judge(study, each, fresh=True, is_listed=False))
                    for each in orders
                ]
            why = "named as stored, and cannot be read"
            settled = zip(orders, reads, strict=True)
            return [_Doubt(order, why) for order, read in settled if not read.result()]
        listed: Collection[InstanceRef] = [order.instance for order in orders]
        if self._profile.confirm == "look":
            try:
                listed = await self._presence.look(study, list(listed))
            except DicomWebFailed as error:
                self._presence.forget(study)
                for order in orders:
                    order.fail(translate(error))
                return []
        for order in orders:
            if order.instance in listed:
                self._take(order)
                order.settle(Stored(self._receipt_of(order.staged), fresh=True))
        why = "named as stored, and not listed"
        return [_Doubt(each, why) for each in orders if each.instance not in listed]

    async def _look(
        self, study: StudyRef, doubts: Sequence[_Doubt], reply: StoreReply, *, is_alone: bool
    ) -> None:
        """Look for what an answer leaves open, and decide about what is not there."""
        try:
            listed = await self._presence.look(study, [doubt.order.instance for doubt in doubts])
        except DicomWebFailed as error:
            for doubt in doubts:
                doubt.order.fail(translate(error))
            return
        whole_refused = reply.status in _CONTENT_REFUSED and not is_alone
        again = [
            doubt.order
            for doubt in doubts
            if whole_refused and doubt.is_unnamed and doubt.order.instance not in listed
        ]

        async def seek(doubt: _Doubt) -> None:
            is_listed = doubt.order.instance in listed
            if not await self._judge(study, doubt.order, fresh=True, is_listed=is_listed):
                self._give_up(doubt, reply, is_alone=is_alone)

        async with asyncio.TaskGroup() as group:
            for doubt in doubts:
                if doubt.order not in again:
                    group.create_task(seek(doubt))
        await self._narrower(study, again, reply.status)

    def _give_up(self, doubt: _Doubt, reply: StoreReply, *, is_alone: bool) -> None:
        """Refuse what is not there and never will be; the rest is tried later."""
        # One that has taken the same form before is perhaps not itself for a while.
        was_taken = reply.status == 415 and _form_of(doubt.order) in self._forms_taken
        if doubt.is_final:
            doubt.order.settle(Refused(f"store: {doubt.why}"))
        elif is_alone and reply.status in _ENDINGS and not was_taken:
            doubt.order.settle(Refused(f"store: HTTP {reply.status}; {_ENDINGS[reply.status]}"))
        else:
            failure = DestinationUnavailable(f"store: {doubt.why}; it is not there")
            self._blame(doubt.order, failure, is_alone=is_alone)

    async def _narrower(self, study: StudyRef, orders: Sequence[Order], status: int) -> None:
        """Send again what was certainly not stored, in requests that hold less."""
        if status == 413 and orders:
            size_bytes = sum(order.staged.size_bytes for order in orders)
            self._lower_bytes_max(size_bytes // 2)
            half = (len(orders) + 1) // 2
            for part in (orders[:half], orders[half:]):
                await self._request(study, part)
            return
        for order in orders:
            await self._request(study, [order])

    def _blame(
        self, order: Order, failure: DestinationError, *, is_alone: bool, broke: bool = False
    ) -> None:
        """Let it be tried later, unless it has failed alone too often."""
        uid = order.sop_instance_uid
        if self._suspects.accuse(uid, is_alone=is_alone, broke=broke):
            order.settle(Refused(f"{failure}; the store took others meanwhile"))
        else:
            order.fail(failure)

    async def _judge(
        self, study: StudyRef, order: Order, *, fresh: bool, is_listed: bool = True
    ) -> bool:
        """Read back what is there: only its bytes say whether it is ours.

        Returns False, and decides nothing, where it is neither listed nor there.
        """
        try:
            async with self._reads:
                held = await self._read_back(order.staged)
        except DicomWebFailed as error:
            # It may be there: whoever tries again has to look first, not to send it once more.
            self._presence.forget(study)
            order.fail(translate(error))
            return True
        if held is None:
            if not is_listed:
                return False
            self._presence.forget(study)
            order.fail(DestinationUnavailable("store: it is said to be there, and cannot be read"))
        elif held.dataset_sha256 == order.staged.dataset_sha256:
            self._take(order)
            order.settle(Stored(held, fresh=fresh))
        else:
            order.settle(Taken(held))
        return True

    def _take(self, order: Order) -> None:
        self._presence.add(order.instance)
        self._suspects.acquit(order.sop_instance_uid)
        if len(self._forms_taken) < _FORMS_MAX:
            self._forms_taken.add(_form_of(order))


def _form_of(order: Order) -> tuple[str, str]:
    return order.staged.sop_class_uid, order.staged.transfer_syntax_uid


async def _open_bodies(orders: Sequence[Order]) -> tuple[list[Order], list[PartBytes]]:
    """Return what is to be sent, spooled files mapped; who has lost his bytes is told so."""
    opened: list[Order] = []
    bodies: list[PartBytes] = []
    for order in orders:
        staged = order.staged
        try:
            if staged.body is not None:
                bodies.append(staged.body)
            else:
                bodies.append(await asyncio.to_thread(map_spooled, StagedBody.of(staged)))
        except (SpoolFull, OSError) as error:
            order.fail(SpoolFull(f"the spool cannot be read: {type(error).__name__}"))
            continue
        opened.append(order)
    return opened, bodies
