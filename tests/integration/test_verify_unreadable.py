"""An object that can never be read back is named; every other copy gets its verdict."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cloudmig.demo.studies import Study
from cloudmig.destinations.breaker import BreakerPolicy
from cloudmig.destinations.object_store import ObjectStoreDestination
from cloudmig.destinations.retrying import RetryPolicy
from cloudmig.errors import DestinationRefused, DestinationUnavailable
from cloudmig.model.instance import Location
from tests.contract.stow_server import ScriptedStow
from tests.integration.migration_world import World, a_study, let_breakers
from tests.integration.test_verify_elements import two_homes

STUDIES = [a_study(number, series=(6, 6)) for number in range(1, 7)]
FIRST = STUDIES[0]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breakers and retries count as they always do, and wait for less."""

    def retries(*, attempts_max: int) -> RetryPolicy:
        return RetryPolicy(attempts_max=attempts_max, wait_first_s=0.01, wait_max_s=0.01)

    let_breakers(monkeypatch, BreakerPolicy(pause_s=0.3))
    monkeypatch.setattr("cloudmig.bootstrap.destinations.RetryPolicy", retries)


def spoil(path: Path) -> None:
    """Let nobody open a file, whoever asks: a link that leads to itself."""
    path.unlink()
    path.symlink_to(path.name)


def files_of(folder: Path, study: Study, count: int) -> list[Path]:
    names = {each.sop_instance_uid for each in study.instances()[:count]}
    return [path for path in folder.rglob("*.dcm") if path.stem in names]


async def said(*arguments: str) -> tuple[int | None, dict[str, Any]]:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cloudmig", *arguments, stdout=asyncio.subprocess.PIPE
    )
    told, _ = await child.communicate()
    return child.returncode, json.loads(told)


@pytest.mark.parametrize("attempts_max", [1, 5, 12])
@pytest.mark.parametrize("spoiled", [1, 12], ids=["one object", "a whole study"])
async def test_what_cannot_be_read_keeps_no_other_copy_from_its_verdict(
    spoiled: int, attempts_max: int, tmp_path: Path
) -> None:
    home = {"store": {"url": f"file://{tmp_path / 'store'}", "attempts_max": attempts_max}}
    world = World(tmp_path, STUDIES, destinations=home)
    with world.serving():
        await world.migrate()
        paths = files_of(tmp_path / "store", FIRST, spoiled)
        assert len(paths) == spoiled
        for path in paths:
            spoil(path)

        summary = await world.verify()

        assert {each.sop_instance_uid for each in summary.findings} == {path.stem for path in paths}
        assert {each.finding for each in summary.findings} == {"unreadable"}
        assert (summary.unreadable, summary.failed) == (1, 0)
        assert summary.agreed == len(STUDIES) - 1
        closing = await world.close()
        assert [each.study.study_instance_uid for each in closing.unexplained] == [
            FIRST.study_instance_uid
        ]
        for path in paths:
            path.unlink()
        summary = await world.verify()
        assert {each.finding for each in summary.findings} == {"missing"}
        await world.run()
        await world.explain_everything()
    assert world.held() == world.truth()


async def test_many_damaged_copies_keep_no_other_from_its_verdict(tmp_path: Path) -> None:
    world = World(tmp_path, STUDIES)
    with world.serving():
        await world.migrate()
        for study in STUDIES[:4]:
            for path in files_of(tmp_path / "store", study, 6):
                spoil(path)

        summary = await world.verify()

    assert (summary.unreadable, summary.agreed, summary.failed) == (4, 2, 0)


async def test_a_verdict_is_taken_back_where_an_object_cannot_be_read_any_more(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, STUDIES[:2])
    with world.serving():
        await world.migrate()
        await world.explain_everything()
        [path] = files_of(tmp_path / "store", FIRST, 1)
        whole = path.read_bytes()
        spoil(path)

        code, document = await said("verify", "--again", "--json", "--config", str(world.config))

        assert (code, document["unreadable"], len(document["findings"])) == (1, 1, 1)
        assert "`cloudmig run` puts it there anew" in document["hint"]
        closing = await world.close()
        assert closing.refused
        [event] = world.ledger("copy_unreadable")
        assert event.detail["named"] == [[path.stem, "unreadable"]]
        name = document["findings"][0]["instance"]
        code, told = await said(
            "status", "--resolve", name, "--json", "--config", str(world.config)
        )
        assert (code, told["sop_instance_uid"]) == (0, path.stem)

        path.unlink()
        path.write_bytes(whole)  # The disk is mended.
        await world.explain_everything()


async def test_one_instance_that_a_dicomweb_store_cannot_give_is_no_store_that_is_down(
    tmp_path: Path,
) -> None:
    async with ScriptedStow().running() as server:
        world = World(tmp_path, STUDIES[:3], destinations=two_homes(tmp_path, server))
        with world.serving():
            await world.migrate()
            server.unreadable = {FIRST.instances()[0].sop_instance_uid}

            summary = await world.verify()

    assert [(each.destination, each.finding) for each in summary.findings] == [
        ("web", "unreadable")
    ]
    assert (summary.unreadable, summary.agreed) == (1, 5)


async def test_one_object_that_is_refused_is_named_like_one_that_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a policy does, or the mode of one file, which does not bind root."""
    world = World(tmp_path, STUDIES[:2])
    refused, read = FIRST.instances()[0].sop_instance_uid, ObjectStoreDestination.read

    def refuses(store: ObjectStoreDestination, location: Location) -> AsyncIterator[bytes]:
        if refused in location.key:
            raise DestinationRefused("get: not allowed")
        return read(store, location)

    with world.serving():
        await world.migrate()
        with monkeypatch.context() as patch:
            patch.setattr(ObjectStoreDestination, "read", refuses)
            summary = await world.verify()

    assert [each.sop_instance_uid for each in summary.findings] == [refused]
    assert (summary.unreadable, summary.agreed) == (1, 1)


async def test_a_store_that_is_down_is_no_unreadable_object(tmp_path: Path) -> None:
    home = {"store": {"url": f"file://{tmp_path / 'store'}", "attempts_max": 2}}
    world = World(tmp_path, STUDIES[:1], destinations=home)
    with world.serving():
        await world.migrate()
        for path in (tmp_path / "store").rglob("*.*"):
            if path.is_file():
                spoil(path)

        with pytest.raises(DestinationUnavailable):
            await world.verify()
