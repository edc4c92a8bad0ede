"""What the steps work with. `bootstrap` puts it together; tests put fakes in."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from cloudmig.catalog import CatalogThread
from cloudmig.config import Configuration
from cloudmig.errors import ConfigError, DestinationRefused
from cloudmig.ports import Destination, InventorySource, StudySource, VerdictQueue
from cloudmig.staging import StagingArea
from cloudmig.telemetry import Pseudonyms, Reporter

__all__ = ["Breaker", "Counters", "Listener", "Parts", "Source", "VerdictPost"]

_COMPARISONS_AT_ONCE = 2


class Source(InventorySource, StudySource, Protocol):
    """A source that can be inventoried and pulled from."""

    @property
    def uses_get(self) -> bool:
        """Say whether it sends on our own association, so that no port is needed."""
        ...

    async def prepare(self) -> None:
        """Find out what the configuration leaves open: C-GET or C-MOVE."""
        ...

    async def close(self) -> None:
        """Let go of the source."""
        ...


@dataclass(slots=True)
class Counters:
    """What this process did since it started; read by the progress display."""

    instances_stored: int = 0
    bytes_stored: int = 0
    studies_stored: int = 0
    studies_quarantined: int = 0
    studies_put_back: int = 0
    catalog_answers: bool = True
    #: Transfers that are owed to some store: their instances are counted, some other has them.
    transfers_behind: set[int] = field(default_factory=set)


class Listener(Protocol):
    """Our storage SCP."""

    async def start(self) -> None: ...

    async def close(self, grace_s: float = 0.0) -> None: ...


class Breaker(Protocol):
    """Knows whether a destination is down."""

    @property
    def is_open(self) -> bool: ...

    @property
    def seconds_until_probe(self) -> float: ...

    @property
    def last_failure(self) -> tuple[str, str]:
        """What was said when it failed last, and the hint."""
        ...


@dataclass(frozen=True, slots=True)
class VerdictPost:
    """A queue, and the destinations that it brings word of."""

    queue: VerdictQueue
    destinations: tuple[str, ...]

    @property
    def name(self) -> str:
        """What a person is told."""
        return ", ".join(self.destinations)


@dataclass(slots=True)
class Parts:
    """One agent, put together."""

    config: Configuration
    catalog: CatalogThread
    sources: Mapping[str, Source]
    #: By destination and source: where an object lies depends on the archive it came from.
    destinations: Mapping[tuple[str, str], Destination]
    area: StagingArea
    reporter: Reporter
    pseudonyms: Pseudonyms
    now: Callable[[], dt.datetime]
    breakers: Mapping[str, Sequence[Breaker]] = field(default_factory=dict)
    listener: Listener | None = None
    verdict_posts: Sequence[VerdictPost] = ()
    counters: Counters = field(default_factory=Counters)
    #: Who compares two files: each takes room in the spool, and a child process.
    comparisons: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(_COMPARISONS_AT_ONCE)
    )
    #: Stores that refuse us in this run: their copies are left, and it halts when all else is done.
    #: None: whoever is refused halts at once.
    refusals: dict[str, DestinationRefused] | None = None

    def archive_of(self, source: str) -> str:
        """Return the archive name of a source: the first part of its keys."""
        return self.config.sources[source].archive

    def destination(self, name: str, source: str) -> Destination:
        """Return where a source has its copies, of which the catalog knows.

        Raises `ConfigError` where one of the two has left the configuration since.
        """
        found = self.destinations.get((name, source))
        if found is None:
            where, gone, or_else = "sources", source, ""
            if name not in self.config.destinations:
                where, gone = "destinations", name
                or_else = f", or, if it is gone for good, `cloudmig give-up {name}`"
            raise ConfigError(
                f"the catalog has copies at {name} of source {source}, and {where}.{gone} is not"
                " configured any more",
                hint=f"put [{where}.{gone}] back{or_else}; what is planned"
                " and not made there, `cloudmig plan` takes out of the plan where no rule names it",
            )
        return found
