"""The seams: what cloudmig asks of a source and of a destination, and what each promises.

Every implementation and every wrapper passes the suite of its port in `tests/contract/`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from cloudmig.model.files import FileTally
from cloudmig.model.instance import ExpectedInstance, Location, Receipt, Slot, StagedInstance
from cloudmig.model.outcome import StoreOutcome
from cloudmig.model.references import StudyRef
from cloudmig.model.study import StudySummary
from cloudmig.model.window import StudyQuestion
from cloudmig.telemetry import Reporter

__all__ = [
    "Arrival", "Destination", "FileSurvey", "InventorySource", "Listing", "ProbedSource",
    "QueuedMessage", "Retrieval", "RetrieveRequest", "StudySource", "SurveyedSource",
    "VerdictQueue",
]  # fmt: skip


class InventorySource(Protocol):
    """What can say which studies exist."""

    @property
    def name(self) -> str: ...

    def find_studies(self, question: StudyQuestion) -> AsyncIterator[StudySummary]:
        """Yield every answer as given, duplicates included.

        - Answers outside the question are yielded too: the caller filters and counts them.
        - So are those without a usable Study Instance UID, as an `UnnamedStudy`.
        - Raises `QueryTruncated` when the final status is not success (too broad, out of
          resources), `SourceUnavailable` when there is no answer, `SourceRefused` when the source
          does not accept us. The answers before it may have been yielded.
        """
        ...


@dataclass(frozen=True, slots=True)
class FileSurvey:
    """What a survey of a disk counted."""

    tallies: tuple[FileTally, ...]
    headers_read: int = 0  #: Files that were new, or had changed.


@runtime_checkable
class SurveyedSource(InventorySource, Protocol):
    """A source that we look through ourselves, before its first question.

    Its answers come from what we have seen, so no limit can have cut them: one question is enough.
    """

    async def survey(self, reporter: Reporter) -> FileSurvey:
        """Look at everything; go on where an earlier survey was interrupted.

        Raises `SourceUnavailable` when it cannot be looked at.
        """
        ...


@dataclass(frozen=True, slots=True)
class Listing:
    """The expected set of a study."""

    instances: tuple[ExpectedInstance, ...]
    complete: bool  #: False where the source has no IMAGE-level answers, or contradicts itself.
    notes: tuple[str, ...] = ()  #: Evidence, without patient data.
    series_found: int = 0
    #: True where the study holds more than its expected instances (other contents of one UID,
    #: objects without one): every attempt then pulls all of it, whatever it has receipts for.
    whole: bool = False


@dataclass(frozen=True, slots=True)
class RetrieveRequest:
    """What to pull: a whole study, or only some instances of it, perhaps in one syntax only."""

    study: StudyRef
    expected: Mapping[str, ExpectedInstance]  #: By SOP Instance UID: what may be answered early.
    narrow: bool = False  #: Ask for exactly the expected instances, at IMAGE level.
    transfer_syntax_uid: str | None = None  #: Accept only this one; holds the lane alone.


class Arrival(Protocol):
    """One instance that arrived. Whoever takes it settles it exactly once."""

    @property
    def staged(self) -> StagedInstance: ...

    @property
    def unexpected(self) -> bool:
        """True when it was not in the expected set; its sender still waits for our answer."""
        ...

    @property
    def trouble(self) -> str:
        """A `QuarantineReason` value when something is wrong with the object, else empty."""
        ...

    def settle(self, *, stored: bool) -> None:
        """Give its room back, and answer the sender if it still waits."""
        ...


@dataclass(slots=True)
class RetrieveEvidence:
    """What the source said about a retrieve. Evidence, never the judge of completeness."""

    status: int | None = None
    completed: int | None = None
    failed: int | None = None
    warning: int | None = None
    strays: int = 0  #: Instances of other studies that were sent and refused.
    offered: dict[str, list[str]] = field(default_factory=dict)  #: SOP class -> syntaxes seen.
    mislabelled: int = 0  #: Instances that are not in the transfer syntax they were sent as.
    no_room: int = 0  #: Instances that neither memory nor spool had room for: our own trouble.
    too_large: set[str] = field(default_factory=set)  #: SOP Instance UIDs beyond our own limit.
    #: SOP Instance UIDs, perhaps unusable, of which a further content is there and did not come.
    unread: set[str] = field(default_factory=set)


class Retrieval(AbstractAsyncContextManager["Retrieval"], Protocol):
    """A running retrieve. Leaving the context ends it and gives back what was not taken."""

    @property
    def evidence(self) -> RetrieveEvidence: ...

    def __aiter__(self) -> AsyncIterator[Arrival]:
        """Yield arrivals until the source is done and the grace time is over.

        - Raises `SourceUnavailable` after yielding what arrived, when the source went away.
        - A failed status is no error: it is in `evidence`.
        """
        ...


class StudySource(Protocol):
    """What can list and send the instances of a study."""

    @property
    def name(self) -> str: ...

    async def ping(self) -> None:
        """Return when the source answers, else raise `SourceUnavailable` or `SourceRefused`."""
        ...

    async def list_instances(self, study: StudyRef) -> Listing:
        """Return the expected set of the study."""
        ...

    def retrieve(self, request: RetrieveRequest) -> Retrieval:
        """Pull instances. Data sets arrive as the source sends them, never re-encoded."""
        ...

    def alternatives(self, sop_class_uids: Sequence[str]) -> Sequence[str]:
        """Return the transfer syntaxes worth asking for one at a time, likeliest first."""
        ...


@runtime_checkable
class ProbedSource(StudySource, Protocol):
    """A source that can be tried out beside its transfers: it bears two pulls of one study."""

    async def probe(self, study: StudyRef) -> bool:
        """Pull one instance of the study and keep nothing of it; False where none is listed.

        That it does not come is an answer, too. Raises `SourceUnavailable` where there is none.
        """
        ...


class Destination(Protocol):
    """What keeps copies."""

    @property
    def name(self) -> str: ...

    async def store(
        self, staged: StagedInstance, *, slot: Slot = Slot.PRIMARY, storage_class: str = ""
    ) -> StoreOutcome:
        """Put the object if its slot is empty.

        - Returns `Stored` when the slot holds the same data set, put now or before.
        - Returns `Taken` when the slot holds another one; nothing was written.
        - Never overwrites. Safe to repeat after any error.
        - Raises `DestinationUnavailable` (try later) or `DestinationRefused` (nobody may).
        """
        ...

    async def find(self, location: Location) -> Receipt | None:
        """Return what the destination itself says it holds there, or None."""
        ...

    def read(self, location: Location) -> AsyncIterator[bytes]:
        """Yield the object's bytes. A half-read stream is not resumed here.

        Raises `ObjectMissing` where there is none: that is an answer, and no outage.
        """
        ...

    async def stored_checksum(self, location: Location) -> str | None:
        """Return the hex SHA-256 that the store computed itself, or None where it has none."""
        ...

    async def replace(self, staged: StagedInstance, bad: Receipt) -> Receipt:
        """Repair: put over `bad` with If-Match on its ETag where versioned, else under `~r<n>`."""
        ...

    async def put_evidence(self, key: str, body: bytes) -> bool:
        """Put a small immutable object in the standard class; False when the key is taken."""
        ...

    async def get_evidence(self, key: str) -> bytes | None:
        """Return a small object, or None when there is none."""
        ...


class QueuedMessage(Protocol):
    """One message as it was received. Its body may be anything."""

    @property
    def body(self) -> str: ...

    @property
    def message_id(self) -> str:
        """The same each time it comes."""
        ...


class VerdictQueue(Protocol):
    """Where the functions of the cloud side leave word. Called in a thread: it blocks."""

    def receive(self, *, wait_s: float) -> Sequence[QueuedMessage]:
        """Return some messages, none when none came within `wait_s`.

        - What is not deleted comes again, and after a few times goes to the dead-letter queue.
        - Raises `DestinationUnavailable` (try later) or `DestinationRefused` (nobody may).
        """
        ...

    def delete(self, messages: Sequence[Any]) -> None:
        """Delete what this queue gave out. A message that cannot be deleted comes again."""
        ...
