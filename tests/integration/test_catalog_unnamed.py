"""Studies without a usable UID in the catalog, on both databases."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from cloudmig.catalog import Catalog, migrations
from cloudmig.catalog.schema import metadata
from cloudmig.catalog.unnamed import RELEASED_RULE
from cloudmig.errors import CatalogError
from cloudmig.model.quarantine import QuarantineReason
from cloudmig.model.states import TransferState
from cloudmig.model.study import Answer, StudySummary, UnnamedStudy, reference_of
from tests.catalog_studies import (
    NOW,
    UrlFactory,
    a_study,
    agree,
    claim,
    plan,
    store,
    take_inventory,
)

pytest_plugins = ["tests.catalog_fixtures"]

LATER = NOW + dt.timedelta(days=1)
ANSWER = {"StudyInstanceUID": "../../x", "PatientName": "CANARY^NAME", "StudyDate": "20190708"}


def listed(
    catalog: Catalog, *answers: Mapping[str, str], instances: int | None = 7, source: str = "main"
) -> None:
    """Sweep these answers into the catalog."""
    sweep = catalog.begin_sweep(source, NOW)
    summaries = [
        StudySummary(reference_of(one), one.get("StudyDate", ""), instances_claimed=instances,
                     answer=one)
        for one in answers
    ]  # fmt: skip
    catalog.record_answer(sweep, Answer("universal", len(answers), "complete"), summaries, NOW)
    catalog.finish_sweep(sweep, LATER, {})


@pytest.mark.parametrize(
    ("text", "problem"),
    [("", "empty"), ("../../x", "no UID"), ("1.2..3", "no UID"), ("1." * 40 + "1", "too long")],
)
def test_an_answer_without_a_usable_uid_waits_for_a_person(
    catalog: Catalog, text: str, problem: str
) -> None:
    listed(catalog, {**ANSWER, "StudyInstanceUID": text}, {"StudyInstanceUID": "1.2.3"})

    [item] = catalog.quarantine_items()
    assert item.reason is QuarantineReason.UNUSABLE_UID
    assert isinstance(item.study, UnnamedStudy)
    assert item.detail["study_instance_uid_is"] == problem
    assert "CANARY" not in str(item)
    assert catalog.quarantine_items("annex") == []
    assert [each.study.study_instance_uid for each in catalog.studies()] == ["1.2.3"]
    assert catalog.coverage("main").studies == 2


def test_it_is_one_study_however_often_it_is_answered(catalog: Catalog) -> None:
    grown = {**ANSWER, "NumberOfStudyRelatedInstances": "9", "ModalitiesInStudy": "CT\\SR"}

    listed(catalog, ANSWER, ANSWER)
    listed(catalog, grown, instances=9)
    listed(catalog, ANSWER, instances=None)

    [found] = catalog.unnamed_studies()
    assert found.instances_claimed == 9
    told = [event for event in catalog.ledger() if event.kind == "unnamed_study_quarantined"]
    assert [event.detail["answer_sha256"] for event in told] == [found.study.answer_sha256]
    assert "CANARY" not in str(catalog.ledger())


def test_two_studies_without_a_uid_are_two(catalog: Catalog) -> None:
    listed(catalog, {**ANSWER, "StudyInstanceUID": ""}, {**ANSWER, "StudyDate": "20190709"})
    listed(catalog, ANSWER, source="annex")

    assert len(catalog.quarantine_items("main")) == 2
    assert catalog.status_counts().studies == {"annex": 1, "main": 2}


def test_a_wave_does_not_close_without_naming_it(catalog: Catalog) -> None:
    take_inventory(catalog, [a_study()])
    plan(catalog, [a_study()], rule="recent studies stay")
    before = catalog.statement()

    listed(catalog, ANSWER)

    with pytest.raises(CatalogError, match="has changed"):
        catalog.close_wave(NOW, before)
    statement = catalog.statement()
    assert statement.quarantine == {"unusable_uid": 1}
    assert (statement.studies.inventory, statement.studies.quarantined) == (2, 1)
    assert (statement.instances.inventory, statement.instances.quarantined) == (9, 7)
    assert statement.holds
    assert catalog.statement("annex").studies.inventory == 0


def test_what_nobody_counted_is_said(catalog: Catalog) -> None:
    listed(catalog, ANSWER, instances=None)

    statement = catalog.statement()

    assert statement.quarantined_uncounted == 1
    assert statement.holds


def test_a_released_one_stays_in_the_source_by_name_and_is_not_raised_again(
    catalog: Catalog,
) -> None:
    listed(catalog, ANSWER)
    [row] = catalog.unnamed_studies()

    catalog.release_unnamed("main", row.study, at=LATER, note="a phantom")
    listed(catalog, ANSWER)

    assert catalog.quarantine_items() == []
    [item] = catalog.quarantine_items(released=True)
    assert (item.released_at, item.note) == (LATER, "a phantom")
    statement = catalog.statement()
    assert statement.studies.excluded == {RELEASED_RULE: 1}
    assert statement.instances.excluded == {RELEASED_RULE: 7}
    counts = catalog.status_counts()
    assert counts.transfers == {"main": {TransferState.EXCLUDED: 1}}
    assert counts.quarantine == {}
    with pytest.raises(CatalogError, match="not in quarantine"):
        catalog.release_unnamed("main", row.study, at=LATER, note="again")


@pytest.mark.parametrize("version", ["0001", "0002", "0003", "0004"])
def test_a_catalog_of_an_older_version_keeps_what_it_holds(
    version: str, fresh_url: UrlFactory
) -> None:
    url = fresh_url()
    with Catalog.open(url) as catalog:
        take_inventory(catalog, [a_study()])
        plan(catalog, [a_study()], "archive")
        store(catalog, claim(catalog))
        agree(catalog, catalog.copies_to_verify()[0])
        told = catalog.ledger()
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE transfer DROP COLUMN instances_counted"))
        if version < "0004":
            metadata.tables["file_tally"].drop(connection)
        if version < "0003":
            for table in ("waiting_verdict", "extra_object", "restore"):
                metadata.tables[table].drop(connection)
            connection.execute(sa.text("ALTER TABLE copy DROP COLUMN judged_at"))
        if version == "0001":
            metadata.tables["unnamed_study"].drop(connection)
        config = Config()
        config.set_main_option("script_location", str(Path(migrations.__file__).parent))
        config.attributes["connection"] = connection
        command.stamp(config, version)
    engine.dispose()

    with Catalog.open(url) as catalog:
        assert catalog.ledger() == told
        assert [each.study for each in catalog.studies()] == [a_study()]
        row = catalog.transfer("main", a_study())
        assert row is not None
        assert row.copies[0].judged_at == row.copies[0].verified_at == NOW
        listed(catalog, ANSWER)
        assert len(catalog.quarantine_items()) == 1
