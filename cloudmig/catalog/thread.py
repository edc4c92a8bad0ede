"""The catalog for asyncio: calls run on one thread, waiting receipts share a commit."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from cloudmig.catalog.catalog import Catalog
from cloudmig.catalog.records import ReceiptRow
from cloudmig.model.transfer import TransferJob

__all__ = ["CatalogThread"]

P = ParamSpec("P")
R = TypeVar("R")

#: Calls that may wait at once; the next caller waits for room, which slows the transfers down.
_WAITING_MAX = 256
#: Receipts in one commit. Each costs microseconds, a commit costs a disk flush.
_TOGETHER_MAX = 5000


@dataclass(slots=True)
class _Call:
    """One call on its way to the thread, and the future of whoever waits for it."""

    run: Callable[[], Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]

    def succeed(self, result: object) -> None:
        self._resume(lambda: self.future.set_result(result))

    def fail(self, error: BaseException) -> None:
        self._resume(lambda: self.future.set_exception(error))

    def _resume(self, settle: Callable[[], None]) -> None:
        def on_loop() -> None:
            if not self.future.done():  # A cancelled caller does not wait any more.
                settle()

        with contextlib.suppress(RuntimeError):  # The loop is closed: nobody waits any more.
            self.loop.call_soon_threadsafe(on_loop)


@dataclass(slots=True)
class _Receipts(_Call):
    """A call to `record_receipts`, which may share its commit with others."""

    job: TransferJob
    rows: Sequence[ReceiptRow] = field(default_factory=tuple)


class CatalogThread:
    """Runs catalog calls in the order they come. A call that was begun is never undone:

    when its caller is cancelled it runs all the same, and only the answer is dropped.
    """

    def __init__(self, catalog: Catalog, *, waiting_max: int = _WAITING_MAX) -> None:
        self._catalog = catalog
        self._room = asyncio.Semaphore(waiting_max)
        self._waiting = 0
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="catalog", daemon=True)
        self._thread.start()
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def call(
        self, method: Callable[Concatenate[Catalog, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run `Catalog.method` on the thread: `await thread.call(Catalog.renew, job, 60.0)`."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        call = _Call(lambda: method(self._catalog, *args, **kwargs), loop, future)
        await self._submit(call)
        return future.result()

    async def record_receipts(self, job: TransferJob, rows: Sequence[ReceiptRow]) -> None:
        """Record receipts and return when they are on disk. Callers at once share one commit."""
        loop = asyncio.get_running_loop()
        run = lambda: self._catalog.record_receipts(job, rows)  # noqa: E731
        await self._submit(_Receipts(run, loop, loop.create_future(), job, rows))

    @property
    def waiting(self) -> int:
        """How many calls are on the thread or in front of it."""
        return self._waiting

    async def aclose(self) -> None:
        """Finish what was submitted, then stop. The catalog itself stays open."""
        if not self._closed:
            self._closed = True
            self._calls.put(None)
            await asyncio.get_running_loop().run_in_executor(None, self._thread.join)

    async def _submit(self, call: _Call) -> None:
        assert not self._closed, "the catalog thread was closed"
        async with self._room:
            self._waiting += 1
            try:
                self._calls.put(call)
                await call.future
            finally:
                self._waiting -= 1

    def _serve(self) -> None:
        waiting: deque[_Call | None] = deque()
        while True:
            call = waiting.popleft() if waiting else self._calls.get()
            if call is None:
                return
            if isinstance(call, _Receipts):
                self._commit_together(self._gather(call, waiting))
                continue
            try:
                result = call.run()
            except BaseException as error:  # noqa: BLE001 - it belongs to the caller, all of it
                call.fail(error)
            else:
                call.succeed(result)

    def _gather(self, first: _Receipts, waiting: deque[_Call | None]) -> list[_Receipts]:
        """Take every receipt that is waiting already; other calls keep their order.

        A receipt may overtake them: its caller waits for it before it does anything else.
        """
        with contextlib.suppress(queue.Empty):
            while True:
                waiting.append(self._calls.get_nowait())
        together, count = [first], len(first.rows)
        for call in [call for call in waiting if isinstance(call, _Receipts)]:
            if count + len(call.rows) > _TOGETHER_MAX:
                break
            waiting.remove(call)
            together.append(call)
            count += len(call.rows)
        return together

    def _commit_together(self, calls: Sequence[_Receipts]) -> None:
        try:
            lost = self._catalog.record_receipts_of_many([(one.job, one.rows) for one in calls])
        except BaseException as error:  # noqa: BLE001 - it belongs to the callers
            for call in calls:
                call.fail(error)
            return
        for call, error_of_one in zip(calls, lost, strict=True):
            if error_of_one is None:
                call.succeed(None)
            else:
                call.fail(error_of_one)
