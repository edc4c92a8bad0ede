"""What the database itself refuses, and how its faults are told."""

from __future__ import annotations

import datetime as dt
import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from cloudmig.catalog import Catalog, claiming, database, run_lock
from cloudmig.catalog.schema import metadata
from cloudmig.errors import CatalogError, CatalogUnavailable, ConfigError
from cloudmig.model.study import Answer, StudySummary
from cloudmig.model.transfer import TransferJob
from tests.catalog_studies import NOW, UrlFactory, a_study, plan, take_inventory

if TYPE_CHECKING:
    from tests.catalog_fixtures import PostgresqlCluster

pytest_plugins = ["tests.catalog_fixtures"]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger_event SET kind = 'nothing'",
        "DELETE FROM ledger_event",
        "DELETE FROM ledger_event WHERE event_id = 1",
        "TRUNCATE ledger_event",
    ],
)
def test_the_database_refuses_to_change_the_ledger(
    catalog: Catalog, url: str, statement: str
) -> None:
    take_inventory(catalog, [a_study()])
    told = catalog.ledger()
    assert told
    if statement.startswith("TRUNCATE") and not catalog.is_shared:
        pytest.skip("SQLite has no TRUNCATE")
    engine = sa.create_engine(url)

    with pytest.raises(sa.exc.DBAPIError, match="append-only"), engine.begin() as connection:
        connection.exec_driver_sql(statement)

    engine.dispose()
    assert catalog.ledger() == told


def test_the_migrations_make_exactly_the_tables_of_the_schema(url: str) -> None:
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, metadata)
    engine.dispose()

    assert differences == []


def test_two_agents_may_open_an_empty_database_at_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/new.db"
    errors: list[BaseException] = []

    def opening() -> None:
        try:
            Catalog.open(url).close()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is reported
            errors.append(error)

    threads = [threading.Thread(target=opening) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []


def test_a_catalog_of_a_newer_version_is_refused(url: str) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    engine.dispose()

    with pytest.raises(CatalogError, match="newer cloudmig"):
        Catalog.open(url)


def test_times_come_back_aware_and_equal(catalog: Catalog) -> None:
    at = dt.datetime(2026, 3, 29, 2, 30, tzinfo=dt.timezone(dt.timedelta(hours=2)))

    catalog.begin_sweep("main", at)

    [event] = catalog.ledger()
    assert event.at == at
    assert event.at.tzinfo is dt.UTC


@pytest.mark.parametrize("address", ["nonsense", "mysql://host/db", "sqlite://"])
def test_an_address_that_cannot_be_a_catalog_is_a_setting(address: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Catalog.open(address)

    assert caught.value.hint


def test_nobody_else_may_read_the_file(tmp_path: Path) -> None:
    before = os.umask(0o000)
    try:
        with Catalog.open(f"sqlite:///{tmp_path}/new.db") as catalog:
            take_inventory(catalog, [a_study()])
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    finally:
        os.umask(before)

    assert modes == {"new.db": 0o600, "new.db-wal": 0o600, "new.db-shm": 0o600}


#: Records studies with a name that must not be told, until the file may not grow any more.
_FILL = """
import datetime as dt, resource, sys
from cloudmig.catalog import Catalog
from cloudmig.errors import CatalogError
from cloudmig.model.references import StudyRef
from cloudmig.model.study import Answer, StudySummary
from cloudmig.model.transfer import TransferJob
now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
catalog = Catalog.open(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (900_000, 900_000))
sweep = catalog.begin_sweep("main", now)
try:
    for n in range(1000):
        answer = {"PatientName": "CANARY^NAME" * 50}
        summaries = [StudySummary(StudyRef(f"1.2.{n}.{m}"), answer=answer) for m in range(20)]
        catalog.record_answer(sweep, Answer(f"q{n}", 20, "complete"), summaries, now)
except CatalogError as error:
    import traceback
    print(error, "|", error.hint, "|", len(catalog.studies(limit=10**6)) % 20)
    traceback.print_exc()
"""


def test_a_file_that_cannot_grow_is_told_with_a_hint_and_keeps_what_it_had(
    tmp_path: Path,
) -> None:
    path = tmp_path / "small.db"

    done = subprocess.run(
        [sys.executable, "-c", _FILL, f"sqlite:///{path}"],
        capture_output=True, text=True, timeout=60, check=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip

    message, hint, part = done.stdout.strip().split(" | ")
    assert message.startswith("cannot write: the disk of the catalog")
    assert "free space in state_dir" in hint
    assert part == "0", "an answer is recorded whole or not at all"
    assert "CANARY" not in done.stdout + done.stderr
    with Catalog.open(f"sqlite:///{path}") as catalog:
        sweep = catalog.begin_sweep("main", NOW)
        catalog.record_answer(sweep, Answer("after", 1, "complete"), [], NOW)
        assert "after" in catalog.answered(sweep)


def test_a_full_disk_is_told_with_a_hint(sqlite_template: Path, tmp_path: Path) -> None:
    path = tmp_path / "full.db"
    path.write_bytes(sqlite_template.read_bytes())
    with Catalog.open(f"sqlite:///{path}") as catalog:
        # max_page_count belongs to the connection: SQLite then says SQLITE_FULL, as for a disk.
        with catalog._engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 60")
        sweep = catalog.begin_sweep("main", NOW)
        summaries = [StudySummary(a_study(n), answer={"Told": "x" * 500}) for n in range(1, 2000)]

        with pytest.raises(CatalogError, match="disk of the catalog is full") as caught:
            catalog.record_answer(sweep, Answer("all", 1999, "complete"), summaries, NOW)

        assert "free space" in caught.value.hint
        assert catalog.studies() == []


def test_a_damaged_file_is_told_with_a_hint(tmp_path: Path) -> None:
    path = tmp_path / "damaged.db"
    path.write_bytes(b"no database at all, but some bytes" * 100)

    with pytest.raises(CatalogError, match="no SQLite database") as caught:
        Catalog.open(f"sqlite:///{path}")

    assert caught.value.hint


def test_a_missing_folder_is_told_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="cannot be opened") as caught:
        Catalog.open(f"sqlite:///{tmp_path}/missing/catalog.db")

    assert "state_dir" in caught.value.hint


def test_a_file_locked_for_too_long_is_told(
    sqlite_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cloudmig.catalog.database._BUSY_MAX_S", 0.05)
    path = tmp_path / "locked.db"
    path.write_bytes(sqlite_template.read_bytes())
    with Catalog.open(f"sqlite:///{path}") as catalog:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")

        with pytest.raises(CatalogError, match="locked by another process"):
            catalog.begin_sweep("main", NOW)

        other.close()
        catalog.begin_sweep("main", NOW)


def test_a_server_that_is_gone_is_told_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="does not answer") as caught:
        Catalog.open(f"postgresql+psycopg://postgres@/catalog?host={tmp_path}")

    assert "PostgreSQL runs" in caught.value.hint


def test_one_run_per_catalog(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    with run_lock(path):
        with pytest.raises(CatalogError) as caught, run_lock(path):
            pass
        assert str(caught.value) == "another cloudmig run works on this catalog"
        assert caught.value.hint

    with run_lock(path):
        pass


def test_two_live_agents_never_share_an_ae_title(catalog: Catalog) -> None:
    catalog.register_agent("edge-1", ["CLOUDMIG1", "CLOUDMIG2"], ttl_s=60)

    with pytest.raises(CatalogError, match="AE title CLOUDMIG2"):
        catalog.register_agent("edge-2", ["CLOUDMIG3", "CLOUDMIG2"], ttl_s=60)

    catalog.register_agent("edge-2", ["CLOUDMIG3"], ttl_s=60)
    catalog.register_agent("edge-1", ["CLOUDMIG1"], ttl_s=60)
    catalog.register_agent("edge-2", ["CLOUDMIG2", "CLOUDMIG3"], ttl_s=60)
    catalog.sign_off("edge-2")
    catalog.register_agent("edge-1", ["CLOUDMIG2"], ttl_s=60)


def test_the_titles_of_a_dead_agent_are_taken_over_and_it_is_told(catalog: Catalog) -> None:
    catalog.register_agent("edge-1", ["CLOUDMIG"], ttl_s=0)
    catalog.heartbeat("edge-1", ttl_s=0)

    catalog.register_agent("edge-2", ["CLOUDMIG"], ttl_s=60)

    with pytest.raises(CatalogError, match="edge-1"):
        catalog.heartbeat("edge-1", ttl_s=60)
    catalog.heartbeat("edge-2", ttl_s=60)


def test_an_agent_is_told_when_one_of_its_titles_is_gone(catalog: Catalog) -> None:
    catalog.register_agent("edge-1", ["CLOUDMIG1", "CLOUDMIG2"], ttl_s=0)
    catalog.register_agent("edge-2", ["CLOUDMIG2"], ttl_s=60)

    with pytest.raises(CatalogError, match="edge-1"):
        catalog.heartbeat("edge-1", ttl_s=60, ae_titles=2)


def test_an_agent_without_titles_lives_as_long_as_any_other(catalog: Catalog) -> None:
    """Its sources are no PACS: nobody can take a title from it."""
    catalog.register_agent("edge-1", [], ttl_s=60)

    catalog.heartbeat("edge-1", ttl_s=60, ae_titles=0)


def test_an_agent_frozen_in_mid_transaction_holds_nobody_up_for_long(
    postgresql: PostgresqlCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = [each.replace("=15s", "=300ms") for each in database._POSTGRESQL_SESSION]
    monkeypatch.setattr(database, "_POSTGRESQL_SESSION", session)
    url = postgresql.fresh_url()

    def freeze(frozen: Catalog, living: Catalog) -> None:
        with frozen._writing() as connection:
            connection.execute(sa.text("SELECT transfer_id FROM transfer FOR UPDATE"))
            assert living.claim_next("living", lease_s=60, sources=["main"]) is None
            until = time.monotonic() + 30
            while (job := living.claim_next("living", lease_s=60, sources=["main"])) is None:
                assert time.monotonic() < until, "its row stays locked"
            taken_over.append(job)
            connection.execute(sa.text("SELECT 1"))
        raise AssertionError("a transaction that the server ended was committed")

    taken_over: list[TransferJob] = []
    with Catalog.open(url) as frozen, Catalog.open(url) as living:
        take_inventory(frozen, [a_study()])
        plan(frozen, [a_study()], "store")
        assert frozen.claim_next("frozen", lease_s=0.0, sources=["main"]) is not None
        with pytest.raises(CatalogError, match="stood still"):
            freeze(frozen, living)
    assert [job.study for job in taken_over] == [a_study()]


def test_a_session_that_may_not_write_is_not_kept_when_its_server_may(
    postgresql: PostgresqlCluster,
) -> None:
    """So an agent went on asking a server that had handed its office over, for an hour."""
    url = postgresql.fresh_url()
    changed = f"ALTER DATABASE {sa.engine.make_url(url).database}"
    postgresql.execute(f"{changed} SET default_transaction_read_only = on")
    with Catalog.open(url) as catalog:
        with pytest.raises(CatalogUnavailable, match="read-only"):
            catalog.remember_upload("archive", "k/1.dcm", "upload-1")
        postgresql.execute(f"{changed} RESET default_transaction_read_only")

        catalog.remember_upload("archive", "k/1.dcm", "upload-1")


def test_uploads_are_remembered_until_they_end(catalog: Catalog) -> None:
    catalog.remember_upload("archive", "k/1.dcm", "upload-1")
    catalog.remember_upload("archive", "k/1.dcm", "upload-2")
    catalog.remember_upload("second", "k/1.dcm", "upload-3")

    [upload] = catalog.uploads("archive")
    assert (upload.key, upload.upload_id) == ("k/1.dcm", "upload-2")
    catalog.forget_upload("archive", "k/1.dcm")
    assert catalog.uploads("archive") == []
    assert len(catalog.uploads("second")) == 1


def test_a_claim_is_found_by_an_index_however_many_wait(fresh_url: UrlFactory) -> None:
    """The plan of the query, not its speed: speed is measured in bench/catalog.py."""
    url = fresh_url()
    with Catalog.open(url) as catalog:
        studies = [a_study(number) for number in range(1, 2001)]
        take_inventory(catalog, studies)
        plan(catalog, studies, "archive")
        statement = claiming._FIRST_READY.format(skip_locked="").replace(":source", "'main'")
        explain = "EXPLAIN " if catalog.is_shared else "EXPLAIN QUERY PLAN "
        with catalog._reader.connect() as connection:
            told = str(connection.exec_driver_sql(explain + statement).all())

    assert "ix_transfer_ready" in told
    assert "TEMP B-TREE" not in told
    assert "Sort" not in told


def test_a_vanished_server_is_noticed_as_soon_as_the_address_says(
    postgresql: PostgresqlCluster,
) -> None:
    address = postgresql.url("fresh") + "&keepalives_idle=7"
    with Catalog.open(address) as catalog, catalog._engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        parameters = driver.info.get_parameters()

    assert parameters["keepalives_idle"] == "7"
    assert int(parameters["tcp_user_timeout"]) <= 60_000
