"""Searches of one archive (QIDO-RS), page by page, until no row can be left.

Servers cap a page below the limit that was asked for, ignore the offset, or say by status 206 or a
Warning that there is more (PS3.18 8.3.4.4): the next page is asked for by what came, and an answer
ends with a page that is empty or brings nothing new. One that is shorter than another that came
before ends it, too, except among studies: some servers leave rows out of a page that was cut out
before, and nothing else would tell of the studies behind it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from typing import NoReturn

from cloudmig.dicomweb import (
    AnswerUnreadable,
    DicomWebClient,
    DicomWebFailed,
    Row,
    SearchReply,
    read_data_sets,
)
from cloudmig.errors import QueryTruncated, SourceUnavailable
from cloudmig.sources.dicomweb.lanes import RequestLanes
from cloudmig.sources.dicomweb.refusals import BUSY_STATUSES, error_for_status, translate

__all__ = ["Level", "Searches", "StudyUnknown"]

_JSON = "application/dicom+json"
_XML = 'multipart/related; type="application/dicom+xml"'
_PAGES_MAX = 100_000
_EMPTY_STATUSES = frozenset({200, 204, 206})
_NOT_FOUND = frozenset({404, 410})
#: What a server answers to a form of answer that it does not know.
_NOT_IN_THIS_FORM = frozenset({406, 415})

Keys = Sequence[tuple[str, str]]


class StudyUnknown(Exception):  # noqa: N818 - named for what happened, as in errors.py
    """The archive knows nothing under this path (404)."""


@dataclass(frozen=True, slots=True)
class Level:
    """What is searched for: studies, series or instances."""

    name: str
    included: tuple[str, ...]  #: Attributes asked for beside the usual ones.
    name_of: Callable[[Row], Hashable]  #: Tells two rows apart.
    short_page_ends: bool = True


class Searches:
    """Asks one archive, and remembers how it wants to be asked."""

    def __init__(self, client: DicomWebClient, lanes: RequestLanes, *, page_rows: int) -> None:
        self._client = client
        self._lanes = lanes
        self._page_rows = page_rows
        self._accept = _JSON
        self._has_answered = False
        self._plain_levels: set[str] = set()  #: Where it does not take the attributes we include.
        #: What the archive gave at once, by level: no smaller page was capped.
        self._largest_page: defaultdict[str, int] = defaultdict(int)
        self.server_date = ""  #: Of the last answer, as it was written.

    async def rows(self, level: Level, path: str, keys: Keys = ()) -> AsyncGenerator[Row, None]:
        """Yield every row.

        Raises `QueryTruncated` where there is more and it cannot be had, `StudyUnknown` on 404.
        """
        seen: set[Hashable] = set()
        before: list[Hashable] = []  #: The names of the page before this one.
        received = 0
        for _ in range(_PAGES_MAX):
            ask = partial(self._page, level, path, keys, offset=received)
            page, says_more = await self._lanes.insist(ask)
            names = [level.name_of(row) for row in page]
            if seen.issuperset(names):
                # It repeats itself: was the page before this one all there is?
                if page and received >= self._page_rows:
                    raise QueryTruncated("the archive ignores the offset of a search")
                if says_more:
                    raise QueryTruncated("the archive says that there is more, and gives no more")
                return
            if not _follows(names, before, seen):
                raise QueryTruncated(
                    "the archive changes the order of its rows between two pages of a search"
                )
            seen.update(names)
            before = names
            received += len(page)
            for row in page:
                yield row
            is_short = len(page) < self._largest_page[level.name]
            if is_short and level.short_page_ends and not says_more:
                return
            self._largest_page[level.name] = max(self._largest_page[level.name], len(page))
        raise QueryTruncated(f"a search with more than {_PAGES_MAX} pages")

    async def ping(self) -> None:
        """Return when the archive answers a search for any study; what it answers is not read."""
        reply = await self._answer("/studies", [("limit", "1")])
        if reply.status in {400, 413}:
            # Too broad, for some, however few rows are wanted: a day without studies, then.
            reply = await self._answer("/studies", [("StudyDate", "19000101"), ("limit", "1")])
        if reply.status not in _EMPTY_STATUSES and not (reply.status == 404 and self._has_answered):
            raise error_for_status(reply.status, doing="search")
        self._has_answered = True

    async def _page(
        self, level: Level, path: str, keys: Keys, *, offset: int
    ) -> tuple[list[Row], bool]:
        plain = [*keys, ("limit", str(self._page_rows))]
        plain += [("offset", str(offset))] if offset else []
        if level.name in self._plain_levels or not level.included:
            reply = await self._answer(path, plain)
        else:
            included = [("includefield", keyword) for keyword in level.included]
            reply = await self._answer(path, [*plain, *included])
            if reply.status == 400:
                # Perhaps for a field that it does not know: what it gives by itself has to do.
                reply = await self._answer(path, plain)
                if reply.status in _EMPTY_STATUSES:
                    self._plain_levels.add(level.name)
        if reply.status in _NOT_FOUND and offset:
            return [], False  # There is no further page.
        if reply.status not in _EMPTY_STATUSES:
            self._note_busy(reply)
            if reply.status in _NOT_FOUND and not self._has_answered:
                await self.ping()  # Nothing of the kind, or no DICOMweb service at all?
            self._refused(reply, is_narrow=bool(keys or offset))
        self._has_answered = True
        try:
            rows = await read_data_sets(reply.body, reply.content_type)
        except AnswerUnreadable as error:
            raise SourceUnavailable(f"search: {error}") from error
        self._lanes.faster()
        return rows, reply.says_more

    async def _answer(self, path: str, query: Keys) -> SearchReply:
        reply = await self._ask(path, query)
        if reply.status in _NOT_IN_THIS_FORM and self._accept == _JSON:
            self._accept = _XML
            reply = await self._ask(path, query)
            if reply.status in _NOT_IN_THIS_FORM:
                self._accept = _JSON
        return reply

    async def _ask(self, path: str, query: Keys) -> SearchReply:
        try:
            async with self._lanes.lane():
                reply = await self._client.search(path, query, accept=self._accept)
        except DicomWebFailed as error:
            if error.status == 413:
                raise QueryTruncated(str(error)) from error
            self._lanes.slower()
            raise translate(error) from error
        self.server_date = reply.date
        return reply

    def _note_busy(self, reply: SearchReply) -> None:
        if reply.status in BUSY_STATUSES:
            self._lanes.slower(reply.retry_after_s)

    def _refused(self, reply: SearchReply, *, is_narrow: bool) -> NoReturn:
        """Raise what the status of a reply means to this search.

        To a 400 there may be more than bad searches: some servers give no row beyond the 10,000th.
        """
        status = reply.status
        if status == 413 or (status == 400 and is_narrow):
            raise QueryTruncated(f"search: HTTP {status}")
        if status in _NOT_FOUND:
            raise StudyUnknown
        raise error_for_status(status, doing="search")


def _follows(names: Sequence[Hashable], before: Sequence[Hashable], seen: set[Hashable]) -> bool:
    """Say whether a page may be the next one: it repeats nothing but the end of the one before.

    One in another order repeats some rows, and as many others are then on no page.
    """
    repeated = list(takewhile(seen.__contains__, names))
    end = before[len(before) - len(repeated) :] if len(repeated) < len(before) else before
    return set(repeated) <= set(end) and seen.isdisjoint(filter(None, names[len(repeated) :]))
