"""The only place in cloudmig that retries a call of a destination."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import tenacity

from cloudmig.destinations.breaker import BreakerOpen
from cloudmig.destinations.wrapping import ObjectKeeper, WrappedDestination
from cloudmig.errors import DestinationUnavailable, ObjectMissing

__all__ = ["RetryPolicy", "RetryingDestination"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How long to insist. What is still failing then goes back to the catalog."""

    attempts_max: int = 5
    elapsed_max_s: float = 60.0  #: No attempt begins later than this.
    wait_first_s: float = 0.2
    wait_max_s: float = 10.0


def _may_pass(error: BaseException) -> bool:
    # While the breaker is open nothing is asked; waiting here would only hold memory.
    passing = isinstance(error, DestinationUnavailable)
    return passing and not isinstance(error, BreakerOpen | ObjectMissing)


class RetryingDestination(WrappedDestination):
    """Repeats a call that met `DestinationUnavailable`. Every call of the port may be repeated.

    Goes around the breaker, which counts single attempts. A body is held, not consumed, by what
    sends it, so an attempt never starts with an empty one.
    """

    def __init__(self, inner: ObjectKeeper, policy: RetryPolicy | None = None) -> None:
        super().__init__(inner)
        self._policy = policy or RetryPolicy()

    async def _guarded(self, call: Callable[[], Awaitable[T]], *, size_bytes: int = 0) -> T:  # noqa: ARG002
        try:
            return await call()
        except DestinationUnavailable as error:
            if not _may_pass(error) or self._policy.attempts_max == 1:
                raise
        # Only what failed once pays for the machinery of retries.
        return await self._again(call)

    async def _again(self, call: Callable[[], Awaitable[T]]) -> T:
        policy = self._policy
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(_may_pass),
            stop=tenacity.stop_after_attempt(policy.attempts_max - 1)
            | tenacity.stop_before_delay(policy.elapsed_max_s),
            wait=tenacity.wait_random_exponential(policy.wait_first_s, policy.wait_max_s),
            reraise=True,
        )
        await asyncio.sleep(random.uniform(0.0, policy.wait_first_s))  # noqa: S311 - jitter
        async for attempt in retrying:
            with attempt:
                return await call()
        raise AssertionError("unreachable")
