"""Whatever becomes of a retrieve, every object that arrived gives its room back."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from cloudmig.errors import SpoolFull
from cloudmig.pipeline.transfer import pull
from cloudmig.ports import RetrieveEvidence
from cloudmig.sources.arrivals import RunningRetrieval

REQUEST: Any = SimpleNamespace(expected={})


class Held:
    """What arrived, and how it was settled."""

    settled: bool | None = None

    def settle(self, *, stored: bool) -> None:
        assert self.settled is None, "exactly once"
        self.settled = stored


async def test_an_object_whose_storing_never_began_gives_its_room_back() -> None:
    """The one before it fails in the moment in which it arrives: its task is cancelled unbegun."""
    first, second, arriving = Held(), Held(), asyncio.Event()
    begun: list[Held] = []

    class Retrieval(RunningRetrieval[Any]):
        async def _work(self) -> None:
            self._hand_over(first)
            while not begun:
                await asyncio.sleep(0)
            arriving.set()
            self._hand_over(second)
            await asyncio.Event().wait()

    async def keep(_attempt: Any, arrival: Any) -> bool:  # noqa: ANN401
        begun.append(arrival)
        await arriving.wait()
        raise SpoolFull("no room to compare")

    source = SimpleNamespace(retrieve=Retrieval)
    attempt: Any = SimpleNamespace(source=source, strays=0, too_large=set(), unread=set())
    with pytest.raises(SpoolFull):
        await pull(attempt, REQUEST, keep)

    assert begun == [first]
    assert (first.settled, second.settled) == (False, False)


async def test_an_object_is_settled_by_what_became_of_it() -> None:
    kept, lost = Held(), Held()

    class Retrieval(RunningRetrieval[Any]):
        async def _work(self) -> None:
            self._hand_over(kept)
            self._hand_over(lost)

    async def keep(_attempt: Any, arrival: Any) -> bool:  # noqa: ANN401
        return arrival is kept

    source = SimpleNamespace(retrieve=Retrieval)
    attempt: Any = SimpleNamespace(source=source, strays=0, too_large=set(), unread=set())
    evidence = await pull(attempt, REQUEST, keep)

    assert (kept.settled, lost.settled) == (True, False)
    assert evidence == RetrieveEvidence()
