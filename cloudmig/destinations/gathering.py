"""Makes one request of many concurrent stores of one study.

A batch is open while it gathers: for a short time, and then for as long as all requests that may
run at once are running. So batches are small where the source is slow and full where the store is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

from cloudmig.errors import CloudmigError, DestinationError, DestinationUnavailable
from cloudmig.model.instance import StagedInstance
from cloudmig.model.outcome import StoreOutcome
from cloudmig.model.references import InstanceRef, StudyRef

__all__ = ["Gathering", "Order"]


@dataclass(eq=False, slots=True)
class Order:
    """One instance to be stored, and whoever waits for that."""

    staged: StagedInstance
    outcome: asyncio.Future[StoreOutcome]

    @property
    def instance(self) -> InstanceRef:
        assert self.staged.instance is not None, "only named instances are sent"
        return self.staged.instance

    @property
    def sop_instance_uid(self) -> str:
        return self.instance.sop_instance_uid

    def settle(self, outcome: StoreOutcome) -> None:
        """Tell how it ended. Who no longer waits is not told."""
        if not self.outcome.done():
            self.outcome.set_result(outcome)

    def fail(self, error: CloudmigError) -> None:
        """Tell that it is not known, or that nobody may store here.

        Everybody gets an error of his own with the same cause: a breaker counts one failure.
        """
        if not self.outcome.done():
            own = type(error)(str(error), hint=error.hint)
            own.__cause__ = error
            self.outcome.set_exception(own)


@dataclass(eq=False, slots=True)
class _Batch:
    orders: list[Order] = field(default_factory=list)
    size_bytes: int = 0
    full: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class Gathering:
    """Hands batches to `send`, which settles or fails every order of them."""

    def __init__(
        self,
        send: Callable[[StudyRef, list[Order]], Awaitable[None]],
        *,
        instances_max: int,
        bytes_max: int,
        requests_max: int,
        gather_s: float,
    ) -> None:
        self._send = send
        self._instances_max = instances_max
        self.bytes_max = bytes_max  #: May be lowered when a server finds requests too large.
        self._gather_s = gather_s
        self._slots = asyncio.Semaphore(requests_max)
        self._open: dict[StudyRef, _Batch] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def put(self, staged: StagedInstance) -> StoreOutcome:
        """Put the instance into a batch of its study and wait for what becomes of it."""
        assert staged.instance is not None, "only named instances are sent"
        order = Order(staged, asyncio.get_running_loop().create_future())
        batch = self._batch_for(staged.instance.study, staged.size_bytes)
        batch.orders.append(order)
        batch.size_bytes += staged.size_bytes
        if len(batch.orders) >= self._instances_max or batch.size_bytes >= self.bytes_max:
            self._seal(staged.instance.study, batch)
        try:
            return await order.outcome
        except asyncio.CancelledError:
            if all(each.outcome.done() for each in batch.orders):
                # Nobody waits any more: a request on its way is for nothing.
                self._seal(staged.instance.study, batch)
                assert batch.task is not None
                batch.task.cancel()
            raise

    async def close(self) -> None:
        """Stop every request; whoever still waits is told that the store is unavailable."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _batch_for(self, study: StudyRef, size_bytes: int) -> _Batch:
        batch = self._open.get(study)
        if batch is not None and batch.size_bytes + size_bytes > self.bytes_max:
            self._seal(study, batch)
            batch = None
        if batch is None:
            batch = self._open[study] = _Batch()
            batch.task = asyncio.create_task(self._run(study, batch))
            self._tasks.add(batch.task)
            batch.task.add_done_callback(partial(self._ended, study, batch))
        return batch

    def _seal(self, study: StudyRef, batch: _Batch) -> None:
        """Let nothing more into the batch."""
        batch.full.set()
        if self._open.get(study) is batch:
            del self._open[study]

    async def _run(self, study: StudyRef, batch: _Batch) -> None:
        try:
            await self._gather(batch)
            async with self._slots:
                self._seal(study, batch)
                waiting = [order for order in batch.orders if not order.outcome.done()]
                if waiting:
                    await self._send(study, waiting)
        except DestinationError as error:
            for order in batch.orders:
                order.fail(error)

    def _ended(self, study: StudyRef, batch: _Batch, task: asyncio.Task[None]) -> None:
        """Leave nobody waiting, however the task ended: also when it never began."""
        self._tasks.discard(task)
        self._seal(study, batch)
        bug = None if task.cancelled() else task.exception()
        for order in batch.orders:
            if bug is not None and not order.outcome.done():
                order.outcome.set_exception(bug)
            order.fail(DestinationUnavailable("store: given up"))

    async def _gather(self, batch: _Batch) -> None:
        try:
            async with asyncio.timeout(self._gather_s):
                await batch.full.wait()
        except TimeoutError:
            return
