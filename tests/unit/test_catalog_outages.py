"""Which errors of PostgreSQL a run waits for, and which end it."""

from __future__ import annotations

import psycopg
import psycopg.errors
import pytest
import sqlalchemy as sa

from cloudmig.catalog.database import translated
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
