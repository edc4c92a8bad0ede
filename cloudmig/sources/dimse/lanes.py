"""Lanes: the association budget towards one PACS, and the associations kept open between uses.

The budget follows what the PACS bears: halved when it asks for less (0xA702, rejected transient),
raised by one lane's share after each success, never above the configured number.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass

from cloudmig.dimse.client import Association
from cloudmig.dimse.contexts import ProposedContext
from cloudmig.errors import SourceBusy

__all__ = ["Lane", "Lanes"]

#: Some PACS count an association for a moment after its release. Studies that need several, one
#: after the other, would never get through: each refusal puts the whole study back.
_UNTIL_COUNTED_OUT_S = (0.2, 0.5, 1.0)

Contexts = tuple[ProposedContext, ...]
Connect = Callable[[str, Contexts], Coroutine[None, None, Association]]


@dataclass(slots=True)
class Lane:
    """One slot of the budget, with the AE title we use on it."""

    calling_aet: str
    lanes: Lanes

    @contextlib.asynccontextmanager
    async def association(
        self, contexts: Contexts, *, is_new: bool = False
    ) -> AsyncIterator[Association]:
        """Give an association with these contexts: a kept one, unless `is_new`, or a new one.

        It is kept for the next user when the block ends well and aborted when it does not.
        """
        held, association = await self.lanes.take(self.calling_aet, contexts, is_new=is_new)
        try:
            yield association
        except BaseException:
            association.abort()
            self.lanes.forget()
            raise
        self.lanes.keep(self.calling_aet, held, association)


class Lanes:
    """Hands out lanes. One AE title at a time can be held by a single user (`alone`)."""

    def __init__(self, ae_titles: Sequence[str], count: int, connect: Connect) -> None:
        self._ae_titles = tuple(ae_titles)
        self._count_max = count
        self._budget = float(count)
        self._connect = connect
        self._in_use: dict[str, int] = dict.fromkeys(ae_titles, 0)
        self._alone: set[str] = set()
        self._wanted_alone = 0
        self._changed = asyncio.Condition()
        self._kept: dict[tuple[str, Contexts], deque[Association]] = defaultdict(deque)
        self._leaving: set[asyncio.Task[None]] = set()  #: Being released, to make room.
        self._busy = 0  #: Associations in use, or being opened.

    @property
    def budget(self) -> int:
        """How many lanes may be in use now."""
        return max(1, int(self._budget))

    def slower(self) -> None:
        """The PACS asked for less: halve the budget."""
        self._budget = max(1.0, self._budget / 2)

    def faster(self) -> None:
        """Something went well: raise the budget a little."""
        self._budget = min(float(self._count_max), self._budget + 1 / self._budget)

    @contextlib.asynccontextmanager
    async def lane(self, *, alone: bool = False) -> AsyncIterator[Lane]:
        """Wait for a free lane; `alone` waits until its AE title has no other user."""
        calling_aet = await self._enter(alone=alone)
        try:
            yield Lane(calling_aet, self)
        finally:
            await asyncio.shield(self._leave(calling_aet))

    async def _enter(self, *, alone: bool) -> str:
        async with self._changed:
            self._wanted_alone += alone
            try:
                await self._changed.wait_for(lambda: self._free(alone=alone) is not None)
            except BaseException:
                self._changed.notify_all()  # Who let us go first looks again.
                raise
            finally:
                self._wanted_alone -= alone
            calling_aet = self._free(alone=alone)
            assert calling_aet is not None
            self._in_use[calling_aet] += 1
            if alone:
                self._alone.add(calling_aet)
            return calling_aet

    def _free(self, *, alone: bool) -> str | None:
        if sum(self._in_use.values()) >= self.budget:
            return None
        if not alone and self._wanted_alone and len(self._ae_titles) == 1:
            return None  # Let the one who needs the AE title for itself in, or it waits for ever.
        titles = [aet for aet in self._ae_titles if aet not in self._alone]
        if alone:
            titles = [aet for aet in titles if self._in_use[aet] == 0]
        return min(titles, key=lambda aet: self._in_use[aet], default=None)

    async def _leave(self, calling_aet: str) -> None:
        async with self._changed:
            self._in_use[calling_aet] -= 1
            self._alone.discard(calling_aet)
            self._changed.notify_all()

    async def take(
        self, calling_aet: str, contexts: Contexts, *, is_new: bool = False
    ) -> tuple[Contexts, Association]:
        """Return a kept association that is still open, or a new one within the budget.

        - With it, the contexts it was opened with: those asked for and perhaps more.
        - What is kept counts, too: idle ones make room, or a PACS that lets few in lets nobody in.
        """
        self._busy += 1
        try:
            for held in () if is_new else self._fitting(calling_aet, contexts):
                kept = self._kept[calling_aet, held]
                while kept:
                    association = kept.pop()
                    if association.is_open:
                        return held, association
            return contexts, await self._connected(calling_aet, contexts)
        except BaseException:
            self._busy -= 1
            raise

    async def _connected(self, calling_aet: str, contexts: Contexts) -> Association:
        """Connect within the budget; where the PACS has no place, make some and ask again.

        Raises `SourceBusy` when it has none for longer than a moment.
        """
        for refusals, pause_s in enumerate(_UNTIL_COUNTED_OUT_S):
            try:
                return await self._connected_with_room(calling_aet, contexts)
            except SourceBusy:
                if not refusals:
                    self.slower()
            await asyncio.sleep(pause_s)
        return await self._connected_with_room(calling_aet, contexts)

    async def _connected_with_room(self, calling_aet: str, contexts: Contexts) -> Association:
        self._make_room()
        if self._leaving:
            # A PACS that lets few in counts an association until it is released.
            await asyncio.wait(self._leaving)
        return await self._connect(calling_aet, contexts)

    def _fitting(self, calling_aet: str, contexts: Contexts) -> list[Contexts]:
        """Return what kept associations were opened with that will do: the same, or more."""
        if self._kept.get((calling_aet, contexts)):
            return [contexts]
        wanted = set(contexts)
        return [
            theirs
            for (aet, theirs), kept in self._kept.items()
            if kept and aet == calling_aet and wanted <= set(theirs)
        ]

    def forget(self) -> None:
        """Note that an association that was taken is over."""
        self._busy -= 1

    def keep(self, calling_aet: str, contexts: Contexts, association: Association) -> None:
        """Keep an association for the next user, as many as the budget allows."""
        self._busy -= 1
        if not association.is_open:
            return
        self._kept[calling_aet, contexts].append(association)
        self._make_room()

    def _make_room(self) -> None:
        for needs, kept in list(self._kept.items()):
            while kept and self._busy + self._kept_count > self.budget:
                leaving = asyncio.create_task(kept.popleft().release())
                self._leaving.add(leaving)
                leaving.add_done_callback(self._leaving.discard)
            if not kept:
                del self._kept[needs]  # A hundred contexts, which may never be asked for again.

    @property
    def _kept_count(self) -> int:
        return sum(len(kept) for kept in self._kept.values())

    async def close(self) -> None:
        """Release every kept association."""
        kept = [association for group in self._kept.values() for association in group]
        self._kept.clear()
        releases = [*self._leaving, *(each.release() for each in kept)]
        await asyncio.gather(*releases, return_exceptions=True)
