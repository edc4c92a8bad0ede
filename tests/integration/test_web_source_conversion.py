"""A DICOMweb archive that converts what it is asked for as it is: noticed by its own words."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from cloudmig.catalog import Catalog
from tests.contract.web_archive import WebScript
from tests.integration.migration_world import a_study
from tests.integration.web_source_world import WebWorld

STUDIES = [a_study(number, series=(3, 2)) for number in range(1, 3)]
UIDS = [each.sop_instance_uid for each in STUDIES[0].instances()]


@pytest.mark.parametrize("words", [
    {"tells_syntaxes": True}, {"labels_parts": True}, {"tells_syntaxes": True, "xml_only": True},
], ids=["its list", "its label", "its list in XML"])  # fmt: skip
async def test_one_that_converts_against_its_own_word_is_not_taken_until_a_person_lets_it_pass(
    words: dict[str, bool], tmp_path: Path
) -> None:
    script = WebScript(converts=frozenset(UIDS[1:2]), **words)
    async with WebWorld.of(tmp_path, STUDIES, script) as world:
        await world.migrate()

        study = STUDIES[0].study_instance_uid
        assert world.quarantined() == {study: {"converted"}}
        others = {uid: digests for uid, digests in world.truth().items() if uid != UIDS[1]}
        assert world.held() == others
        assert max(world.archive.sent.values()) == 1, "asked again it would be converted again"
        await world.explain_everything()
        async with world.opened() as parts:
            items = await parts.catalog.call(Catalog.quarantine_items)
            assert DeflatedExplicitVRLittleEndian in {each.detail.get("came_in") for each in items}
        await world.release(study)

        await world.run()

        assert world.quarantined() == {}
        assert world.held().keys() == world.truth().keys()


async def test_one_that_has_learned_to_send_what_it_holds_is_believed_after_a_release(
    tmp_path: Path,
) -> None:
    script = WebScript(converts=frozenset(UIDS), tells_syntaxes=True)
    async with WebWorld.of(tmp_path, STUDIES, script) as world:
        await world.migrate()
        assert world.quarantined() == {STUDIES[0].study_instance_uid: {"converted"}}
        world.archive.script = WebScript(tells_syntaxes=True)
        await world.release(STUDIES[0].study_instance_uid)

        await world.run()

        assert world.quarantined() == {}
        assert world.held() == world.truth()
        await world.explain_everything()


@pytest.mark.parametrize("script", [
    WebScript(tells_syntaxes=True, labels_parts=True), WebScript(converts=frozenset(UIDS)),
    WebScript(tells_syntaxes=True, takes_included=False),
], ids=["its word is true", "it says nothing", "it takes no includes"])  # fmt: skip
async def test_what_no_word_of_the_archive_speaks_against_is_taken(
    script: WebScript, tmp_path: Path
) -> None:
    async with WebWorld.of(tmp_path, STUDIES, script) as world:
        await world.migrate()

        assert world.quarantined() == {}
        assert world.held().keys() == world.truth().keys()


async def test_what_a_person_allowed_to_be_converted_is_taken(tmp_path: Path) -> None:
    script = WebScript(converts=frozenset(UIDS), tells_syntaxes=True)
    async with WebWorld.of(tmp_path, STUDIES, script, web={"as_stored": False}) as world:
        await world.migrate()

        assert world.quarantined() == {}
        assert world.held().keys() == world.truth().keys()
