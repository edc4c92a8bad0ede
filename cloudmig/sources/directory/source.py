"""A folder of files as a source of inventories and studies (the ports of every source)."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from cloudmig.errors import SourceUnavailable
from cloudmig.model.references import StudyRef
from cloudmig.model.study import StudySummary
from cloudmig.model.window import StudyQuestion
from cloudmig.ports import FileSurvey, Listing, RetrieveRequest
from cloudmig.sources.directory.file_readers import FileReaders
from cloudmig.sources.directory.index import FileIndex, index_lock
from cloudmig.sources.directory.reading import HeaderLimits
from cloudmig.sources.directory.retrieval import DirectoryRetrieval
from cloudmig.sources.directory.studies import listing_of, summaries
from cloudmig.sources.directory.survey import Survey, SurveyPlan
from cloudmig.staging import StagingArea
from cloudmig.telemetry import Reporter

__all__ = ["DirectorySource", "DirectorySourceSettings"]

_STUDIES_A_PAGE = 200
#: That read and hash: one for each core, and one that waits for the disk meanwhile.
_THREADS = (os.cpu_count() or 1) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectorySourceSettings:
    """One folder and how it is read."""

    name: str
    root: Path
    index: Path
    lanes: int = 4
    object_bytes_max: int = 8 << 30
    plan: SurveyPlan = field(default_factory=SurveyPlan)
    limits: HeaderLimits = HeaderLimits()


class DirectorySource:
    """Reads one folder. What lies in it is known from the index that `survey` makes."""

    def __init__(
        self,
        settings: DirectorySourceSettings,
        area: StagingArea,
        *,
        patient_key: Callable[[str, str], str],
    ) -> None:
        """Take the area that files are read into; `patient_key` makes a pseudonym of an ID."""
        self.settings = settings
        self.area = area
        self.lanes = asyncio.Semaphore(settings.lanes)
        self.threads = ThreadPoolExecutor(_THREADS, f"read {settings.name}")
        self.readers = FileReaders(settings.root)
        self._patient_key = patient_key
        self._index: FileIndex | None = None
        self._holding = contextlib.ExitStack()

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def uses_get(self) -> bool:
        """Nobody sends to us, so no port is needed."""
        return True

    @property
    def index(self) -> FileIndex:
        """The index of the last finished inventory; raises ConfigError where there is none."""
        if self._index is None:
            self._holding.enter_context(index_lock(self.settings.index, shared=True))
            self._index = FileIndex(self.settings.index, reading=True)
        return self._index

    async def prepare(self) -> None:
        """See that folder and index are there."""
        await self.ping()
        await asyncio.to_thread(lambda: self.index)

    async def ping(self) -> None:
        await asyncio.to_thread(self._look)

    def _look(self) -> None:
        """Raise unless the folder can be listed and holds something: a disk may be unmounted."""
        try:
            with os.scandir(self.settings.root) as entries:
                if next(entries, None) is not None:
                    return
        except OSError as error:
            raise SourceUnavailable(
                f"the folder of source {self.name} cannot be listed ({error.strerror})",
                hint="is its disk mounted, and may this user read it?",
            ) from error
        raise SourceUnavailable(
            f"the folder of source {self.name} is empty", hint="is its disk mounted?"
        )

    @contextlib.contextmanager
    def opened_root(self) -> Iterator[int]:
        """Give a descriptor of the folder; nothing outside it is ever opened."""
        try:
            root = os.open(self.settings.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise SourceUnavailable(
                f"the folder of source {self.name} cannot be opened ({error.strerror})",
                hint="is its disk mounted, and may this user read it?",
            ) from error
        try:
            yield root
        finally:
            os.close(root)

    async def survey(self, reporter: Reporter) -> FileSurvey:
        """Walk the folder and read every header that is new (port `SurveyedSource`)."""
        await self.ping()
        self._let_go()
        with index_lock(self.settings.index, shared=False):
            index = FileIndex(self.settings.index)
            try:
                settings = self.settings
                survey = Survey(
                    settings.name, index, settings.root, settings.plan, settings.limits, reporter
                )
                return await survey.run()
            finally:
                index.close()

    async def find_studies(self, question: StudyQuestion) -> AsyncIterator[StudySummary]:  # noqa: ARG002
        """Yield every study, whatever the question: whoever asks sorts out what it wanted."""
        found = summaries(self.index, self._patient_key)
        while page := await asyncio.to_thread(_page, found):
            for summary in page:
                yield summary

    async def list_instances(self, study: StudyRef) -> Listing:
        # A listing of what lies on a disk that is not there would only cost the study an attempt.
        await self.ping()
        return await asyncio.to_thread(listing_of, self.index, study)

    def retrieve(self, request: RetrieveRequest) -> DirectoryRetrieval:
        return DirectoryRetrieval(self, request)

    def alternatives(self, sop_class_uids: Sequence[str]) -> Sequence[str]:  # noqa: ARG002
        """A file is in one syntax and is not converted."""
        return ()

    async def close(self) -> None:
        """Let go of the index, and of what reads."""
        self._let_go()
        await self.readers.close()
        self.threads.shutdown(wait=False, cancel_futures=True)

    def _let_go(self) -> None:
        if self._index is not None:
            self._index.close()
            self._index = None
        self._holding.close()


def _page(found: Iterator[list[StudySummary]]) -> list[StudySummary]:
    """Return the next answers; none at the end."""
    page: list[StudySummary] = []
    for answers in found:
        page += answers
        if len(page) >= _STUDIES_A_PAGE:
            break
    return page
