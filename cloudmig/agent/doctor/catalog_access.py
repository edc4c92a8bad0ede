"""The catalog: can it be opened and written, and is another agent in our way?"""

from __future__ import annotations

import contextlib
import sqlite3
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cloudmig.agent.doctor.findings import Finding, ok, problem
from cloudmig.agent.doctor.reaching import OWNER_HINT
from cloudmig.catalog.run_lock import run_lock
from cloudmig.catalog.schema import REVISION
from cloudmig.config import Configuration
from cloudmig.errors import CatalogError
from cloudmig.model.states import CopyState

if TYPE_CHECKING:
    import psycopg

__all__ = ["check_catalog"]

_SUBJECT = "catalog"
_CONNECT_MAX_S = 5
_COMPLETE = (CopyState.STORED.value, CopyState.VERIFIED.value)
_COMPLETE_COPIES = "SELECT 1 FROM copy WHERE destination = ? AND state IN (?, ?) LIMIT 1"
_LIVE_TITLES = """
SELECT ae_title, name FROM agent_ae_title
WHERE alive_until > extract(epoch FROM clock_timestamp()) AND name <> %s AND ae_title = ANY(%s)
"""


def check_catalog(config: Configuration) -> list[Finding]:
    """Look at the SQLite file or at the server, and write nothing."""
    path = config.agent.catalog_path
    if path is None:
        return list(_check_server(config))
    try:
        is_there = path.exists()
    except OSError as error:
        message = f"{path} cannot be looked at: {error.strerror}"
        return [problem("catalog", _SUBJECT, message, OWNER_HINT)]
    return [*_check_file(path), *(_check_homes(config, path) if is_there else ())]


def _check_file(path: Path) -> Iterator[Finding]:
    if not path.exists():
        yield ok("catalog", _SUBJECT, f"{path} will be made by the first inventory")
        return
    try:
        with path.open("r+b") as file:
            start = file.read(16)
    except OSError as error:
        yield problem(
            "catalog",
            _SUBJECT,
            f"{path} cannot be written: {error.strerror}",
            f"Run `chmod u+rw {path}` as its owner, or run cloudmig as that user.",
        )
        return
    if start not in {b"", b"SQLite format 3\0"}:
        yield problem(
            "catalog",
            _SUBJECT,
            f"{path} is no SQLite file",
            "Restore it from a backup, or set agent.state_dir to another folder.",
        )
        return
    if start and (trouble := _trouble_in(path)):
        yield problem("catalog", _SUBJECT, *trouble)
        return
    lock_is_new = not path.with_name(f"{path.name}.run").exists()
    try:
        with run_lock(path):
            yield ok("catalog", _SUBJECT, f"{path} can be written, and nobody works on it")
    except CatalogError as error:
        yield problem("catalog_in_use", _SUBJECT, str(error), error.hint)
    if lock_is_new:
        path.with_name(f"{path.name}.run").unlink(missing_ok=True)


def _read_only(path: Path) -> contextlib.closing[sqlite3.Connection]:
    """Open a catalog without bringing it up to date, as whoever works with it does."""
    return contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True))


def _trouble_in(path: Path) -> tuple[str, str] | None:
    """Say what is wrong in a catalog, and what to do; a lock or an unfinished one is nothing."""
    try:
        with _read_only(path) as catalog:
            versions = catalog.execute("SELECT version_num FROM alembic_version").fetchall()
    except sqlite3.OperationalError:
        return None
    except sqlite3.DatabaseError:
        return f"{path} is damaged", "Restore it from a backup: docs/runbook.md, Situations."
    if any(version > REVISION for (version,) in versions):
        return f"{path} was made by a newer cloudmig", "Install that version or a newer."
    return None


def _check_homes(config: Configuration, path: Path) -> Iterator[Finding]:
    """Name each folder that holds nothing, and should: a run writes nothing there."""
    for name, destination in config.destinations.items():
        if destination.directory is None or not _is_empty(destination.directory):
            continue
        if any(_has_copies(path, each) for each in config.kept_in(name)):
            yield problem(
                "home_empty",
                _SUBJECT,
                f"the folder of destination {name} is empty, and copies were there",
                "Mount its disk. If what it held is lost for good, put any file there: see"
                " docs/runbook.md, A home or a source is down.",
            )


def _is_empty(folder: Path) -> bool:
    try:
        return not any(folder.iterdir())
    except FileNotFoundError:
        return True
    except OSError:
        return False  # Another check says what is wrong with it.


def _has_copies(path: Path, destination: str) -> bool:
    try:
        with _read_only(path) as catalog:
            found = catalog.execute(_COMPLETE_COPIES, (destination, *_COMPLETE)).fetchone()
    except sqlite3.Error:
        return False  # Not one of ours, or damaged: whoever opens it says so.
    return found is not None


def _check_server(config: Configuration) -> Iterator[Finding]:
    shown = config.agent.catalog_shown
    try:
        import psycopg  # noqa: PLC0415 - an optional extra
    except ImportError:
        yield problem(
            "catalog",
            _SUBJECT,
            "the driver for PostgreSQL is not installed",
            "Install it: pip install 'cloudmig[agent,postgresql]'",
        )
        return
    url = config.agent.catalog_url.replace("postgresql+psycopg://", "postgresql://", 1)
    try:
        connection = psycopg.connect(url, connect_timeout=_CONNECT_MAX_S)
    except psycopg.Error as error:
        yield problem(
            "catalog",
            _SUBJECT,
            f"{shown} cannot be reached: {_why(error)}",
            f"Check that PostgreSQL runs there and lets this user in: psql"
            f" '{_without_password(url)}' -c 'select 1'",
        )
        return
    with connection:
        yield from _check_rights(connection, shown)
        yield from _check_titles(connection, config)


def _check_rights(connection: psycopg.Connection, shown: str) -> Iterator[Finding]:
    row = connection.execute(
        "SELECT has_schema_privilege(current_schema(), 'CREATE'), current_user"
    ).fetchone()
    assert row is not None
    if row[0]:
        yield ok("catalog", _SUBJECT, f"{shown} can be written")
    else:
        yield problem(
            "catalog",
            _SUBJECT,
            f"{shown}: {row[1]} may not make tables",
            f"Run, as an owner of that database: GRANT CREATE, USAGE ON SCHEMA public TO {row[1]};",
        )


def _check_titles(connection: psycopg.Connection, config: Configuration) -> Iterator[Finding]:
    ours = sorted({title for source in config.pacs.values() for title in source.ae_titles})
    row = connection.execute("SELECT to_regclass('agent_ae_title')").fetchone()
    if row is None or row[0] is None:
        return
    for ae_title, name in connection.execute(_LIVE_TITLES, (config.agent.name, ours)):
        yield problem(
            "ae_title_in_use",
            _SUBJECT,
            f"the live agent {name} uses the AE title {ae_title}",
            "Give this agent AE titles of its own in sources.<name>.ae_titles, and register them"
            " at the PACS.",
        )


def _why(error: psycopg.Error) -> str:
    """Return the server's words without the connection string."""
    last = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
    return last.rpartition("FATAL:")[2].strip() or last


def _without_password(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    user = f"{parts.username}@" if parts.username else ""
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{user}{parts.hostname or ''}{port}{parts.path}"
