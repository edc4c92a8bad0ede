"""Whose fault was it? A source or a store that is down must not cost a study its attempts."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from cloudmig.agent.trial import ask_for_others
from cloudmig.agent.waiting import pause
from cloudmig.config import Configuration
from cloudmig.errors import (
    CatalogError,
    DestinationUnavailable,
    SourceBusy,
    SourceRefused,
    SourceUnavailable,
    SpoolFull,
)
from cloudmig.model.transfer import TransferJob
from cloudmig.pipeline.parts import Parts
from cloudmig.pipeline.transfer import Ending

__all__ = ["Outages", "outage_max_s"]

_PAUSE_FIRST_S = 1.0
_PAUSE_MAX_S = 60.0
_NO_ROOM_ATTEMPTS_MAX = 20
#: A study whose copy is owed is not looked at again sooner: looking costs the PACS a query.
_OWED_PAUSE_MIN_S = 1.0
#: Nor are more of them looked at, all together: each that is only put back again takes the turn of
#: a study that could be moved, and some 60 a second were all the turns there are.
_OWED_LOOKS_PER_S = 20


def outage_max_s(config: Configuration) -> float:
    """Return how long what is no destination may be down before the run halts."""
    destinations = config.destinations.values()
    return max((each.outage_max_s for each in destinations), default=3600.0)


class Outages:
    """Remembers which sources and destinations are down, and for how long."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._source_down_since: dict[str, float] = {}
        self._source_pause_s: dict[str, float] = {}
        self._source_free_at: dict[str, float] = {}
        self._successes: Counter[str] = Counter()  #: By source: attempts that met no error.
        self._busy_at: dict[int, int] = {}  #: Transfer -> successes when it last met "busy".
        self._store_down_since: dict[str, float] = {}
        self._owed: set[int] = set()  #: Transfers that lack nothing but what some store is owed.
        self._no_room_since: float | None = None
        self._outage_max_s = outage_max_s(parts.config)

    def is_silent(self, name: str) -> bool:
        """Say whether a source has not answered when it was last asked."""
        return name in self._source_down_since

    def is_left_alone(self, name: str) -> bool:
        """Say whether a destination failed too often, in any of its archives."""
        return any(each.is_open for each in self._parts.breakers[name])

    async def until_source_answers(
        self,
        name: str,
        ask: Callable[[], Awaitable[None]],
        stop: asyncio.Event,
        is_idle: Callable[[], Awaitable[bool]],
    ) -> None:
        """Call `ask` until it answers, or until nothing is left to ask it for.

        Raises `SourceRefused`, or what it raised for too long.
        """
        while not stop.is_set():
            try:
                await ask()
            except SourceUnavailable as error:
                self._source_fails(name, error)
                until_s = time.monotonic() + self._source_pause_s[name]
                while not stop.is_set() and (left_s := until_s - time.monotonic()) > 0:
                    if await is_idle():
                        return
                    await pause(min(left_s, 1.0), stop)
            else:
                self._source_works(name)
                return

    async def sources_worth_asking(self, sources: Sequence[str], stop: asyncio.Event) -> list[str]:
        """Return the sources that are up, after waiting while every destination is down."""
        self._look_at_stores()
        if len(self._store_down_since) == len(self._parts.breakers) > 0:
            self.give_up_on_stores()
        until_probe_s = self.seconds_until_probe()
        if until_probe_s > 0:
            await pause(min(until_probe_s, 5.0), stop)
            return []
        now = time.monotonic()
        up = [name for name in sources if self._source_free_at.get(name, 0.0) <= now]
        if not up:
            await pause(0.2, stop)
        return up

    def _look_at_stores(self) -> None:
        now = time.monotonic()
        for name in self._parts.breakers:
            is_down, was_down = self.is_left_alone(name), name in self._store_down_since
            if is_down and not was_down:
                self._store_down_since[name] = now
                message, hint = self._last_failure(name)
                self._parts.reporter.event(
                    "destination.down", destination=name, message=message, hint=hint
                )
            elif was_down and not is_down:
                down_s = now - self._store_down_since.pop(name)
                self._parts.reporter.event(
                    "destination.back", destination=name, down_s=round(down_s, 1)
                )
                if not (self._store_down_since or self._parts.refusals):
                    self._owed.clear()  # Other agents may do, and count, what is left of them.

    def give_up_on_stores(self) -> None:
        """Raise `DestinationUnavailable` when a store has been down for too long.

        Called when nothing else is left to do: as long as other copies can be made, they are.
        """
        self._look_at_stores()
        now = time.monotonic()
        for name, since in self._store_down_since.items():
            patience_s = self._parts.config.destinations[name].outage_max_s
            if now - since > patience_s:
                message, hint = self._last_failure(name)
                raise DestinationUnavailable(
                    f"destination {name} has not answered for {patience_s:.0f} s: {message}",
                    hint=f"{hint or '`cloudmig doctor` says what is wrong'};"
                    " see destinations.*.outage_max_s."
                    f" What it lacks then: `cloudmig run`, or without the source"
                    f" `cloudmig copy --to {name}` from verified copies",
                )

    def _last_failure(self, name: str) -> tuple[str, str]:
        """Return what was said when a destination failed last, and the hint."""
        return next(
            (each.last_failure for each in self._parts.breakers[name] if each.last_failure[0]),
            ("", ""),
        )

    def give_up_on_refusals(self) -> None:
        """Raise what a store refused us with. Called when nothing else is left to do."""
        for error in (self._parts.refusals or {}).values():
            raise error

    def some_store_is_down(self) -> bool:
        """Say whether any destination is left alone."""
        self._look_at_stores()
        return bool(self._store_down_since)

    async def until_stores_answer(self, names: Sequence[str], stop: asyncio.Event) -> None:
        """Wait until each of these destinations may be tried.

        Raises `DestinationUnavailable` when one has been down for too long.
        """
        while not stop.is_set():
            self.give_up_on_stores()
            waits_s = [
                each.seconds_until_probe
                for name in names
                for each in self._parts.breakers.get(name, ())
                if each.is_open
            ]
            wait_s = max(waits_s, default=0.0)
            if wait_s <= 0:
                return
            await pause(min(wait_s, 5.0), stop)

    def _waits_s(self) -> list[float]:
        return [
            max((each.seconds_until_probe for each in breakers if each.is_open), default=0.0)
            for breakers in self._parts.breakers.values()
        ]

    def seconds_until_probe(self) -> float:
        """Return how long every destination will be left alone; 0 when one may be tried."""
        return min(self._waits_s(), default=0.0)

    def owes_no_more(self, job: TransferJob) -> None:
        """Note that a study is done with, or lacks more than what some store is owed."""
        self._owed.discard(job.transfer_id)

    def seconds_to_owe(self, job: TransferJob) -> float:
        """Return how long to leave a study alone of which some store is owed a copy.

        Until that store is probed, and longer the more such studies there are.
        """
        self._owed.add(job.transfer_id)
        in_turn_s = len(self._owed) / _OWED_LOOKS_PER_S
        return max(_OWED_PAUSE_MIN_S, in_turn_s, *self._waits_s())

    async def judge(self, job: TransferJob, ending: Ending) -> Ending:
        """Take the failure off the study when it was the fault of a store, our disk or the source.

        Raises when one of them has been of no use for too long.
        """
        match ending.error:
            case None:
                self._got_through(job)
                return ending
            case DestinationUnavailable():
                return ending.not_its_fault()
            case SpoolFull() as error:
                return self._judge_room(job, ending, error)
            case SourceBusy() as error:
                return self._judge_busy(job, ending, error)
            case SourceUnavailable():
                return await self._judge_silence(job, ending)
            case _:
                return ending

    def _got_through(self, job: TransferJob) -> None:
        self._no_room_since = None
        self._successes[job.source] += 1
        self._busy_at.pop(job.transfer_id, None)
        self._source_works(job.source)

    async def _judge_silence(self, job: TransferJob, ending: Ending) -> Ending:
        """Ask the source: when it answers nobody, or sends nobody anything, it is to blame."""
        try:
            await self._parts.sources[job.source].ping()
            await ask_for_others(self._parts, job)
        except SourceUnavailable as error:
            self._source_fails(job.source, error)
            return ending.not_its_fault()
        except SourceRefused as error:
            return ending.not_its_fault(error)
        self._source_works(job.source)
        return ending

    def _judge_room(self, job: TransferJob, ending: Ending, error: SpoolFull) -> Ending:
        """Take a full disk off the study, unless it alone finds no room however often it comes.

        Raises when nobody finds any for too long.
        """
        if job.attempt > _NO_ROOM_ATTEMPTS_MAX:
            return ending
        now = time.monotonic()
        self._no_room_since = self._no_room_since or now
        if now - self._no_room_since > self._outage_max_s:
            raise CatalogError(str(error), hint=error.hint) from error
        return ending.not_its_fault()

    def _judge_busy(self, job: TransferJob, ending: Ending, error: SourceBusy) -> Ending:
        """Hold "busy" against a study when others get through, or did before it went on too long.

        A PACS that answers so for everybody is an outage; for one study, that study's fault.
        """
        before, successes = self._busy_at.get(job.transfer_id), self._successes[job.source]
        self._busy_at[job.transfer_id] = successes
        down_s = time.monotonic() - self._source_down_since.get(job.source, time.monotonic())
        got_through = before is not None and successes > before
        if got_through or (successes and down_s > self._outage_max_s):
            return ending
        self._source_fails(job.source, error)
        return ending.not_its_fault()

    def _source_works(self, name: str) -> None:
        self._source_down_since.pop(name, None)
        self._source_pause_s.pop(name, None)
        self._source_free_at.pop(name, None)

    def _source_fails(self, name: str, error: SourceUnavailable) -> None:
        now = time.monotonic()
        since = self._source_down_since.setdefault(name, now)
        if now - since > self._outage_max_s:
            raise SourceRefused(
                f"source {name} has not answered for {self._outage_max_s:.0f} s: {error}",
                hint="`cloudmig doctor` says what is wrong; the next run goes on from here."
                " `cloudmig copy` makes copies from verified ones and needs no source",
            ) from error
        if self._source_free_at.get(name, 0.0) > now:
            return  # Another study in flight met the same: one outage, not two in a row.
        pause_s = self._source_pause_s.get(name, _PAUSE_FIRST_S / 2) * 2
        self._source_pause_s[name] = min(pause_s, _PAUSE_MAX_S)
        self._source_free_at[name] = now + self._source_pause_s[name]
        self._parts.reporter.event(
            "source.down", source=name, message=str(error), again_in_s=self._source_pause_s[name]
        )
