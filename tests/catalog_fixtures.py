"""Catalogs for tests, on both databases.

A test module says `pytest_plugins = ["tests.catalog_fixtures"]` and asks for `catalog`; it then
runs once on SQLite and once on PostgreSQL.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import psycopg
import pytest

from cloudmig.catalog import Catalog
from tests.catalog_studies import UrlFactory

_numbers = itertools.count(1)


class PostgresqlCluster:
    """A cluster of its own in a scratch folder, reached by a Unix socket only."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._user = "postgres" if os.geteuid() == 0 else None
        # Not pytest's own folder: that is closed to the postgres user, and too long for a socket.
        self.folder = Path(tempfile.mkdtemp(prefix="cloudmig-pg-"))
        self._data = self.folder / "data"
        self._data.mkdir(mode=0o700)
        if self._user:
            for path in (self.folder, self._data):
                shutil.chown(path, self._user, self._user)

    def start(self) -> None:
        self._run(
            "initdb", "-D", self._data, "-U", "postgres", "-A", "trust", "-E", "UTF8",
            "--locale=C", "--no-sync",
        )  # fmt: skip
        self.serve()
        self.execute("CREATE DATABASE fresh")
        Catalog.open(self.url("fresh")).close()

    def serve(self) -> None:
        # What is tested is behaviour, not the disk: without fsync a test takes half the time.
        options = f"-c listen_addresses='' -k {self.folder} -c fsync=off -c max_connections=60"
        self._run(
            "pg_ctl", "-D", self._data, "-w", "-t", "60", "-l", self._data / "log",
            "-o", options, "start",
        )  # fmt: skip

    def stop(self) -> None:
        if (self._data / "postmaster.pid").exists():
            self.halt()
        shutil.rmtree(self.folder)

    def halt(self) -> None:
        """Cut every session off, as a crash does."""
        self._run("pg_ctl", "-D", self._data, "-w", "-m", "immediate", "stop")

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://postgres@/{database}?host={self.folder}"

    def fresh_url(self) -> str:
        name = f"catalog_{next(_numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE fresh")
        return self.url(name)

    def execute(self, statement: str) -> None:
        with psycopg.connect(
            host=str(self.folder), user="postgres", dbname="postgres", autocommit=True
        ) as connection:
            connection.execute(statement)

    def _run(self, program: str, *arguments: str | Path) -> None:
        subprocess.run(
            [self._programs / program, *arguments], cwd="/", user=self._user, check=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, timeout=120,
        )  # fmt: skip


def _no_pipeline(*_arguments: object) -> NoReturn:
    pytest.fail("an agent that freezes inside a pipeline keeps its locks for ever")


@pytest.fixture(autouse=True)
def _statement_by_statement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psycopg.Connection, "pipeline", _no_pipeline)
    monkeypatch.setattr(psycopg.Cursor, "executemany", _no_pipeline)  # It opens one of its own.


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlCluster]:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        missing = "PostgreSQL is not installed (/usr/lib/postgresql)"
        if os.environ.get("CI") == "true" and os.environ.get("REQUIRE_PEERS") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    cluster = PostgresqlCluster(found[-1].parent)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("catalog") / "fresh.db"
    Catalog.open(f"sqlite:///{path}").close()
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def fresh_url(request: pytest.FixtureRequest, sqlite_template: Path) -> Iterator[UrlFactory]:
    if request.param == "postgresql":
        cluster: PostgresqlCluster = request.getfixturevalue("postgresql")
        yield cluster.fresh_url
        return
    # In memory where there is such a disk: every commit is flushed, and a busy disk takes minutes.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="cloudmig-catalog-", dir=memory) as folder:

        def fresh_sqlite() -> str:
            path = Path(folder, f"catalog-{next(_numbers)}.db")
            shutil.copy(sqlite_template, path)
            return f"sqlite:///{path}"

        yield fresh_sqlite


@pytest.fixture
def url(fresh_url: UrlFactory) -> str:
    return fresh_url()


@pytest.fixture
def catalog(url: str) -> Iterator[Catalog]:
    with Catalog.open(url) as opened:
        yield opened
