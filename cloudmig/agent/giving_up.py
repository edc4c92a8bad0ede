"""Gives a destination up, page by page."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from cloudmig.catalog import Catalog
from cloudmig.catalog.giving_up import Fate, GivingUp
from cloudmig.errors import ConfigError
from cloudmig.pipeline.parts import Parts

__all__ = ["GivingUpSummary", "give_up"]


@dataclass(slots=True)
class GivingUpSummary:
    """What became of the copies at a destination, and of what waits there for a person."""

    fates: Counter[Fate] = field(default_factory=Counter)
    objects_settled: int = 0

    @property
    def left(self) -> int:
        """How many copies stay in the plan of their study."""
        return self.fates[Fate.ONLY_COPY] + self.fates[Fate.UNDER_WAY]


async def give_up(parts: Parts, word: GivingUp) -> GivingUpSummary:
    """Take every copy at a destination out of the plan. Safe to stop and to repeat.

    Raises `ConfigError` where the catalog has no copy there.
    """
    known = await parts.catalog.call(Catalog.destinations_held)
    if word.destination not in known:
        raise ConfigError(
            f"the catalog has no copy at {word.destination}",
            hint=f"it has copies at: {', '.join(known) or 'no destination'}",
        )
    summary = GivingUpSummary()
    after: int | None = 0
    while after is not None:
        page = await parts.catalog.call(Catalog.give_up_copies, word, parts.now(), after=after)
        summary.fates.update(page.fates)
        parts.reporter.event("giving_up.progress", copies=summary.fates.total())
        after = page.after
    summary.objects_settled = await parts.catalog.call(Catalog.give_up_extras, word, parts.now())
    return summary
