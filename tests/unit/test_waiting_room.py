"""Who goes first when connections without an association are too many, and who never does."""

from __future__ import annotations

import asyncio

from cloudmig.dimse.waiting_room import Standing, WaitingRoom

AT_ONCE_S = 0.0
LATER_S = 60.0


class Door:
    """A room and the names of those who were cut, in order."""

    def __init__(self, guests_max: int, fair_chance_s: float) -> None:
        self.room = WaitingRoom(guests_max, fair_chance_s)
        self.cut: list[str] = []

    def enter(self, standing: Standing, name: str) -> None:
        self.room.enter(standing, name, lambda: self.cut.append(name))


async def test_whose_association_is_over_goes_first_and_who_showed_a_certificate_last() -> None:
    door = Door(3, AT_ONCE_S)
    door.enter(Standing.SILENT, "certified")
    door.enter(Standing.HANDSHAKE, "anybody")
    door.enter(Standing.OVER, "done")

    for name in ("first", "second", "third"):
        await door.room.make_room()
        door.enter(Standing.SILENT, name)

    assert door.cut == ["done", "anybody", "certified"]


async def test_a_new_standing_is_a_new_chance() -> None:
    door = Door(2, AT_ONCE_S)
    door.enter(Standing.SILENT, "one")
    door.enter(Standing.SILENT, "two")
    door.enter(Standing.SILENT, "one")

    await door.room.make_room()

    assert door.cut == ["two"]
    assert len(door.room) == 1


async def test_nobody_goes_before_its_chance_and_the_next_waits() -> None:
    door = Door(1, LATER_S)
    door.enter(Standing.SILENT, "young")
    waiting = asyncio.create_task(door.room.make_room())
    await asyncio.sleep(0)
    assert not waiting.done()

    door.room.leave("young")
    async with asyncio.timeout(5):
        await waiting

    assert door.cut == []


async def test_the_next_waits_no_longer_than_the_chance_of_the_oldest() -> None:
    door = Door(2, 0.02)
    door.enter(Standing.HANDSHAKE, "old")
    door.enter(Standing.HANDSHAKE, "young")

    async with asyncio.timeout(5):
        await door.room.make_room()

    assert door.cut == ["old"]


async def test_clearing_cuts_everybody_once() -> None:
    door = Door(9, LATER_S)
    for standing in Standing:
        door.enter(standing, standing.value)

    door.room.clear()
    door.room.clear()

    assert door.cut == ["over", "handshake", "silent"]
    assert len(door.room) == 0
