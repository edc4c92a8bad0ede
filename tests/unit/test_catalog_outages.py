"""Which errors of PostgreSQL a run waits for, and which end it."""

from __future__ import annotations

import psycopg
import psycopg.errors
import pytest
import sqlalchemy as sa

from cloudmig.catalog.trouble import translated
from cloudmig.errors import CatalogError, CatalogUnavailable


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (psycopg.OperationalError("connection refused"), CatalogUnavailable),
        (psycopg.errors.AdminShutdown(), CatalogUnavailable),
        (psycopg.errors.CannotConnectNow(), CatalogUnavailable),
        (psycopg.errors.IdleInTransactionSessionTimeout(), CatalogUnavailable),
        (psycopg.errors.DeadlockDetected(), CatalogUnavailable),
        (psycopg.errors.LockNotAvailable(), CatalogUnavailable),
        (psycopg.errors.QueryCanceled(), CatalogUnavailable),
        (psycopg.errors.DiskFull(), CatalogError),
        (psycopg.errors.ReadOnlySqlTransaction(), CatalogUnavailable),  # Not yet promoted.
        (psycopg.errors.InsufficientPrivilege(), CatalogError),
        (psycopg.errors.DataCorrupted(), CatalogError),
        (psycopg.DataError("a text with a NUL"), CatalogError),  # psycopg's own: no server is gone.
        (psycopg.NotSupportedError("no such type"), CatalogError),
    ],
)
def test_what_passes_is_told_from_what_does_not(
    error: psycopg.Error, kind: type[CatalogError]
) -> None:
    with pytest.raises(CatalogError) as caught, translated("write"):
        raise sa.exc.DBAPIError.instance("SELECT 1", {}, error, psycopg.Error)

    assert type(caught.value) is kind
    assert caught.value.hint


_AT = 'connection to server at "10.0.0.1", port 5432 failed:'


@pytest.mark.parametrize(
    ("words", "kind", "told"),
    [
        ("Connection refused\n\tIs the server running?", CatalogUnavailable, "does not answer"),
        ("FATAL:  the database system is starting up", CatalogUnavailable, "starting up"),
        ("FATAL:  sorry, too many clients already", CatalogUnavailable, "too many clients"),
        ('FATAL:  password authentication failed for user "u"', CatalogError, "refuses this user"),
        ('FATAL:  role "ghost" does not exist', CatalogError, "refuses this user"),
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.2"', CatalogError, "refuses this user"),
        ('FATAL:  database "nope" does not exist', CatalogError, "no such catalog database"),
        ("server does not support SSL, but SSL was required", CatalogError, "no TLS"),
        ('FATAL:  Passwort-Authentifizierung für Benutzer "u" fehlgeschlagen', CatalogUnavailable,
         "fehlgeschlagen"),
    ],
)  # fmt: skip
def test_who_is_not_let_in_is_told_from_who_finds_nobody(
    words: str, kind: type[CatalogError], told: str
) -> None:
    """Of an attempt to connect libpq tells no code; in another language it is waited for."""
    error = psycopg.OperationalError(f"connection failed: {_AT} {words}")
    with pytest.raises(CatalogError, match=told) as caught, translated("open"):
        raise sa.exc.DBAPIError.instance("SELECT 1", {}, error, psycopg.Error)

    assert type(caught.value) is kind
    assert caught.value.hint


def test_one_of_two_servers_that_may_come_back_is_waited_for() -> None:
    error = psycopg.OperationalError(
        f"Multiple connection attempts failed. All failures were:\n"
        f"- host: 'a': connection failed: {_AT} FATAL:  database \"x\" does not exist\n"
        f"- host: 'b': connection failed: {_AT} Connection refused"
    )
    with pytest.raises(CatalogUnavailable), translated("open"):
        raise sa.exc.DBAPIError.instance("SELECT 1", {}, error, psycopg.Error)
