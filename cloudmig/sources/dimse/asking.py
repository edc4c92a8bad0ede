"""What is asked of a PACS to pull instances: which level, in which presentation contexts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace

from cloudmig.dicom.query import retrieve_request
from cloudmig.dimse.client import Association
from cloudmig.dimse.contexts import (
    COMMON_STORAGE_SOP_CLASS_UIDS,
    CONTEXTS_MAX,
    EXPLICIT_VR_LITTLE_ENDIAN,
    LOSSLESS_TRANSFER_SYNTAX_UIDS,
    QUERY_TRANSFER_SYNTAX_UIDS,
    STORAGE_SOP_CLASS_UIDS,
    ProposedContext,
    retrieve_contexts,
)
from cloudmig.ports import RetrieveRequest

__all__ = [
    "FIND", "GET", "MANY_CONTEXTS", "MOVE", "QUERY_CONTEXTS", "Question", "fewer_contexts",
    "get_questions", "move_questions",
]  # fmt: skip

#: Study Root Query/Retrieve Information Model (PS3.4 C.6.2, PS3.6 table A-1).
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
GET = "1.2.840.10008.5.1.4.1.2.2.3"
VERIFICATION = "1.2.840.10008.1.1"

#: One association serves queries and moves alike; one that serves C-GET serves queries, too.
QUERY_CONTEXTS = tuple(
    ProposedContext(sop_class_uid, QUERY_TRANSFER_SYNTAX_UIDS)
    for sop_class_uid in (VERIFICATION, FIND, MOVE)
)

#: What any sender can turn any data set into, and PixelMed does wherever it may: all that it holds
#: would come deflated.
_WRAPPING_SYNTAXES = frozenset(
    (
        "1.2.840.10008.1.2.1.99",  # Deflated Explicit VR Little Endian
        "1.2.840.10008.1.2.1.98",  # Encapsulated Uncompressed Explicit VR Little Endian
        "1.2.840.10008.1.2.8.1",  # Deflated Image Frame Compression
    )
)

#: What C-GET proposes for each SOP class: 19 syntaxes, so that six classes share an association.
#: The rarer ones, and those above, are asked for one at a time, where something is missing.
_USUAL_SYNTAXES = (
    *(uid for uid in LOSSLESS_TRANSFER_SYNTAX_UIDS if uid not in _WRAPPING_SYNTAXES),
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.100",
    "1.2.840.10008.1.2.4.102",
    "1.2.840.10008.1.2.4.107",
)

#: Some PACS fall over at an association with many contexts: so few are tried then. The last still
#: hold one SOP class in all its syntaxes, or twelve in plain ones.
_FEWER_CONTEXTS = (80, 30)
MANY_CONTEXTS = max(_FEWER_CONTEXTS)

_KNOWN_CLASSES_BESIDE_COMMON = 3
#: Contexts of a C-GET association that carry no object: its own and those of queries.
_BESIDE_STORAGE = 1 + len(QUERY_CONTEXTS)

#: SOP Instance UIDs in one request. A list of 64 UIDs fits every PACS met so far.
_UIDS_A_REQUEST_MAX = 64


@dataclass(frozen=True, slots=True)
class Question:
    """One C-MOVE or C-GET request."""

    sop_class_uid: str
    contexts: tuple[ProposedContext, ...]
    study_instance_uid: str
    series_instance_uid: str | None = None
    sop_instance_uids: tuple[str, ...] = field(default=())

    @property
    def is_get(self) -> bool:
        return self.sop_class_uid == GET

    def one_by_one(self) -> Iterator[Question]:
        """Yield a request for each instance of a list."""
        if len(self.sop_instance_uids) > 1:
            for sop_instance_uid in self.sop_instance_uids:
                yield replace(self, sop_instance_uids=(sop_instance_uid,))

    def identifier(self, association: Association) -> bytes:
        """Return the identifier in the syntax the association accepted for it."""
        transfer_syntax_uid = association.accepted_syntax(self.sop_class_uid)
        return retrieve_request(
            transfer_syntax_uid or QUERY_TRANSFER_SYNTAX_UIDS[-1],
            self.study_instance_uid,
            self.series_instance_uid,
            self.sop_instance_uids,
        )


def move_questions(request: RetrieveRequest) -> Iterator[Question]:
    """Yield the C-MOVE requests of a pull: the study, or exactly the instances expected."""
    study_instance_uid = request.study.study_instance_uid
    if not request.narrow:
        yield Question(MOVE, QUERY_CONTEXTS, study_instance_uid)
        return
    for series_instance_uid, some in _by_series(request, request.expected.keys()):
        yield Question(MOVE, QUERY_CONTEXTS, study_instance_uid, series_instance_uid, some)


def fewer_contexts(count: int) -> int | None:
    """Return how many contexts to try instead of so many; None where it is not for their number."""
    return next((fewer for fewer in _FEWER_CONTEXTS if fewer < count), None)


def get_questions(
    request: RetrieveRequest,
    usual_sop_class_uids: Sequence[str],
    contexts_max: int = CONTEXTS_MAX,
) -> Iterator[Question]:
    """Yield the C-GET requests of a pull.

    Each association proposes one context per SOP class and transfer syntax, so that the sender
    cannot transcode; what does not fit into one association is asked for in another, at IMAGE
    level. `usual_sop_class_uids` fill what is left, so that the next study finds it open.
    """
    study_instance_uid = request.study.study_instance_uid
    groups = _context_groups(request, usual_sop_class_uids, contexts_max - _BESIDE_STORAGE)
    for group in groups:
        contexts = _with_get(group)
        if not request.narrow and len(groups) == 1:
            yield Question(GET, contexts, study_instance_uid)
            return
        classes = {context.abstract_syntax_uid for context in group}
        wanted = {
            sop_instance_uid
            for sop_instance_uid, each in request.expected.items()
            if not each.sop_class_uid or each.sop_class_uid in classes
        }
        for series_instance_uid, some in _by_series(request, wanted):
            yield Question(GET, contexts, study_instance_uid, series_instance_uid, some)


def _context_groups(
    request: RetrieveRequest, usual: Sequence[str], room: int
) -> list[list[ProposedContext]]:
    only = request.transfer_syntax_uid
    syntaxes = _USUAL_SYNTAXES if only is None else (only,)
    needed = sorted({each.sop_class_uid for each in request.expected.values()})
    if needed and needed[0]:
        groups = retrieve_contexts(needed, syntaxes, reserved=CONTEXTS_MAX - room)
        if len(groups) > 1:
            return groups
        rest = [uid for uid in usual if uid not in needed]
        more = (room - len(groups[0])) // len(syntaxes)
        return [[*groups[0], *_all(rest[:more], syntaxes)]]
    # The PACS does not say which classes: those seen before, and common ones in plain syntaxes.
    known = [uid for uid in (*needed, *usual) if uid]
    if only is not None:
        if only == EXPLICIT_VR_LITTLE_ENDIAN:
            # Alone it would turn what is held in implicit VR into explicit; not so beside it.
            syntaxes = QUERY_TRANSFER_SYNTAX_UIDS
        return retrieve_contexts(
            [*known, *STORAGE_SOP_CLASS_UIDS], syntaxes, reserved=CONTEXTS_MAX - room
        )
    # Where there is less room, all of it is for classes: CTN hangs up at an instance of one that is
    # not proposed. What is compressed is missing then, and asked for by its syntax.
    is_less = room < CONTEXTS_MAX - _BESIDE_STORAGE
    beside = 0 if is_less else _KNOWN_CLASSES_BESIDE_COMMON
    first = _all(known[:beside], syntaxes)
    rest = [*known[beside:], *COMMON_STORAGE_SOP_CLASS_UIDS]
    common = [uid for uid in dict.fromkeys(rest) if uid not in known[:beside]]
    more = (room - len(first)) // len(QUERY_TRANSFER_SYNTAX_UIDS)
    return [[*first, *_all(common[:more], QUERY_TRANSFER_SYNTAX_UIDS)]]


def _all(sop_class_uids: Sequence[str], syntaxes: Sequence[str]) -> list[ProposedContext]:
    groups = (
        retrieve_contexts(sop_class_uids, syntaxes, reserved=_BESIDE_STORAGE)
        if sop_class_uids
        else []
    )
    assert len(groups) <= 1, "the caller counted the room"
    return groups[0] if groups else []


def _with_get(group: Sequence[ProposedContext]) -> tuple[ProposedContext, ...]:
    # Sorted, so that equal needs make equal keys for the associations that are kept open.
    storage = sorted(group, key=lambda each: each.abstract_syntax_uid)
    return (*QUERY_CONTEXTS, ProposedContext(GET, QUERY_TRANSFER_SYNTAX_UIDS), *storage)


def _by_series(
    request: RetrieveRequest, wanted: Collection[str]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    of_series: dict[str, list[str]] = defaultdict(list)
    for sop_instance_uid, each in request.expected.items():
        if sop_instance_uid in wanted:
            of_series[each.instance.series_instance_uid].append(sop_instance_uid)
    for series_instance_uid, uids in of_series.items():
        for start in range(0, len(uids), _UIDS_A_REQUEST_MAX):
            yield series_instance_uid, tuple(uids[start : start + _UIDS_A_REQUEST_MAX])
