"""Collects what the cloud side has to say: polls, writes it down, and only then lets go of it.

The agent dials out; nobody calls it. A message is deleted when the catalog has committed, so a kill
in between brings it once more, and the catalog knows it then. What cannot be read stays in the
queue and ends among the dead letters. A queue that does not answer stops nothing.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from cloudmig.agent.verdict_reading import Addresses, read_word
from cloudmig.agent.waiting import pause
from cloudmig.catalog import Catalog
from cloudmig.catalog.cloud_verdicts import Heard, Word
from cloudmig.catalog.records import RestoreRow
from cloudmig.cloud.instants import read_instant
from cloudmig.cloud.places import read_place
from cloudmig.errors import (
    CloudmigError,
    ConfigError,
    DestinationRefused,
    DestinationUnavailable,
)
from cloudmig.messages import MessageUnreadable, ObjectVerdict, RestoreReport, StudyVerdict
from cloudmig.pipeline.deciding import decisive
from cloudmig.pipeline.parts import Parts, VerdictPost
from cloudmig.pipeline.verification import Finding
from cloudmig.ports import QueuedMessage

__all__ = ["VerdictSummary", "collect_verdicts", "follow_verdicts"]

T = TypeVar("T")

#: How long one question waits for an answer. Whoever stops us waits as long: what a question that
#: was given up brings would be hidden from the next one for a while. A wait of any length asks all
#: of SQS's servers, none only some of them.
_WAIT_S, _FOLLOWING_WAIT_S = 1, 2
_PAUSE_FIRST_S, _PAUSE_MAX_S = 2.0, 60.0
#: What is under way may end this long after it was told to.
_END_MAX_S = 10.0
_FINDINGS_MAX = 10_000
_SILENCE_HINT = (
    "Is its address right, and can it be reached from here? `cloudmig doctor` asks it, too."
    " Verdicts wait in the queue; `cloudmig verify` needs none."
)


@dataclass(slots=True)
class VerdictSummary:
    """What one collection brought."""

    messages: int = 0
    words: Counter[Word] = field(default_factory=Counter)
    good_objects: int = 0  #: Said of single objects that are as they should be: nothing to do.
    extras: int = 0  #: Objects in no manifest, raised for a person.
    restores: int = 0
    unreadable: int = 0  #: Left for the dead-letter queue.
    findings: list[Finding] = field(default_factory=list)
    stopped: bool = False  #: By a person.

    @property
    def differs(self) -> bool:
        """Say whether something is not as it should be."""
        return bool(self.words[Word.DIFFERS] or self.words[Word.NOTED] or self.extras)


async def collect_verdicts(
    parts: Parts, *, stop: asyncio.Event, follow: bool = False
) -> VerdictSummary:
    """Collect what waits, and with `follow` what comes, until a person says stop.

    Raises `DestinationUnavailable` or `DestinationRefused` when a queue cannot be asked; with
    `follow` it is told once, and asked again.
    """
    if not parts.verdict_posts:
        raise ConfigError(
            "no destination has a verdict_queue",
            hint="set destinations.*.verdict_queue to the queue that the functions answer through",
        )
    summary = VerdictSummary()
    await _hear_waiting(parts, summary)
    try:
        async with asyncio.TaskGroup() as group:
            for post in parts.verdict_posts:
                group.create_task(_Collector(parts, post, summary).collect(stop, follow=follow))
    except* CloudmigError as errors:
        raise decisive(errors) from errors
    await _hear_waiting(parts, summary)
    summary.stopped = stop.is_set()
    return summary


async def follow_verdicts(parts: Parts) -> None:
    """Collect until cancelled. What is under way then is brought to its end first."""
    stop = asyncio.Event()
    collecting = asyncio.create_task(collect_verdicts(parts, stop=stop, follow=True))
    try:
        await asyncio.shield(collecting)
    finally:
        stop.set()
        await asyncio.wait({collecting}, timeout=_END_MAX_S)
        collecting.cancel()
        await asyncio.gather(collecting, return_exceptions=True)


class _Collector:
    """Empties one queue."""

    def __init__(self, parts: Parts, post: VerdictPost, summary: VerdictSummary) -> None:
        self._parts = parts
        self._post = post
        self._summary = summary
        self._addresses = Addresses.of(parts.config, post.destinations)
        self._unreadable: set[str] = set()
        self._down = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="verdicts")

    async def collect(self, stop: asyncio.Event, *, follow: bool) -> None:
        pause_s = _PAUSE_FIRST_S
        try:
            while not stop.is_set():
                try:
                    came = await self._collect_some(_FOLLOWING_WAIT_S if follow else _WAIT_S)
                except (DestinationUnavailable, DestinationRefused) as error:
                    if not follow:
                        raise self._named(error) from error
                    self._tell_down(error)
                    await pause(pause_s, stop)
                    pause_s = min(2 * pause_s, _PAUSE_MAX_S)
                    continue
                pause_s = _PAUSE_FIRST_S
                if not came and not follow:
                    return
                await _hear_waiting(self._parts, self._summary)
        finally:
            self._thread.shutdown(wait=False)

    async def _collect_some(self, wait_s: float) -> bool:
        """Ask once, and settle what came. Return False when nothing new did."""
        queue = self._post.queue
        received = await self._in_thread(partial(queue.receive, wait_s=wait_s))
        if self._down:
            self._down = False
            self._parts.reporter.event("verdicts.reachable", destinations=self._post.name)
        new = [each for each in received if each.message_id not in self._unreadable]
        settled = [each for each in new if await self._settle(each)]
        if settled:
            await self._in_thread(partial(queue.delete, settled))
        if new:
            self._parts.reporter.event(
                "verdicts.progress",
                messages=self._summary.messages,
                **{word.value: count for word, count in self._summary.words.items()},
            )
        return bool(new)

    async def _settle(self, message: QueuedMessage) -> bool:
        """Write down what a message says. Return False when it stays in the queue."""
        summary, parts = self._summary, self._parts
        summary.messages += 1
        try:
            word = read_word(message.body)
        except MessageUnreadable as error:
            summary.unreadable += 1
            self._unreadable.add(message.message_id)
            parts.reporter.event("verdict.unreadable", why=str(error))
            return False
        destination = self._addresses.destination(word)
        match word:
            case _ if not destination:
                _count(parts, summary, Heard(Word.UNKNOWN), "", "", "")
            case StudyVerdict():
                await self._settle_study(destination, word)
            case ObjectVerdict():
                await self._settle_object(destination, word)
            case RestoreReport():
                await self._settle_restore(destination, word)
        return True

    async def _settle_study(self, destination: str, word: StudyVerdict) -> None:
        source = self._addresses.source(word.archive)
        heard = await self._parts.catalog.call(
            Catalog.hear_study_verdict, destination, source, word, at=self._parts.now()
        )
        _count(self._parts, self._summary, heard, source, destination, word.study_instance_uid)

    async def _settle_object(self, destination: str, word: ObjectVerdict) -> None:
        if not word.finding:
            self._summary.good_objects += 1
            return
        source = self._addresses.source(word.archive)
        heard = await self._parts.catalog.call(
            Catalog.hear_object_verdict, destination, source, word, at=self._parts.now()
        )
        _count(self._parts, self._summary, heard, source, destination, word.study_instance_uid)

    async def _settle_restore(self, destination: str, word: RestoreReport) -> None:
        place = read_place(word.key, "")
        told = RestoreRow(
            destination=destination,
            source=self._addresses.source(place.archive) if place else "",
            key=word.key,
            version_id=word.version_id or "",
            storage_class=word.storage_class,
            tier=word.tier,
            promised_s=word.promised_s,
            asked_at=read_instant(word.asked_at),
            completed_at=read_instant(word.completed_at) if word.completed_at else None,
            took_s=word.took_s,
        )
        sop_instance_uid = place.sop_instance_uid if place else ""
        is_news = await self._parts.catalog.call(
            Catalog.record_restore,
            told,
            self._parts.now(),
            study_instance_uid=place.study_instance_uid if place else "",
            sop_instance_uid=sop_instance_uid,
        )
        if not is_news:
            self._summary.words[Word.OLDER] += 1
            return
        self._summary.restores += 1
        self._parts.reporter.event(
            "restore.completed" if word.completed_at else "restore.asked",
            destination=destination,
            instance=sop_instance_uid,
            tier=word.tier,
            promised_s=word.promised_s,
            took_s=word.took_s,
        )

    def _named(
        self, error: DestinationUnavailable | DestinationRefused
    ) -> DestinationUnavailable | DestinationRefused:
        """Return the error with what a person needs to know: which queue, and what to do."""
        reason = str(error).removeprefix("queue: ")
        return type(error)(
            f"the verdict queue of {self._post.name}: {reason}", hint=error.hint or _SILENCE_HINT
        )

    def _tell_down(self, error: DestinationUnavailable | DestinationRefused) -> None:
        if not self._down:
            self._down = True
            self._parts.reporter.event(
                "verdicts.unreachable",
                destinations=self._post.name,
                message=str(error),
                hint=self._named(error).hint,
            )

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)


async def _hear_waiting(parts: Parts, summary: VerdictSummary) -> None:
    """Apply what came while its study was being written."""
    for late in await parts.catalog.call(Catalog.hear_waiting, parts.now()):
        study = late.study.study_instance_uid
        _count(parts, summary, late.heard, late.source, late.destination, study)


def _count(
    parts: Parts,
    summary: VerdictSummary,
    heard: Heard,
    source: str,
    destination: str,
    study_instance_uid: str,
) -> None:
    """Count a word, and tell whoever listens."""
    summary.words[heard.word] += 1
    summary.extras += len(heard.extras)
    for extra in heard.extras:
        parts.reporter.event(
            "verdict.extra_object",
            destination=destination,
            object=parts.pseudonyms.of(extra.extra.known_by, "ob"),
            reason=extra.reason.value,
        )
    parts.reporter.event(
        f"verdict.{heard.word.value}", destination=destination, study=study_instance_uid
    )
    for bad in heard.findings:
        parts.reporter.event(
            "verdict.difference",
            destination=destination,
            study=study_instance_uid,
            instance=bad.sop_instance_uid,
            finding=bad.finding,
        )
        if len(summary.findings) < _FINDINGS_MAX:
            summary.findings.append(
                Finding(source, destination, study_instance_uid, bad.sop_instance_uid, bad.finding)
            )
