"""One running retrieve over WADO-RS: a study in one answer, or instances one request each."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING

from cloudmig.dicomweb import DicomWebFailed, MultipartTorn, ObjectsReply, Parts
from cloudmig.errors import SourceError, SourceRefused, SourceUnavailable, SpoolFull
from cloudmig.model.instance import ExpectedInstance
from cloudmig.model.quarantine import QuarantineReason
from cloudmig.model.references import InstanceRef, is_usable_uid
from cloudmig.ports import RetrieveRequest
from cloudmig.sources.arrivals import (
    HeldArrival,
    RunningRetrieval,
    is_torn,
    judge_identity,
    staged_instance,
)
from cloudmig.sources.dicomweb.intake import PartTooLarge, TakenPart, take_part
from cloudmig.sources.dicomweb.refusals import (
    BUSY_STATUSES,
    DENIED_STATUSES,
    error_for_status,
    translate,
)

if TYPE_CHECKING:
    from cloudmig.sources.dicomweb.source import WebSource

__all__ = ["WebRetrieval"]

_WELL = frozenset({200, 206})
_NOT_ACCEPTABLE = 406
#: What a server without WADO-RS answers.
_NOT_THERE = frozenset({405, 415, 501})
#: Objects in one answer. An answer without end is one of the things a broken server gives.
_PARTS_MAX = 1_000_000
#: Instances in a row that an archive fails at, one by one, before it is called unavailable.
_FAILURES_IN_A_ROW_MAX = 3


class WebRetrieval(RunningRetrieval[HeldArrival]):
    """Port `Retrieval` over WADO-RS."""

    def __init__(self, source: WebSource, request: RetrieveRequest) -> None:
        super().__init__(request)
        self._source = source
        self._count = 0  #: Objects of the study that arrived.
        self._failures_in_a_row = 0
        self._gone: SourceUnavailable | None = None  #: Why the last failed instance did not come.

    async def _work(self) -> None:
        study = f"/studies/{self.request.study.study_instance_uid}"
        if not self.request.narrow:
            await self._pull(study, asked="")
            return
        wanted = iter(self.request.expected.values())

        async def one_after_the_other() -> None:
            for each in wanted:
                if self._failures_in_a_row >= _FAILURES_IN_A_ROW_MAX:
                    return
                await self._pull_one(study, each)

        try:
            async with asyncio.TaskGroup() as lanes:
                for _ in range(min(self._source.options.lanes, len(self.request.expected))):
                    lanes.create_task(one_after_the_other())
        except* SourceError as group:
            raise group.exceptions[0] from group
        if self._gone is not None and (
            not self._count or self._failures_in_a_row >= _FAILURES_IN_A_ROW_MAX
        ):
            raise self._gone

    async def _pull_one(self, study: str, each: ExpectedInstance) -> None:
        """Ask for one instance. One that the archive fails at hides no other."""
        instance = each.instance
        path = (
            f"{study}/series/{instance.series_instance_uid}/instances/{instance.sop_instance_uid}"
        )
        came = 0
        try:
            came = await self._pull(path, asked=instance.sop_instance_uid)
        except SourceUnavailable as error:
            if not self._source.may_be_its_fault(error):
                raise
            self._gone = error
            self._failures_in_a_row += 1
        if came:
            self._failures_in_a_row = 0
        else:
            self.evidence.failed = (self.evidence.failed or 0) + 1

    async def _pull(self, path: str, *, asked: str) -> int:
        """Ask for what is under `path`, hand its objects over as they come, and count them."""
        return await self._source.lanes.insist(partial(self._pull_once, path, asked=asked))

    async def _pull_once(self, path: str, *, asked: str) -> int:
        source, came = self._source, 0
        async with source.lanes.lane():
            try:
                async with source.client.retrieve_parts(path, accept=source.accept) as reply:
                    self._note_status(reply)
                    if reply.parts is not None:
                        came = await self._take_all(reply.parts, asked)
                    elif reply.status in _WELL:
                        self._note_nothing()
            except DicomWebFailed as error:
                source.lanes.slower()
                raise translate(error) from error
            except MultipartTorn as error:
                source.lanes.slower()
                raise SourceUnavailable(f"retrieve: {error}") from error
            except PartTooLarge as error:
                self.evidence.too_large.add(asked or error.sop_instance_uid)
                if not asked:
                    # What comes after it is not read: the rest is asked for one by one.
                    raise SourceUnavailable("retrieve: an object beyond our limit") from error
        source.lanes.faster()
        return came

    def _note_status(self, reply: ObjectsReply) -> None:
        """Take the status as evidence; raise where it is not about what was asked for."""
        status = reply.status
        if status in BUSY_STATUSES:
            self._source.lanes.slower(reply.retry_after_s)
            raise error_for_status(status, doing="retrieve")
        if self.evidence.status is None or status not in _WELL:
            self.evidence.status = status
        if status in _WELL:
            self._source.sends_as_asked = True
            return
        is_new = not self._source.sends_as_asked
        if status in DENIED_STATUSES or 300 <= status < 400 or (is_new and status in _NOT_THERE):
            raise error_for_status(status, doing="retrieve")
        if status == _NOT_ACCEPTABLE and is_new:
            raise SourceRefused(
                "retrieve: HTTP 406: the archive does not send objects as they are stored"
                " (transfer-syntax=*)",
                hint="fetch from it by DIMSE; or set as_stored = false for the source, and take"
                " what it sends, which it may have converted",
            )
        if status >= 500 and self.request.narrow:
            raise SourceUnavailable(f"retrieve: HTTP {status}")
        # 404, 410, 500 ...: it says so of this study or instance. The set decides what is missing.

    def _note_nothing(self) -> None:
        """Raise where it says that all is well and brings nothing, as far as it was asked so."""
        if self.request.narrow:
            raise SourceUnavailable("retrieve: all is well, it says, and no object comes")

    async def _take_all(self, parts: Parts, asked: str) -> int:
        area = self._source.area
        for number in range(_PARTS_MAX):
            # Nobody waits in the middle of an object; between two, the archive waits for us.
            credit = await area.take_credit()
            try:
                there_is_one = await parts.next_part()
            except BaseException:
                area.memory.give(credit)
                raise
            if not there_is_one:
                area.memory.give(credit)
                self.evidence.completed = self._count
                if not number:
                    self._note_nothing()
                return number
            try:
                async with aclosing(parts.content()) as pieces:
                    part = await take_part(
                        area,
                        pieces,
                        credit_bytes=credit,
                        asked_sop_instance_uid=asked,
                        object_bytes_max=self._source.options.object_bytes_max,
                    )
            except SpoolFull:
                self.evidence.no_room += 1
                return number
            self._arrived(part, asked, parts.transfer_syntax_uid)
        raise SourceUnavailable(f"more than {_PARTS_MAX} objects in one answer")

    def _arrived(self, part: TakenPart, asked: str, labelled: str) -> None:
        """Hand an object over, unless it is of another study."""
        identity, expected = part.identity, self.request.expected
        study_instance_uid = "" if identity is None else identity.study_instance_uid
        if study_instance_uid != self.request.study.study_instance_uid and is_usable_uid(
            study_instance_uid
        ):
            part.held.release()
            self.evidence.strays += 1
            return
        called = part.called_sop_instance_uid
        instance, trouble = judge_identity(identity, called)
        if not trouble and asked in expected and called not in expected:
            trouble = QuarantineReason.UID_MISMATCH.value  # Asked for one, it sent another.
        if not trouble and self._is_converted(part, instance, labelled):
            trouble = QuarantineReason.CONVERTED.value
        if not trouble and is_torn(part.held, part.transfer_syntax_uid):
            trouble = QuarantineReason.TORN.value
        sop_class_uid = part.sop_class_uid or ("" if identity is None else identity.sop_class_uid)
        staged = staged_instance(
            part.held,
            instance,
            sop_class_uid=sop_class_uid,
            transfer_syntax_uid=part.transfer_syntax_uid,
        )
        self._note_offered(sop_class_uid, part.transfer_syntax_uid)
        self._count += 1
        unexpected = (asked or called) not in expected
        self._hand_over(HeldArrival(staged, part.held, unexpected=unexpected, trouble=trouble))

    def _is_converted(self, part: TakenPart, instance: InstanceRef | None, labelled: str) -> bool:
        """Say whether an object came otherwise than the archive itself says that it holds it.

        A server may answer `transfer-syntax=*` with Explicit VR Little Endian, whatever it holds
        (PS3.18 8.7.3.5.2). One that does not say what it holds may still contradict its own label.
        """
        if not self._source.options.as_stored or instance is None:
            return False
        expected = self.request.expected.get(instance.sop_instance_uid)
        held_in = expected.transfer_syntax_uids if expected is not None else ()
        said = held_in or ((labelled,) if labelled else ())
        return bool(said) and part.transfer_syntax_uid not in said

    def _note_offered(self, sop_class_uid: str, transfer_syntax_uid: str) -> None:
        seen = self.evidence.offered.setdefault(sop_class_uid, [])
        if transfer_syntax_uid not in seen:
            seen.append(transfer_syntax_uid)
