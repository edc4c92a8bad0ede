"""What the errors of a database mean to us, and what to do about them."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import sqlalchemy.exc

from cloudmig.errors import CatalogError, CatalogUnavailable

__all__ = ["translated"]

_SQLITE_ADVICE = {
    "SQLITE_FULL": ("the disk of the catalog is full", "free space in state_dir, then run again"),
    # Also what it says where there is no room for the file it shares between processes.
    "SQLITE_IOERR": (
        "the disk of the catalog is full or fails",
        "free space in state_dir; if there is some, check its disk; no network disk",
    ),
    "SQLITE_BUSY": ("the catalog is locked by another process", "stop the other process"),
    "SQLITE_LOCKED": ("the catalog is locked by another process", "stop the other process"),
    "SQLITE_CORRUPT": ("the catalog is damaged", "restore it from a backup, or rebuild it"),
    "SQLITE_NOTADB": ("the catalog file is no SQLite database", "check the state_dir setting"),
    "SQLITE_READONLY": ("the catalog is read-only", "check the rights on state_dir"),
    "SQLITE_CANTOPEN": ("the catalog cannot be opened", "check the rights on state_dir"),
}
#: It refuses the settings of our sessions, or hands the statements of one to another.
_POOLER = (
    "a connection pooler stands before the catalog",
    "name PostgreSQL itself in the catalog setting, not PgBouncer or another pooler",
)
_POSTGRESQL_ADVICE = {
    "53100": ("the disk of the catalog is full", "free space on the PostgreSQL server"),
    "53": ("PostgreSQL is out of resources", "see the server's log: memory or connections"),
    "58": ("the disk of the catalog fails", "see the log of the PostgreSQL server"),
    "XX": ("the catalog is damaged", "see the log of the PostgreSQL server"),
    "55": ("the catalog is locked by another session", "look for a long transaction"),
    "57014": ("a statement on the catalog was cancelled", "ask who did; then run again"),
    "40": ("two sessions of the catalog blocked each other", "run again"),
    "42501": ("the catalog refuses this user", "grant the user rights on the database"),
    "25P03": ("this agent stood still in mid-transaction", "run again; see the load of this host"),
    "25006": ("the catalog is read-only", "connect to the primary server"),
    "28": (
        "the catalog refuses this user",
        "check user and password of the catalog setting, and pg_hba.conf",
    ),
    "3D": ("there is no such catalog database", "create it, or check the catalog setting"),
    "26000": _POOLER,
    "42P05": _POOLER,
    "TLS": ("no TLS with the catalog's server", "check sslmode and certificates in its setting"),
}
_SERVER_GONE = (
    "the catalog's server does not answer",
    "check that PostgreSQL runs, and the network",
)
#: What may succeed later: a session that stood still, a standby not yet promoted, a deadlock, a
#: lock held for long, a statement somebody cancelled.
_POSTGRESQL_PASSES = ("25P03", "25006", "40", "55P03", "57014")

#: The words of each attempt to connect, one host after the other; no data of ours is in them.
_ATTEMPTS = re.compile(r"(?:connection to server .* failed: |failed to resolve host )(.*)")
_NOT_LET_IN = {
    "3D": re.compile(r'database ".*" does not exist'),
    "28": re.compile(
        r'password|authentication|pg_hba\.conf|role ".*" does not exist|not permitted to log in'
    ),
    "TLS": re.compile(r"certificate|server does not support SSL|SSL was required"),
    "42P05": re.compile(r"unsupported startup parameter"),
}
_WRONG_OPTION = re.compile(r"invalid (?:connection option|\w+ value:?) [^\n]*")


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn what the database library raises into a `CatalogError` that says what to do."""
    try:
        yield
    except sqlalchemy.exc.DBAPIError as error:
        kind, (happened, hint) = _advice(error)
        # Integrity and data errors quote the row, which may be patient data: no cause for those.
        quotes = isinstance(error, sqlalchemy.exc.IntegrityError | sqlalchemy.exc.DataError)
        raise kind(f"cannot {doing}: {happened}", hint=hint) from (None if quotes else error)
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise CatalogError(
            f"cannot {doing} the catalog: {type(error).__name__}", hint="report this as a bug"
        ) from error


def _advice(error: sqlalchemy.exc.DBAPIError) -> tuple[type[CatalogError], tuple[str, str]]:
    """Return what an error is to us, what happened, and what to do."""
    original = error.orig
    if isinstance(original, sqlite3.Error):
        name = getattr(original, "sqlite_errorname", "")
        told = f"SQLite says {name or type(original).__name__}"
        return CatalogError, _known(_SQLITE_ADVICE, name) or (told, "report this as a bug")
    code = getattr(original, "sqlstate", None) or ""
    lost = sqlalchemy.exc.OperationalError | sqlalchemy.exc.InterfaceError
    if not code and (wrong := _WRONG_OPTION.search(str(original))):
        return CatalogError, (wrong[0], "correct the options in the catalog setting")
    if not code and isinstance(error, lost):
        return _not_connected(str(original))
    if code.startswith(("08", "57P")):
        return CatalogUnavailable, _SERVER_GONE
    kind = CatalogUnavailable if code.startswith(_POSTGRESQL_PASSES) else CatalogError
    told = f"PostgreSQL says {code or type(original).__name__}"
    return kind, _known(_POSTGRESQL_ADVICE, code) or (told, "report this as a bug")


def _known(advice: Mapping[str, tuple[str, str]], code: str) -> tuple[str, str] | None:
    return next((told for start, told in advice.items() if code.startswith(start)), None)


def _not_connected(text: str) -> tuple[type[CatalogError], tuple[str, str]]:
    """Tell who is not let in from who finds nobody: of that libpq has words and no code."""
    words = [said.removeprefix("FATAL:").strip() for said in _ATTEMPTS.findall(text)]
    if not words:
        return CatalogUnavailable, _SERVER_GONE
    # Of the words that nobody thought of, most pass: a server that starts, no slot left.
    refused = [code for code, said in _NOT_LET_IN.items() if all(map(said.search, words))]
    happened, hint = _POSTGRESQL_ADVICE[refused[0]] if refused else _SERVER_GONE
    kind = CatalogError if refused else CatalogUnavailable
    return kind, (f"{happened} ({words[-1]})", hint)
