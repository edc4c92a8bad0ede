"""A PACS as a source of inventories and studies (ports `InventorySource` and `StudySource`)."""

from __future__ import annotations

import contextlib
import ssl
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from cloudmig.dicom.header import HeaderUnreadable, read_elements, uid_text
from cloudmig.dicom.query import (
    count_of,
    decode_study_answer,
    image_question,
    series_question,
    study_question,
)
from cloudmig.dimse.client import Association, Peer, associate
from cloudmig.dimse.contexts import (
    CONTEXTS_MAX,
    ELSEWHERE_TRANSFER_SYNTAX_UIDS,
    LOSSY_TRANSFER_SYNTAX_UIDS,
    QUERY_TRANSFER_SYNTAX_UIDS,
    RARE_TRANSFER_SYNTAX_UIDS,
    TRANSFER_SYNTAX_UIDS,
    ProposedContext,
    retrieve_contexts,
)
from cloudmig.dimse.limits import Limits, Timers
from cloudmig.dimse.status import Category, category
from cloudmig.errors import QueryTruncated, SourceRefused, SourceUnavailable
from cloudmig.model.instance import ExpectedInstance
from cloudmig.model.references import InstanceRef, StudyRef, is_usable_uid
from cloudmig.model.study import StudySummary
from cloudmig.model.window import StudyQuestion
from cloudmig.ports import Listing, RetrieveRequest
from cloudmig.sources.dimse.asking import (
    FIND,
    GET,
    MANY_CONTEXTS,
    QUERY_CONTEXTS,
    VERIFICATION,
    Question,
    get_questions,
    move_questions,
)
from cloudmig.sources.dimse.desk import ArrivalDesk
from cloudmig.sources.dimse.lanes import Lanes
from cloudmig.sources.dimse.retrieval import DimseRetrieval

__all__ = ["DimseSource", "DimseSourceSettings"]

_STUDY_INSTANCE_UID = 0x0020000D
_SERIES_INSTANCE_UID = 0x0020000E
_SERIES_INSTANCES = 0x00201209
_SOP_CLASS_UID = 0x00080016
_SOP_INSTANCE_UID = 0x00080018
#: CT, MR, CR and Secondary Capture Image Storage: an archive that sends by C-GET sends these.
_PROBED_SOP_CLASS_UIDS = (
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.4",
    "1.2.840.10008.5.1.4.1.1.1",
    "1.2.840.10008.5.1.4.1.1.7",
)
_SERIES_MAX = 10_000
_INSTANCES_MAX = 1_000_000
#: Pulls that get through in fewer contexts only, before many are not tried any more.
_FALLS_MAX = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class DimseSourceSettings:
    """One PACS and how it is treated."""

    name: str
    host: str
    port: int
    aet: str
    ae_titles: tuple[str, ...]
    retrieve: str  #: auto | c-move | c-get
    lanes: int
    grace_s: float
    find_limit: int | None = None
    timers: Timers = Timers()
    limits: Limits = Limits()
    ssl_context: ssl.SSLContext | None = None
    server_hostname: str | None = None


class DimseSource:
    """Asks one PACS. Its associations are bounded by its lanes."""

    def __init__(
        self,
        settings: DimseSourceSettings,
        desk: ArrivalDesk,
        *,
        patient_key: Callable[[str, str], str],
    ) -> None:
        """Take the desk that arrivals go to; `patient_key` makes a pseudonym of ID and issuer."""
        self.settings = settings
        self.desk = desk
        self._patient_key = patient_key
        self.lanes = Lanes(settings.ae_titles, settings.lanes, self._connect)
        self._offered: dict[str, dict[str, None]] = {}
        self._usual: Counter[str] = Counter()
        self._uses_get = settings.retrieve == "c-get"
        self.contexts_max = CONTEXTS_MAX  #: Fewer, where the PACS is in the habit of falling over.
        self._falls = 0  #: So many pulls, one after the other, got through in fewer only.

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def uses_get(self) -> bool:
        """Say whether instances are pulled by C-GET, else by C-MOVE."""
        return self._uses_get

    async def prepare(self) -> None:
        """Where the choice is ours, take C-GET if the PACS offers it: it needs no open port."""
        if self.settings.retrieve != "auto":
            return
        probe = (
            ProposedContext(GET, QUERY_TRANSFER_SYNTAX_UIDS),
            ProposedContext(VERIFICATION, QUERY_TRANSFER_SYNTAX_UIDS),
            *retrieve_contexts(_PROBED_SOP_CLASS_UIDS, QUERY_TRANSFER_SYNTAX_UIDS)[0],
        )
        association = await self._connect(self.settings.ae_titles[0], probe)
        try:
            offers = {each.abstract_syntax_uid for each in association.accepted.values()}
        finally:
            await association.release()
        self._uses_get = GET in offers and not offers.isdisjoint(_PROBED_SOP_CLASS_UIDS)

    async def _connect(
        self, calling_aet: str, contexts: tuple[ProposedContext, ...]
    ) -> Association:
        settings = self.settings
        peer = Peer(
            settings.host,
            settings.port,
            settings.aet,
            calling_aet,
            settings.ssl_context,
            settings.server_hostname,
        )
        return await associate(peer, contexts, timers=settings.timers, limits=settings.limits)

    async def ping(self) -> None:
        async with self.lanes.lane() as lane, lane.association(QUERY_CONTEXTS) as association:
            status = await association.ping()
        if category(status) is not Category.SUCCESS:
            raise SourceUnavailable(f"C-ECHO was answered with {status:04X}")

    async def find_studies(self, question: StudyQuestion) -> AsyncIterator[StudySummary]:
        def encode(transfer_syntax_uid: str) -> bytes:
            return study_question(question, transfer_syntax_uid)

        async for identifier, transfer_syntax_uid in self._find(encode):
            try:
                answer = decode_study_answer(identifier, transfer_syntax_uid)
            except HeaderUnreadable as error:
                raise SourceUnavailable(f"a C-FIND answer cannot be read: {error}") from error
            yield StudySummary.of_answer(
                answer,
                instances_claimed=count_of(answer.get("NumberOfStudyRelatedInstances", "")),
                patient_key=self._patient_key,
            )

    async def _find(self, encode: Callable[[str], bytes]) -> AsyncIterator[tuple[bytes, str]]:
        """Yield the identifiers of a C-FIND's answers. Raises when its end is not success."""
        async with self.lanes.lane() as lane:
            for is_new in (False, True):
                answered, kept = False, None
                try:
                    async with lane.association(QUERY_CONTEXTS, is_new=is_new) as association:
                        kept = None if association.is_unused else association
                        async with aclosing(self._find_on(association, encode)) as answers:
                            async for answer in answers:
                                answered = True
                                yield answer
                except SourceUnavailable:
                    # Some PACS end an association after each operation, some when it was idle.
                    if answered or kept is None or not kept.is_ended_by_peer:
                        raise
                else:
                    return

    async def _find_on(
        self, association: Association, encode: Callable[[str], bytes]
    ) -> AsyncGenerator[tuple[bytes, str], None]:
        syntax = association.accepted_syntax(FIND)
        if syntax is None:
            raise SourceRefused(
                "the PACS accepts no Study Root C-FIND from us",
                hint="allow query/retrieve for our AE title at the PACS",
            )
        async with aclosing(association.find(FIND, encode(syntax))) as answers:
            async for answer in answers:
                if category(answer.status) is Category.PENDING:
                    yield answer.identifier, answer.transfer_syntax_uid
                elif category(answer.status) is not Category.SUCCESS:
                    raise QueryTruncated(f"C-FIND ended with {answer.status:04X}")

    async def list_instances(self, study: StudyRef) -> Listing:
        notes: list[str] = []
        series = await self._list_series(study, notes)
        instances: dict[tuple[str, str], ExpectedInstance] = {}
        complete = bool(series) or not notes
        for series_instance_uid, claimed in series.items():
            found = await self._list_series_instances(study, series_instance_uid, notes)
            if found is None:
                complete = False
                continue
            if self._is_cut(len(found), claimed):
                notes.append(f"IMAGE answers cut at {len(found)}")
                complete = False
            for each in found:
                key = (each.instance.series_instance_uid, each.instance.sop_instance_uid)
                instances[key] = each
        return Listing(tuple(instances.values()), complete, tuple(notes), series_found=len(series))

    def _is_cut(self, found: int, claimed: int | None) -> bool:
        limit = self.settings.find_limit
        return limit is not None and found >= limit and (claimed is None or claimed > found)

    async def _list_series(self, study: StudyRef, notes: list[str]) -> dict[str, int | None]:
        def encode(transfer_syntax_uid: str) -> bytes:
            return series_question(study.study_instance_uid, transfer_syntax_uid)

        series: dict[str, int | None] = {}
        async for identifier, transfer_syntax_uid in self._find(encode):
            wanted = {_STUDY_INSTANCE_UID, _SERIES_INSTANCE_UID, _SERIES_INSTANCES}
            values = _read(identifier, transfer_syntax_uid, wanted)
            if _is_of_another(values, {_STUDY_INSTANCE_UID: study.study_instance_uid}):
                continue  # A PACS that ignores the key: nothing of that study would ever come.
            series_instance_uid = uid_text(values.get(_SERIES_INSTANCE_UID, b""))
            if not is_usable_uid(series_instance_uid):
                notes.append("a series without a usable Series Instance UID")
                continue
            claimed = values.get(_SERIES_INSTANCES, b"").decode("ascii", "replace")
            series[series_instance_uid] = count_of(claimed)
            if len(series) > _SERIES_MAX:
                raise SourceUnavailable(f"more than {_SERIES_MAX} series in one study")
        return series

    async def _list_series_instances(
        self, study: StudyRef, series_instance_uid: str, notes: list[str]
    ) -> list[ExpectedInstance] | None:
        def encode(transfer_syntax_uid: str) -> bytes:
            return image_question(
                study.study_instance_uid, series_instance_uid, transfer_syntax_uid
            )

        asked = {
            _STUDY_INSTANCE_UID: study.study_instance_uid,
            _SERIES_INSTANCE_UID: series_instance_uid,
        }
        told = (_SOP_INSTANCE_UID, _SOP_CLASS_UID)
        found: dict[str, ExpectedInstance] = {}
        try:
            async for identifier, transfer_syntax_uid in self._find(encode):
                values = _read(identifier, transfer_syntax_uid, {*asked, *told})
                if _is_of_another(values, asked):
                    continue
                sop_instance_uid = uid_text(values.get(_SOP_INSTANCE_UID, b""))
                if not is_usable_uid(sop_instance_uid):
                    notes.append("an instance without a usable SOP Instance UID")
                    continue
                sop_class_uid = uid_text(values.get(_SOP_CLASS_UID, b""))
                if is_usable_uid(sop_class_uid):
                    self.remember_class(sop_class_uid)
                else:
                    sop_class_uid = ""  # As where none is told.
                found[sop_instance_uid] = ExpectedInstance(
                    InstanceRef(study.study_instance_uid, series_instance_uid, sop_instance_uid),
                    sop_class_uid,
                )
                if len(found) > _INSTANCES_MAX:
                    raise SourceUnavailable(f"more than {_INSTANCES_MAX} instances in one series")
        except QueryTruncated:
            notes.append("no IMAGE-level answers")
            return None
        return list(found.values())

    def retrieve(self, request: RetrieveRequest) -> DimseRetrieval:
        return DimseRetrieval(self, request)

    def questions(self, request: RetrieveRequest, contexts_max: int) -> Iterator[Question]:
        """Return the requests of a pull, by the service this PACS is used with."""
        if self.uses_get:
            usual = [sop_class_uid for sop_class_uid, _ in self._usual.most_common(64)]
            return get_questions(request, usual, contexts_max)
        return move_questions(request)

    def remember_contexts(self, contexts_max: int, borne: int) -> None:
        """Note within how many presentation contexts a pull got through, and the most it proposed.

        Once may be chance, and a run lasts for weeks: fewer contexts mean more associations.
        """
        if contexts_max < self.contexts_max:
            self._falls += 1
        elif borne > MANY_CONTEXTS:
            self._falls = 0
        if self._falls >= _FALLS_MAX:
            self.contexts_max, self._falls = contexts_max, 0

    def remember_class(self, sop_class_uid: str) -> None:
        """Note that the archive holds instances of a SOP class."""
        self._usual[sop_class_uid] += 1

    def remember_offer(self, sop_class_uid: str, transfer_syntax_uids: Sequence[str]) -> None:
        """Note which syntaxes the PACS can send a SOP class in, in its order."""
        seen = self._offered.setdefault(sop_class_uid, {})
        seen.update(dict.fromkeys(transfer_syntax_uids))

    def alternatives(self, sop_class_uids: Sequence[str]) -> Sequence[str]:
        unnamed = not all(sop_class_uids)  # Some PACS do not say which class an instance is of.
        seen: dict[str, None] = {}
        for sop_class_uid in self._offered if unnamed else sop_class_uids:
            seen.update(self._offered.get(sop_class_uid, {}))
        for elsewhere in ELSEWHERE_TRANSFER_SYNTAX_UIDS:
            seen.pop(elsewhere, None)
        if seen and not self.uses_get:
            # In C-MOVE the PACS proposes: it sends in no other. Lossy ones come last: who can
            # convert an image has then sent it in another.
            return sorted(seen, key=frozenset(LOSSY_TRANSFER_SYNTAX_UIDS).__contains__)
        return list(dict.fromkeys([*seen, *TRANSFER_SYNTAX_UIDS, *RARE_TRANSFER_SYNTAX_UIDS]))

    async def close(self) -> None:
        """Release the associations that are kept open."""
        with contextlib.suppress(SourceUnavailable):
            await self.lanes.close()


def _read(identifier: bytes, transfer_syntax_uid: str, wanted: set[int]) -> dict[int, bytes]:
    try:
        return read_elements(identifier, transfer_syntax_uid, wanted, last=max(wanted))
    except HeaderUnreadable as error:
        raise SourceUnavailable(f"a C-FIND answer cannot be read: {error}") from error


def _is_of_another(values: Mapping[int, bytes], asked: Mapping[int, str]) -> bool:
    """Say whether an answer names another study or series than was asked for."""
    return any(uid_text(values.get(tag, b"")) not in ("", uid) for tag, uid in asked.items())
