"""The memory budget is fair, and exact whoever gives up at whichever moment."""

from __future__ import annotations

import asyncio
import random

import pytest

from cloudmig.staging import MemoryBudget

LONG_S = 30.0


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(5):
        await asyncio.sleep(0)


async def a_full_budget_and_who_waits() -> tuple[MemoryBudget, asyncio.Task[bool]]:
    budget = MemoryBudget(10)
    budget.try_take(10)
    waiting = asyncio.create_task(budget.take(5, wait_max_s=LONG_S))
    await settle()
    return budget, waiting


async def test_what_is_free_is_taken_at_once() -> None:
    budget = MemoryBudget(10)

    assert await budget.take(10, wait_max_s=LONG_S)
    assert not budget.try_take(1)
    budget.give(10)
    assert budget.try_take(10)


async def test_the_first_to_wait_is_the_first_to_get() -> None:
    """A small one does not slip past a large one, or the large one would wait for ever."""
    budget = MemoryBudget(10)
    budget.try_take(10)
    order: list[str] = []

    async def take(name: str, size_bytes: int) -> None:
        assert await budget.take(size_bytes, wait_max_s=LONG_S)
        order.append(name)

    tasks = [asyncio.create_task(take("large", 8))]
    await settle()
    tasks += [asyncio.create_task(take("small", 2))]
    await settle()
    budget.give(3)
    await settle()
    assert order == []
    assert not budget.try_take(1)

    budget.give(7)
    await asyncio.gather(*tasks)

    assert order == ["large", "small"]
    assert budget.bytes_used == 10


async def test_waiting_has_an_end() -> None:
    budget = MemoryBudget(10)
    budget.try_take(10)

    assert not await budget.take(1, wait_max_s=0.01)

    assert budget.bytes_used == 10
    budget.give(10)
    assert budget.try_take(10)


async def test_whoever_gives_up_lets_the_next_one_through() -> None:
    budget = MemoryBudget(10)
    budget.try_take(5)
    impatient = asyncio.create_task(budget.take(8, wait_max_s=0.01))
    await settle()
    patient = asyncio.create_task(budget.take(5, wait_max_s=LONG_S))

    assert not await impatient
    assert await patient
    assert budget.bytes_used == 10


async def test_more_than_there_is_is_refused_without_waiting() -> None:
    """It would block everybody behind it until its time is up."""
    budget = MemoryBudget(10)

    async with asyncio.timeout(1):
        assert not await budget.take(11, wait_max_s=LONG_S)


async def test_a_wait_that_is_cancelled_takes_nothing() -> None:
    budget, waiting = await a_full_budget_and_who_waits()

    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    budget.give(10)
    assert budget.bytes_used == 0


async def test_a_cancelled_wait_passes_over_room_that_comes_in_the_same_moment() -> None:
    """The room is given back between the cancellation and the task's next turn."""
    budget, waiting = await a_full_budget_and_who_waits()

    waiting.cancel()
    budget.give(10)
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert budget.bytes_used == 0


async def test_room_granted_before_the_cancellation_is_given_back() -> None:
    budget, waiting = await a_full_budget_and_who_waits()

    budget.give(10)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert budget.bytes_used == 0


async def test_giving_back_more_than_was_taken_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="more was given back"):
        MemoryBudget(10).give(1)


@pytest.mark.parametrize("seed", range(10))
async def test_the_count_is_exact_after_any_mixture_of_takers(seed: int) -> None:
    """Takers come, wait, give up and are cancelled in any order: never too much, nothing lost."""
    chance = random.Random(seed)
    budget = MemoryBudget(100)
    in_use = 0

    async def taker() -> None:
        nonlocal in_use
        size_bytes = chance.randint(1, 100)
        for _ in range(chance.randint(0, 5)):
            await asyncio.sleep(0)
        if not await budget.take(size_bytes, wait_max_s=chance.choice([0, 0.001, 0.01])):
            return
        in_use += size_bytes
        assert in_use <= 100
        try:
            for _ in range(chance.randint(0, 3)):
                await asyncio.sleep(0)
        finally:
            in_use -= size_bytes
            budget.give(size_bytes)

    tasks = [asyncio.create_task(taker()) for _ in range(200)]
    for task in chance.sample(tasks, 80):
        for _ in range(chance.randint(0, 3)):
            await asyncio.sleep(0)
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)

    assert not [each for each in ended if isinstance(each, Exception)]
    assert budget.bytes_used == in_use == 0
    assert budget.try_take(100)
