"""One running retrieve: asks the PACS, collects what arrives, knows when no more is to come."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from cloudmig.dimse.client import Association
from cloudmig.dimse.messages import StoreCommand, SubOperations
from cloudmig.dimse.status import Category, category
from cloudmig.errors import SourceBusy, SourceUnavailable
from cloudmig.ports import RetrieveRequest
from cloudmig.sources.arrivals import RunningRetrieval
from cloudmig.sources.dimse.asking import VERIFICATION, Question, fewer_contexts
from cloudmig.sources.dimse.desk import DeskHandler, DimseArrival

if TYPE_CHECKING:
    from cloudmig.sources.dimse.lanes import Lane
    from cloudmig.sources.dimse.source import DimseSource

__all__ = ["DimseRetrieval"]

#: After the final status, this long without a byte means that nothing more comes.
_QUIET_S = 2.0
#: A PACS that falls over at an association request does so before this, and not in a transfer.
_AT_ONCE_S = 5.0
#: 0xA702 Refused: out of resources, unable to perform sub-operations (PS3.4 C.4.2.1.5).
_BUSY = 0xA702
_QUERY_RETRIEVE_ROOT = "1.2.840.10008.5.1.4.1.2."


class DimseRetrieval(RunningRetrieval[DimseArrival]):
    """Port `Retrieval` over DIMSE."""

    def __init__(self, source: DimseSource, request: RetrieveRequest) -> None:
        super().__init__(request)
        self.in_flight = 0  #: Objects of ours that have begun and not ended.
        self._source = source
        self._received: set[str] = set()
        self._count = 0
        self._association: Association | None = None
        self._is_borne = False  #: The association that is asked on had been asked on before.
        self._is_silent = True  #: And has not answered yet.
        self._last_sign_s = 0.0
        self._sign = asyncio.Event()  #: Set by every sign of life; the grace time waits for it.

    # What the desk calls

    def touch(self) -> None:
        """Note a sign of life: bytes of ours are arriving on some association."""
        self._last_sign_s = asyncio.get_running_loop().time()
        self._sign.set()
        if self._association is not None:
            self._association.touch()

    def arrived(self, arrival: DimseArrival, command: StoreCommand) -> None:
        """Take an object; the transfer settles it."""
        self.touch()
        self._count += 1
        self._received.add(command.affected_sop_instance_uid)
        self._source.remember_class(command.affected_sop_class_uid)
        self._hand_over(arrival)

    def offered(self, sop_class_uid: str, transfer_syntax_uids: Sequence[str]) -> None:
        """Note which syntaxes the PACS can send a SOP class in."""
        seen = self.evidence.offered.setdefault(sop_class_uid, [])
        seen += [uid for uid in transfer_syntax_uids if uid not in seen]
        self._source.remember_offer(sop_class_uid, transfer_syntax_uids)

    # The work

    async def _work(self) -> None:
        alone = self.request.transfer_syntax_uid is not None and not self._source.uses_get
        try:
            async with self._source.lanes.lane(alone=alone) as lane:
                with self._source.desk.register(lane.calling_aet, self):
                    await self._ask_everything(lane)
            self._source.lanes.faster()
        except SourceUnavailable as error:
            # Where no association was to be had for want of a place, the lanes know it already.
            if self._association is not None or not isinstance(error, SourceBusy):
                self._source.lanes.slower()
            raise
        finally:
            self._association = None

    async def _ask_everything(self, lane: Lane) -> None:
        """Ask all questions; in fewer presentation contexts where the PACS falls over at many.

        CTN, of 1993 to 2003, dies of its own answer where that is longer than 4096 bytes.
        """
        source, loop = self._source, asyncio.get_running_loop()
        contexts_max = source.contexts_max
        while True:
            fewer: int | None = None
            begun_s, borne = loop.time(), 0
            try:
                for question in source.questions(self.request, contexts_max):
                    fewer = fewer_contexts(len(question.contexts))
                    begun_s = loop.time()
                    await self._ask_somehow(question, lane)
                    borne = max(borne, len(question.contexts))
            except SourceBusy:
                raise
            except SourceUnavailable:
                at_once = not self._count and loop.time() - begun_s < _AT_ONCE_S
                # What was borne before is ended by something else.
                if not at_once or fewer is None or self._is_borne:
                    raise
                contexts_max = fewer
            else:
                source.remember_contexts(contexts_max, borne)
                return

    async def _ask_somehow(self, question: Question, lane: Lane) -> None:
        """Ask once, and for each instance by itself where a list of UIDs means nothing to the PACS.

        A list is for it to understand (PS3.4 C.4.2.1.4.1), but some refuse it, or find nothing.
        """
        if await self._ask_on_any(question, lane):
            return
        for each in question.one_by_one():
            if not await self._ask_on_any(each, lane):
                return

    async def _ask_on_any(self, question: Question, lane: Lane) -> bool:
        """Ask on a kept association, and on a new one where the PACS had ended that by then.

        Some end an association after each operation, some when it was idle for long.
        """
        before = self._count
        # A kept association may have further contexts: the PACS would choose among these again.
        is_alone = self.request.transfer_syntax_uid is not None and self._source.uses_get
        try:
            return await self._ask_on_one(question, lane, is_new=is_alone)
        except SourceUnavailable:
            ended = self._association is not None and self._association.is_ended_by_peer
            if not (ended and self._is_borne and self._is_silent and self._count == before):
                raise
        return await self._ask_on_one(question, lane, is_new=True)

    async def _ask_on_one(self, question: Question, lane: Lane, *, is_new: bool) -> bool:
        self._association, self._is_borne, self._is_silent = None, False, True
        async with lane.association(question.contexts, is_new=is_new) as association:
            self._association = association
            self._is_borne = not association.is_unused
            something = await self._ask(question, association)
        self._association = None
        return something

    async def _ask(self, question: Question, association: Association) -> bool:
        """Ask; return whether anything came of it, and be it a number of what cannot be sent."""
        before = self._count
        if question.is_get:
            for context in association.accepted.values():
                self._note_accepted(context.abstract_syntax_uid, context.transfer_syntax_uid)
            if self.request.transfer_syntax_uid is not None and not _bears_objects(association):
                return True  # It has said so already: nothing can come in the one syntax asked for.
            credit = await self._source.desk.area.take_credit()
            handler = DeskHandler(self._source.desk, association.peer.calling_aet, credit)
            answers = association.get(
                question.sop_class_uid, question.identifier(association), handler
            )
        else:
            answers = association.move(
                question.sop_class_uid,
                question.identifier(association),
                association.peer.calling_aet,
            )
        final: SubOperations | None = None
        async with aclosing(answers) as stream:
            async for answer in stream:
                final, self._is_silent = answer, False
        assert final is not None, "an operation ends with a final answer or an error"
        self._note_final(final)
        # For instances that it has lost or cannot convert, a PACS says the same, and counts them.
        if final.status == _BUSY and self._count == before and not final.failed:
            raise SourceBusy("the PACS is out of resources for sub-operations")
        # A C-GET that failed sends no more: its objects came on the association of the answer.
        if not question.is_get or category(final.status) is not Category.FAILURE:
            asked = len(question.sop_instance_uids) or len(self.request.expected)
            await self._grace(final, before, asked)
        return self._count > before or bool(final.completed or final.warning or final.failed)

    def _note_accepted(self, sop_class_uid: str, transfer_syntax_uid: str) -> None:
        if _is_storage(sop_class_uid):
            self.offered(sop_class_uid, (transfer_syntax_uid,))

    def _note_final(self, final: SubOperations) -> None:
        evidence = self.evidence
        if evidence.status is None or category(final.status) is not Category.SUCCESS:
            evidence.status = final.status
        evidence.completed = _plus(evidence.completed, final.completed)
        evidence.failed = _plus(evidence.failed, final.failed)
        evidence.warning = _plus(evidence.warning, final.warning)

    async def _grace(self, final: SubOperations, before: int, asked: int) -> None:
        """Wait for objects that are still on their way after the final status.

        Ends when as many arrived as the PACS claims or we expect, when nothing has moved for a
        while, and in any case when the grace time is over. A claim that does not account for
        `asked` instances ends nothing: some answer first, with what they had counted by then.
        """
        loop = asyncio.get_running_loop()
        announced = (final.completed or 0) + (final.warning or 0)
        is_failure = category(final.status) is Category.FAILURE
        accounts = is_failure or announced + (final.failed or 0) >= asked
        until_s = loop.time() + self._source.settings.grace_s
        quiet_since_s = loop.time()
        while True:
            everything = self._received >= self.request.expected.keys()
            counted = final.completed is not None and self._count - before >= announced
            if not self.in_flight and (everything or (counted and accounts)):
                return
            self._sign.clear()
            wait_s = min(quiet_since_s + _QUIET_S, until_s) - loop.time()
            try:
                async with asyncio.timeout(wait_s):
                    await self._sign.wait()
            except TimeoutError:
                if not self.in_flight or loop.time() >= until_s:
                    return
            quiet_since_s = loop.time()


def _is_storage(sop_class_uid: str) -> bool:
    return not sop_class_uid.startswith((_QUERY_RETRIEVE_ROOT, VERIFICATION))


def _bears_objects(association: Association) -> bool:
    return any(_is_storage(each.abstract_syntax_uid) for each in association.accepted.values())


def _plus(total: int | None, more: int | None) -> int | None:
    return total if more is None else (total or 0) + more
