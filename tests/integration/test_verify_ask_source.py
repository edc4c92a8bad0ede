"""`verify --ask-source`: the source is the witness of a DICOMweb copy that stands alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cloudmig.agent.asking import verify_with_sources
from cloudmig.catalog import run_lock
from cloudmig.cli.verify import document
from cloudmig.demo.pacs import Script
from cloudmig.errors import CatalogError
from cloudmig.pipeline.verification import VerifySummary
from cloudmig.telemetry import Pseudonyms
from tests.contract.stow_server import ScriptedStow
from tests.integration.migration_world import World
from tests.integration.test_verify_elements import (
    ALTERED,
    STUDIES,
    _implicit,
    two_homes,
    verdicts,
    written,
)


def alone(folder: Path, server: ScriptedStow, **more: Any) -> World:  # noqa: ANN401 - a World's
    """Return a world whose only copies lie in a DICOMweb store."""
    rule = {"name": "everything", "copy_to": ["web"]}
    return World(folder, STUDIES, destinations=two_homes(folder, server), rules=[rule], **more)


async def verify_and_ask(world: World) -> VerifySummary:
    async with world.opened() as parts:
        return await verify_with_sources(parts)


def rewrite(server: ScriptedStow) -> None:
    server.held = {key: written(_implicit)(file) for key, file in server.held.items()}


@pytest.mark.parametrize("retrieve", ["c-get", "c-move"])
async def test_the_source_proves_another_writing_and_is_asked_once(
    tmp_path: Path, retrieve: str
) -> None:
    async with ScriptedStow().running() as server:
        world = alone(tmp_path, server, retrieve=retrieve)
        with world.serving():
            await world.migrate()
            [untouched, *_] = server.held
            kept = server.held[untouched]
            rewrite(server)
            server.held[untouched] = kept

            summary = await verify_and_ask(world)

            sent = dict(world.pacs.counters.sent)
            closing = await world.explain_everything()
    assert (summary.agreed, summary.failed, summary.asked) == (2, 0, 3)
    assert sent == {uid: 1 if uid == untouched[1] else 2 for _, uid in server.held}
    assert verdicts(world) == {("web", "READ_BACK_ELEMENTS")}
    told = [event.detail for event in world.ledger("copy_verified")]
    assert sorted(each["compared_with_source"] for each in told) == [1, 2], "the verdict says so"
    assert closing.statement.verdicts == {"READ_BACK_ELEMENTS": 2}
    assert world.spooled() == []


async def test_nobody_is_asked_where_every_byte_is_there(tmp_path: Path) -> None:
    async with ScriptedStow().running() as server:
        world = alone(tmp_path, server)
        with world.serving():
            await world.migrate()
        summary = await verify_and_ask(world)  # The PACS is off, and nobody notices.
    assert (summary.agreed, summary.asked, summary.unanswered) == (2, 0, 0)


async def test_what_the_store_altered_is_named_with_its_tags(tmp_path: Path) -> None:
    spoil, tags = ALTERED["a coerced name"]
    async with ScriptedStow().running() as server:
        world = alone(tmp_path, server)
        with world.serving():
            await world.migrate()
            rewrite(server)
            first, *_ = server.held
            server.held[first] = spoil(server.held[first])
            summary = await verify_and_ask(world)
    assert [(each.sop_instance_uid, each.finding) for each in summary.findings] == [
        (first[1], "altered")
    ]
    assert (summary.agreed, summary.without_reference) == (1, 0)
    [event] = world.ledger("copy_failed")
    assert event.detail["differences"] == [[first[1], *tags]]


async def test_a_silent_source_decides_nothing_and_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ScriptedStow().running() as server:
        world = alone(tmp_path, server)
        with world.serving():
            await world.migrate()
        rewrite(server)
        async with world.opened() as parts:
            calls, ping = [], parts.sources["main"].ping

            async def counted() -> None:
                calls.append("ping")
                await ping()

            monkeypatch.setattr(parts.sources["main"], "ping", counted)
            summary = await verify_with_sources(parts)
    assert (summary.agreed, summary.failed, summary.unanswered) == (0, 0, 2)
    assert (summary.asked, calls) == (0, ["ping"])
    assert set(world.states().values()) == {"stored"}, "it can be asked another day"
    assert "doctor" in str(document(summary, Pseudonyms(bytes(32)))["hint"])


async def test_a_source_that_sends_other_bytes_now_is_no_witness(tmp_path: Path) -> None:
    """Its elements are equal; that what is held equals what was taken in, nobody can tell."""
    async with ScriptedStow().running() as server:
        world = alone(tmp_path, server)
        with world.serving():
            await world.migrate()
            rewrite(server)
            world.pacs.script = Script(reencoded=frozenset(uid for _, uid in server.held))
            summary = await verify_and_ask(world)
    assert {each.finding for each in summary.findings} == {"altered"}
    assert (summary.agreed, summary.failed, summary.without_reference) == (0, 2, 4)


async def test_without_it_the_verdict_names_the_option_and_the_pacs_is_left_alone(
    tmp_path: Path,
) -> None:
    async with ScriptedStow().running() as server:
        world = alone(tmp_path, server)
        with world.serving():
            await world.migrate()
            rewrite(server)
            associations = world.pacs.counters.associations_accepted
            summary = await world.verify()
            assert world.pacs.counters.associations_accepted == associations
    assert (summary.failed, summary.without_reference, summary.asked) == (2, 4, 0)
    assert "--ask-source" in str(document(summary, Pseudonyms(bytes(32)))["hint"])


async def test_it_is_not_done_beside_a_run(tmp_path: Path) -> None:
    """Both would call themselves by the same AE title, and listen on one port."""
    world = World(tmp_path, STUDIES)
    with world.serving():
        async with world.opened() as parts:
            lock = parts.config.agent.catalog_path
            assert lock is not None
            with run_lock(lock), pytest.raises(CatalogError, match="another cloudmig run"):
                await verify_with_sources(parts)


async def test_what_the_source_holds_cut_off_is_a_witness_of_what_was_stored(
    tmp_path: Path,
) -> None:
    """It has the very data set that the manifest names, so the verdict is not for want of one."""
    torn = STUDIES[0].instances()[0].sop_instance_uid
    async with ScriptedStow().running() as server:
        world = alone(tmp_path, server, script=Script(torn=frozenset({torn})))
        with world.serving():
            await world.migrate()
            rewrite(server)
            summary = await verify_and_ask(world)
    assert [each.sop_instance_uid for each in summary.findings] == [torn]
    assert (summary.asked, summary.without_reference) == (4, 0)
