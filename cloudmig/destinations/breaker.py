"""Stop asking a destination that is down, so that nobody waits for it.

closed    --n failures in a row-->  open        calls fail at once
open      --pause is over------->  half open   one call is the probe, the others fail at once
half open --probe answered------>  closed
half open --probe failed-------->  open        for another pause
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from cloudmig.destinations.wrapping import ObjectKeeper, WrappedDestination
from cloudmig.errors import DestinationError, DestinationUnavailable, ObjectMissing

__all__ = ["BreakerDestination", "BreakerOpen", "BreakerPolicy"]

T = TypeVar("T")


class BreakerOpen(DestinationUnavailable):
    """The destination was not asked: it has failed too often just now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerPolicy:
    """When to stop asking, and how long to leave the destination alone."""

    failures_max: int = 10  #: In a row, over all calls.
    pause_s: float = 30.0


class BreakerDestination(WrappedDestination):
    """Fails fast while its destination is down. A refusal is an answer, not a failure."""

    def __init__(
        self,
        inner: ObjectKeeper,
        policy: BreakerPolicy | None = None,
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(inner)
        self._policy = policy or BreakerPolicy()
        self._now = now
        self._failures = 0
        self._last_cause: BaseException | None = None
        self.last_failure = ("", "")  #: What was said, and the hint.
        self._probe_at: float | None = None  #: None while closed.
        self._probing = False

    @property
    def is_open(self) -> bool:
        """True from the last straw until a probe was answered."""
        return self._probe_at is not None

    @property
    def seconds_until_probe(self) -> float:
        """Return how long calls will fail at once; 0 when one would be let through."""
        return 0.0 if self._probe_at is None else max(0.0, self._probe_at - self._now())

    async def _guarded(self, call: Callable[[], Awaitable[T]], *, size_bytes: int = 0) -> T:  # noqa: ARG002
        if not self.is_open:
            return await self._watched(call)
        if self._probing or self.seconds_until_probe > 0:
            raise BreakerOpen(
                f"{self.name} failed {self._failures} times in a row and is left alone",
                hint="it is probed again by itself; see its last error",
            )
        self._probing = True
        try:
            return await self._watched(call)
        finally:
            self._probing = False

    async def _watched(self, call: Callable[[], Awaitable[T]]) -> T:
        try:
            result = await call()
        except ObjectMissing as error:
            error.destination = self.name
            self._close()
            raise
        except DestinationUnavailable as error:
            self.last_failure = (str(error), error.hint)
            error.destination = self.name
            # Many stores may share one request, and then one cause: that is one failure.
            if error.__cause__ is None or error.__cause__ is not self._last_cause:
                self._failures += 1
            self._last_cause = error.__cause__
            if self._failures >= self._policy.failures_max:
                self._probe_at = self._now() + self._policy.pause_s
            raise
        except DestinationError as error:
            error.destination = self.name
            self._close()
            raise
        self._close()
        return result

    def _close(self) -> None:
        self._failures, self._probe_at, self._last_cause = 0, None, None
