"""What goes wrong between a PACS and the agent: eight faults, for a while or for ever."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from tests.peers.faults.dimse_proxy import Action, Answer, Cut, DimseProxy, Inspect, Pass
from tests.peers.faults.pdu import (
    C_GET_RQ,
    C_MOVE_RQ,
    C_MOVE_RSP,
    C_STORE_RQ,
    C_STORE_RSP,
    Command,
    study_of,
    with_study,
)

__all__ = ["PacsFault", "Trouble"]

_PENDING = 0xFF00
_HANG_S = 40.0
_DEAD_MAX_S = 15.0


class PacsFault(Enum):
    """The rows of the matrix, with their names in the table."""

    NO_ROOM = "A700"
    WARNING = "B000"
    ABORT = "abort"
    DOWN = "we are down"
    HANG = "40 s hang"
    KILLED = "PACS killed"
    WRONG_STUDY = "wrong study"
    NOTHING = "success with nothing"


#: Which messages of its kind a passing fault hits: C-STOREs, or retrieve requests.
_STRIKES = {
    PacsFault.NO_ROOM: {3, 8, 9, 20},
    PacsFault.WARNING: {3, 8, 9, 20},
    PacsFault.ABORT: {3, 8, 15},
    PacsFault.DOWN: {1, 2, 3},
    PacsFault.HANG: {3},
    PacsFault.KILLED: {6},
    PacsFault.WRONG_STUDY: {1, 2, 4},
    PacsFault.NOTHING: {1, 2, 4},
}


@dataclass(slots=True)
class Trouble:
    """One fault at work in one cell; both proxies of the cell ask it what to do.

    Without a victim it strikes a few times and is gone. With one it hits for ever: that instance,
    or, where requests are what is hit, that study.
    """

    fault: PacsFault
    victim: str = ""
    #: Names the study that is sent instead of this one.
    another_study: Callable[[str], str] = str
    kill: Callable[[], None] | None = None
    revive: Callable[[], None] | None = None
    questions: DimseProxy | None = None
    storage: DimseProxy | None = None
    injected: int = 0
    stores: int = 0
    answers: int = 0
    requests: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def begin(self) -> None:
        """Open the listeners, except the one that is down at first."""
        assert self.questions is not None
        await self.questions.start()
        if self.storage is not None:
            await (self.storage.reserve() if self.fault is PacsFault.DOWN else self.storage.start())

    async def end(self) -> None:
        """Close the listeners, after the PACS is back."""
        await asyncio.gather(*self._tasks)
        for proxy in (self.questions, self.storage):
            if proxy is not None:
                await proxy.stop()

    async def decide(self, command: Command) -> Action:
        """Say what becomes of a command."""
        if command.field == C_STORE_RQ:
            self.stores += 1
            return await self._store(command)
        if command.field == C_STORE_RSP:
            self.answers += 1
            return self._stored(command)
        if command.field in {C_MOVE_RQ, C_GET_RQ}:
            self.requests += 1
            return self._retrieve(command, self.requests)
        if command.field == C_MOVE_RSP and command.status != _PENDING:
            await self._moved()
        return Pass()

    def _hits(self, number: int, name: str) -> bool:
        struck = name == self.victim if self.victim else number in _STRIKES[self.fault]
        self.injected += struck
        return struck

    async def _store(self, command: Command) -> Action:
        if self.fault not in {PacsFault.NO_ROOM, PacsFault.ABORT, PacsFault.KILLED}:
            return Pass()
        if not self._hits(self.stores, command.sop_instance_uid):
            return Pass()
        if self.fault is PacsFault.NO_ROOM:
            return Answer(command.answered(0xA700))
        if self.fault is PacsFault.KILLED:
            assert self.kill is not None
            await asyncio.to_thread(self.kill)
            self._tasks.add(asyncio.create_task(self._come_back()))
        return Cut()

    async def _come_back(self) -> None:
        """Start the PACS again, once the agent has met it dead."""
        assert self.questions is not None
        assert self.revive is not None
        self.questions.unreachable.clear()
        with contextlib.suppress(TimeoutError):  # If nobody asks it comes back all the same.
            async with asyncio.timeout(_DEAD_MAX_S):
                await self.questions.unreachable.wait()
        await asyncio.to_thread(self.revive)

    def _stored(self, answer: Command) -> Action:
        if self.fault is PacsFault.WARNING and self._hits(self.answers, answer.sop_instance_uid):
            return Pass(answer.with_status(0xB000))
        if self.fault is PacsFault.HANG and self._hits(self.answers, answer.sop_instance_uid):
            return Pass(delay_s=_HANG_S)
        return Pass()

    def _retrieve(self, command: Command, number: int) -> Action:
        def judge(identifier: bytes) -> Answer | bytes:
            study = study_of(identifier)
            if not self._hits(number, study):
                return identifier
            if self.fault is PacsFault.NOTHING:
                return Answer(command.answered(0x0000))
            return with_study(identifier, self.another_study(study))

        wanted = {PacsFault.WRONG_STUDY, PacsFault.NOTHING}
        return Inspect(judge) if self.fault in wanted else Pass()

    async def _moved(self) -> None:
        """Count what was asked of a PACS that could not reach us; then be there."""
        if self.fault is not PacsFault.DOWN or self.injected >= max(_STRIKES[self.fault]):
            return
        self.injected += 1
        if self.injected == max(_STRIKES[self.fault]):
            assert self.storage is not None
            await self.storage.start()
