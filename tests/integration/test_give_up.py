"""`cloudmig give-up`: a home is gone for good, and the migration comes to its end without it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cloudmig.errors import ConfigError
from tests.integration.copy_world import CopyWorld, folders
from tests.integration.migration_world import a_study
from tests.integration.test_copy_cli import typed

STUDIES = tuple(a_study(number, series=(2, 1)) for number in range(1, 4))


def a_world(tmp_path: Path, *copy_to: str) -> CopyWorld:
    return CopyWorld(
        tmp_path, STUDIES, destinations=folders(tmp_path, "archive", "lost"),
        rules=[{"name": "everything", "copy_to": list(copy_to)}],
    )  # fmt: skip


def lose(world: CopyWorld, tmp_path: Path) -> None:
    """Take a home away, from the disk and from the configuration."""
    shutil.rmtree(tmp_path / "lost")
    world.destinations = folders(tmp_path, "archive")
    world.rules = [{"name": "everything", "copy_to": ["archive"]}]
    world.write_configuration()


async def test_what_is_left_is_verified_and_closed(tmp_path: Path) -> None:
    world = a_world(tmp_path, "archive", "lost")
    with world.serving():
        await world.migrate()
    asked = world.asked()
    lose(world, tmp_path)
    with pytest.raises(ConfigError) as caught:
        await world.verify()
    assert "cloudmig give-up lost" in caught.value.hint

    code, [dry], _ = typed(world.config, "give-up", "lost", "--dry-run")
    assert (code, dry["given_up"], dry["dry_run"]) == (0, 3, True)
    code, [told], said = typed(world.config, "give-up", "lost", "--note", "the contract has ended")

    assert code == 0, said
    assert told == {
        "destination": "lost", "dry_run": False, "copies": 3, "given_up": 3, "instead": {},
        "only_copies": 0, "under_way": 0, "objects_settled": 0,
    }  # fmt: skip
    closing = await world.explain_everything()
    assert closing.statement.instances.verified == len(world.truth())
    assert closing.given_up == {"lost": 3}
    words = "copies at lost that were given up for good, and that no study is judged by: 3"
    assert words in closing.report.read_text()
    code, [told], _ = typed(world.config, "close")
    assert (code, told["copies_given_up"]) == (0, {"lost": 3})
    assert world.asked() == asked, "the PACS is not asked for what lies elsewhere"
    assert world.held("archive") == world.truth()
    world.check_ledger()


async def test_a_home_that_was_the_only_one_is_replaced_from_the_source(tmp_path: Path) -> None:
    world = a_world(tmp_path, "lost")
    with world.serving():
        await world.migrate()
        await world.explain_everything()
        lose(world, tmp_path)

        code, [told], _ = typed(world.config, "give-up", "lost", "--note", "burnt down")
        assert (code, told["only_copies"], told["given_up"]) == (1, 3, 0)
        assert set(world.states().values()) == {"closed"}, "nothing is given up behind their back"
        command = ("give-up", "lost", "--note", "burnt down", "--instead", "archive")
        code, [told], _ = typed(world.config, *command)
        assert (code, told["instead"]) == (0, {"archive": 3})

        await world.run()
        await world.explain_everything()
    assert world.held("archive") == world.truth()
    world.check_ledger()


async def test_what_cannot_be_meant_is_refused_with_a_hint(tmp_path: Path) -> None:
    world = a_world(tmp_path, "archive", "lost")
    with world.serving():
        await world.migrate()
    note = ("--note", "gone")

    code, [told], _ = typed(world.config, "give-up", "lost", *note)
    assert (code, "is configured" in told["error"]["message"]) == (2, True)
    lose(world, tmp_path)
    for arguments, words in (
        (("lost",), "--note is wanted"),
        (("nowhere", *note), "has no copy at nowhere"),
        (("lost", *note, "--instead", "nowhere"), "there is no destination nowhere"),
    ):
        code, [told], _ = typed(world.config, "give-up", *arguments)
        assert (code, words in told["error"]["message"]) == (2, True), told
    assert world.copies("lost") == {"stored"}


async def test_a_study_that_waited_for_that_copy_alone_is_finished(tmp_path: Path) -> None:
    world = a_world(tmp_path, "archive", "lost")
    with world.serving():
        await world.migrate()
    for path in (tmp_path / "lost").rglob("*.dcm"):
        path.unlink()
    await world.verify()
    assert set(world.states().values()) == {"planned"}, "to be repaired"
    asked = world.asked()
    lose(world, tmp_path)

    code, [told], said = typed(world.config, "give-up", "lost", "--note", "the disk is gone")
    assert (code, told["given_up"]) == (0, 3), said
    with world.serving():
        await world.run()

    assert world.asked() == asked, "all that is left is there"
    assert set(world.states().values()) == {"verified"}
    world.check_ledger()
