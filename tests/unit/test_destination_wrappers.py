"""What retrying, breaking and throttling add to the promises of a destination."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from cloudmig.destinations.breaker import BreakerDestination, BreakerOpen, BreakerPolicy
from cloudmig.destinations.opening import StoreSettings, open_object_store, protect
from cloudmig.destinations.retrying import RetryingDestination, RetryPolicy
from cloudmig.destinations.throttled import ThrottledDestination, ThrottleLimits
from cloudmig.destinations.wrapping import ObjectKeeper, WrappedDestination
from cloudmig.errors import DestinationRefused, DestinationUnavailable, SpoolFull
from cloudmig.model.instance import Location, Receipt
from tests.contract.destination_contract import ARCHIVE, an_instance, staged

SOMEWHERE = Location("v1/main/somewhere")
QUICK = RetryPolicy(attempts_max=4, elapsed_max_s=5, wait_first_s=0.001, wait_max_s=0.002)


class ScriptedKeeper(WrappedDestination):
    """Raises what its script says, one line per call, then answers."""

    def __init__(self, script: list[Exception | None]) -> None:
        self.script = script
        self.calls = 0
        self.at_once = self.at_once_max = 0
        self.wait = asyncio.Event()
        self.wait.set()

    @property
    def name(self) -> str:
        return "scripted"

    async def find(self, location: Location) -> Receipt | None:
        self.calls += 1
        self.at_once += 1
        self.at_once_max = max(self.at_once, self.at_once_max)
        try:
            await asyncio.sleep(0)  # Others may come in here.
            await self.wait.wait()
            error = self.script.pop(0) if self.script else None
            if error is not None:
                raise error
        finally:
            self.at_once -= 1
        return None

    async def read(self, location: Location) -> AsyncIterator[bytes]:  # type: ignore[override]
        await self.find(location)
        yield b"first"
        await self.find(location)
        yield b"second"


def unavailable(times: int) -> list[Exception | None]:
    return [DestinationUnavailable("busy") for _ in range(times)]


async def test_what_may_pass_is_retried() -> None:
    keeper = ScriptedKeeper(unavailable(3))

    assert await RetryingDestination(keeper, QUICK).find(SOMEWHERE) is None

    assert keeper.calls == 4


async def test_attempts_are_bounded() -> None:
    keeper = ScriptedKeeper(unavailable(99))

    with pytest.raises(DestinationUnavailable, match="busy"):
        await RetryingDestination(keeper, QUICK).find(SOMEWHERE)

    assert keeper.calls == QUICK.attempts_max


async def test_elapsed_time_is_bounded() -> None:
    policy = RetryPolicy(
        attempts_max=10_000, elapsed_max_s=0.05, wait_first_s=0.01, wait_max_s=0.01
    )
    keeper = ScriptedKeeper(unavailable(10_000))

    async with asyncio.timeout(2):
        with pytest.raises(DestinationUnavailable):
            await RetryingDestination(keeper, policy).find(SOMEWHERE)


@pytest.mark.parametrize("error", [DestinationRefused("no"), SpoolFull("damaged"), BreakerOpen("")])
async def test_what_another_attempt_cannot_mend_is_not_retried(error: Exception) -> None:
    keeper = ScriptedKeeper([error])

    with pytest.raises(type(error)):
        await RetryingDestination(keeper, QUICK).find(SOMEWHERE)

    assert keeper.calls == 1


async def test_a_download_is_retried_until_its_first_piece_and_never_after() -> None:
    early = ScriptedKeeper(unavailable(2))
    pieces = [piece async for piece in RetryingDestination(early, QUICK).read(SOMEWHERE)]
    assert pieces == [b"first", b"second"]

    late = ScriptedKeeper([None, DestinationUnavailable("cut")])
    stream = RetryingDestination(late, QUICK).read(SOMEWHERE)
    assert await anext(stream) == b"first"
    with pytest.raises(DestinationUnavailable, match="cut"):
        await anext(stream)
    assert late.calls == 2


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def fail(destination: ObjectKeeper, times: int) -> None:
    for _ in range(times):
        with pytest.raises(DestinationUnavailable):
            await destination.find(SOMEWHERE)


async def test_the_breaker_opens_after_failures_in_a_row_and_then_asks_nobody() -> None:
    clock, keeper = Clock(), ScriptedKeeper([*unavailable(2), None, *unavailable(3)])
    breaker = BreakerDestination(keeper, BreakerPolicy(failures_max=3, pause_s=30), now=clock)

    await fail(breaker, 2)
    await breaker.find(SOMEWHERE)
    await fail(breaker, 2)
    assert not breaker.is_open, "two and two are not three in a row"
    await fail(breaker, 1)
    assert breaker.is_open
    calls = keeper.calls
    with pytest.raises(BreakerOpen, match="left alone"):
        await breaker.find(SOMEWHERE)

    assert keeper.calls == calls
    assert breaker.seconds_until_probe == 30


async def test_one_probe_goes_through_after_the_pause_and_closes_the_breaker() -> None:
    clock, keeper = Clock(), ScriptedKeeper(unavailable(1))
    breaker = BreakerDestination(keeper, BreakerPolicy(failures_max=1, pause_s=30), now=clock)
    await fail(breaker, 1)
    clock.now += 30
    keeper.wait.clear()

    probe = asyncio.create_task(breaker.find(SOMEWHERE))
    await asyncio.sleep(0)
    with pytest.raises(BreakerOpen):
        await breaker.find(SOMEWHERE)
    keeper.wait.set()
    await probe

    assert not breaker.is_open
    assert keeper.calls == 2


async def test_a_failed_probe_opens_the_breaker_for_another_pause() -> None:
    clock, keeper = Clock(), ScriptedKeeper(unavailable(2))
    breaker = BreakerDestination(keeper, BreakerPolicy(failures_max=1, pause_s=30), now=clock)
    await fail(breaker, 1)
    clock.now += 31

    await fail(breaker, 1)

    assert breaker.is_open
    assert breaker.seconds_until_probe == 30


async def test_a_cancelled_probe_leaves_room_for_the_next() -> None:
    clock, keeper = Clock(), ScriptedKeeper(unavailable(1))
    breaker = BreakerDestination(keeper, BreakerPolicy(failures_max=1, pause_s=30), now=clock)
    await fail(breaker, 1)
    clock.now += 30
    keeper.wait.clear()
    probe = asyncio.create_task(breaker.find(SOMEWHERE))
    await asyncio.sleep(0)
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)
    keeper.wait.set()

    await breaker.find(SOMEWHERE)

    assert not breaker.is_open


async def test_a_refusal_is_no_failure_of_the_destination() -> None:
    """It answered: what failed before it is not in a row with what fails after it."""
    keeper = ScriptedKeeper([*unavailable(1), DestinationRefused("no"), *unavailable(1)])
    breaker = BreakerDestination(keeper, BreakerPolicy(failures_max=2))

    await fail(breaker, 1)
    with pytest.raises(DestinationRefused):
        await breaker.find(SOMEWHERE)
    await fail(breaker, 1)

    assert not breaker.is_open


async def test_a_protected_destination_stops_retrying_when_its_breaker_opens() -> None:
    keeper = ScriptedKeeper(unavailable(99))
    protected = protect(
        keeper,
        retry=RetryPolicy(attempts_max=50, wait_first_s=0.001, wait_max_s=0.001),
        breaker=BreakerPolicy(failures_max=5, pause_s=60),
    )

    with pytest.raises(BreakerOpen):
        await protected.destination.find(SOMEWHERE)

    assert keeper.calls == 5
    assert protected.breaker.is_open


async def test_only_so_many_calls_go_on_at_once() -> None:
    keeper = ScriptedKeeper([])
    throttled = ThrottledDestination(keeper, ThrottleLimits(calls_max=3))

    await asyncio.gather(*(throttled.find(SOMEWHERE) for _ in range(20)))

    assert keeper.calls == 20
    assert keeper.at_once_max == 3


async def test_bytes_are_paced() -> None:
    inner = open_object_store("memory", StoreSettings(url="memory://paced"), archive=ARCHIVE)
    throttled = ThrottledDestination(inner, ThrottleLimits(bytes_per_s_max=1_000_000))
    loop = asyncio.get_running_loop()
    started = loop.time()

    items = [staged(an_instance(), bytes(50_000)) for _ in range(4)]
    await asyncio.gather(*(throttled.store(item) for item in items))

    assert loop.time() - started >= 0.15, "the fourth waits for the three before it"


async def test_stores_that_shared_one_request_fail_once_for_the_breaker() -> None:
    """A request of a hundred instances fails a hundred stores: that is no store that is down."""

    def of_one_request(times: int) -> list[Exception | None]:
        cause = DestinationUnavailable("reset")
        errors: list[Exception | None] = []
        for _ in range(times):
            error = DestinationUnavailable("reset")
            error.__cause__ = cause
            errors.append(error)
        return errors

    keeper = ScriptedKeeper([*of_one_request(100), *of_one_request(100), *of_one_request(1)])
    breaker = BreakerDestination(keeper, BreakerPolicy(failures_max=3, pause_s=30), now=Clock())

    await fail(breaker, 200)
    assert not breaker.is_open
    await fail(breaker, 1)
    assert breaker.is_open
