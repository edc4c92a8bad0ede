"""One pull, two homes: a folder and a DICOMweb store, both verified, both equations closed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cloudmig.agent.service import run_agent
from cloudmig.demo.pacs import Script
from cloudmig.destinations.breaker import BreakerPolicy
from tests.contract.stow_server import Answer, Reset, ScriptedStow
from tests.integration.migration_world import World, a_study, free_port, let_breakers
from tests.peers.part10 import dataset_sha256

STUDIES = [a_study(number, series=(3, 2)) for number in range(1, 5)]


def two_homes(folder: Path, server: ScriptedStow) -> Mapping[str, Mapping[str, Any]]:
    return {
        "store": {"url": f"file://{folder / 'store'}"},
        "web": {
            "url": server.url, "evidence": "store", "dicomweb": {"profile": "orthanc"},
            "attempts_max": 4,
        },
    }  # fmt: skip


def held_in(server: ScriptedStow) -> dict[str, set[str]]:
    return {uid: {dataset_sha256(part)} for (_, uid), part in server.held.items()}


async def test_both_copies_hold_what_the_pacs_holds_and_are_verified(tmp_path: Path) -> None:
    async with ScriptedStow().running() as server:
        world = World(tmp_path, STUDIES, destinations=two_homes(tmp_path, server))
        with world.serving():
            await world.migrate()

            assert held_in(server) == world.truth() == world.held()
            assert world.quarantined() == {}
            closing = await world.explain_everything()
        assert closing.statement.instances.verified == 20
        manifests = list((tmp_path / "store" / "evidence" / "web").rglob("*.json.gz"))
        assert len(manifests) == len(STUDIES)


async def test_a_store_in_trouble_catches_up_by_itself(tmp_path: Path) -> None:
    async with ScriptedStow().running() as server:
        world = World(tmp_path, STUDIES, destinations=two_homes(tmp_path, server))
        server.script = [
            Answer(503, keeps=0), Answer(202, keeps=1), Answer(200, keeps=2, body=b""),
            Answer(429, keeps=0), Reset(after_bytes=500), Answer(500, keeps=1),
            Answer(400, keeps=1),
        ]  # fmt: skip
        with world.serving():
            await world.migrate()

            assert held_in(server) == world.truth() == world.held()
            assert world.quarantined() == {}
            await world.explain_everything()


async def test_old_bytes_in_the_store_are_a_conflict_and_stay(tmp_path: Path) -> None:
    study = STUDIES[0]
    first = study.instances()[0]
    old = first.part10()[:-2] + b"\x55\x55"
    async with ScriptedStow().running() as server:
        server.held[study.study_instance_uid, first.sop_instance_uid] = old
        world = World(tmp_path, STUDIES, destinations=two_homes(tmp_path, server))
        with world.serving():
            await world.migrate()

            assert world.quarantined() == {study.study_instance_uid: {"conflict"}}
            assert world.held() == world.truth(), "the other copy is whole"
        assert server.held[study.study_instance_uid, first.sop_instance_uid] == old
        assert not any("~" in uid for _, uid in server.held)


async def test_what_the_store_loses_or_spoils_is_found_by_verification(tmp_path: Path) -> None:
    async with ScriptedStow().running() as server:
        world = World(tmp_path, STUDIES, destinations=two_homes(tmp_path, server))
        with world.serving():
            await world.migrate()
            lost, spoilt, *_ = list(server.held)
            del server.held[lost]
            server.held[spoilt] = server.held[spoilt][:-2] + b"\x55\x55"

            found = await world.verify()

        assert {(each.sop_instance_uid, each.finding) for each in found.findings} == {
            (lost[1], "missing"), (spoilt[1], "altered"),
        }  # fmt: skip
        assert {each.destination for each in found.findings} == {"web"}


async def test_what_is_lost_is_stored_again_and_what_is_spoilt_needs_a_person(
    tmp_path: Path,
) -> None:
    """DICOMweb has no request that replaces."""
    first, second = STUDIES[0].instances()[0], STUDIES[1].instances()[0]
    async with ScriptedStow().running() as server:
        world = World(tmp_path, STUDIES, destinations=two_homes(tmp_path, server))
        with world.serving():
            await world.migrate()
            del server.held[first.study_instance_uid, first.sop_instance_uid]
            spoilt = second.study_instance_uid, second.sop_instance_uid
            server.held[spoilt] = server.held[spoilt][:-2] + b"\x55\x55"
            await world.verify()

            await world.run()

            assert held_in(server)[first.sop_instance_uid] == world.truth()[first.sop_instance_uid]
            assert set(world.quarantined()) == {second.study_instance_uid}
            await world.explain_everything()


async def test_what_may_not_become_a_member_goes_to_the_bucket_only(tmp_path: Path) -> None:
    """The command names another instance than the data set: nobody may serve that to a viewer."""
    misnamed = STUDIES[0].instances()[1].sop_instance_uid
    async with ScriptedStow().running() as server:
        homes = two_homes(tmp_path, server)
        script = Script(misnamed=frozenset({misnamed}))
        world = World(tmp_path, STUDIES, script, destinations=homes)
        with world.serving():
            await world.migrate()

            assert set(world.quarantined()) == {STUDIES[0].study_instance_uid}
            assert "quarantine" in world.held()
        assert misnamed not in held_in(server)
        assert len(server.held) == 19


async def test_a_store_that_is_down_holds_nobody_back_and_catches_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_breakers(monkeypatch, BreakerPolicy(failures_max=3, pause_s=0.3))
    server = ScriptedStow(port=free_port())
    server.url = f"http://127.0.0.1:{server.port}/dicom-web"
    world = World(tmp_path, STUDIES, destinations=two_homes(tmp_path, server))
    with world.serving():
        await world.inventory()
        await world.plan()
        async with world.opened() as parts:
            running = asyncio.create_task(run_agent(parts, stop=asyncio.Event()))
            async with asyncio.timeout(20):
                while world.held() != world.truth() or not world.ledger("copy_owed"):
                    await asyncio.sleep(0.05)
            assert not running.done(), "the other copy is still owed"
            async with server.running():
                summary = await asyncio.wait_for(running, 30)
        assert not summary.halted
        assert held_in(server) == world.truth()
        async with server.running():
            await world.explain_everything()
    assert world.quarantined() == {}
    assert len(world.ledger("copy_owed")) >= 1


@pytest.mark.parametrize("refused", [1, 5])
async def test_what_a_store_refuses_of_a_study_without_a_list_is_missing_there(
    refused: int, tmp_path: Path
) -> None:
    """Also where a person has let it pass in the hope that the store takes it by now."""
    study = STUDIES[0]
    uids = [each.sop_instance_uid for each in study.instances()]
    async with ScriptedStow(refuses=dict.fromkeys(uids[:refused], (409, 49152))).running() as web:
        world = World(
            tmp_path, [study], Script(image_find=False), destinations=two_homes(tmp_path, web),
            rules=[{"name": "to the web", "copy_to": ["web"]}],
        )  # fmt: skip
        with world.serving():
            await world.migrate()
            with world.catalog() as catalog:
                [item, *_] = catalog.quarantine_items()
                catalog.release("main", item.study, at=item.at, note="?")  # type: ignore[arg-type]
            await world.run()
            closing = await world.explain_everything()

    assert world.quarantined() == {study.study_instance_uid: {"refused_by_destination"}}
    assert closing.statement.instances.quarantined == refused
