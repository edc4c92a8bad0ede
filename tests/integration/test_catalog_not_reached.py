"""What is said of a PostgreSQL that does not let us in, by the server itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cloudmig.catalog import Catalog
from cloudmig.errors import CatalogError, CatalogUnavailable

if TYPE_CHECKING:
    from tests.catalog_fixtures import PostgresqlCluster

pytest_plugins = ["tests.catalog_fixtures"]


@pytest.mark.parametrize(
    ("replaced", "by", "kind", "told"),
    [
        ("/fresh", "/nowhere", CatalogError, "no such catalog database"),
        ("postgres@", "ghost@", CatalogError, "refuses this user"),
        ("?host=", "?sslmode=bogus&host=", CatalogError, "invalid sslmode"),
        ("?host=", "?nonsense=1&host=", CatalogError, "invalid connection option"),
        ("?host=", "?host=/nowhere", CatalogUnavailable, "does not answer"),
    ],
)
def test_whoever_is_not_let_in_is_told_why(
    postgresql: PostgresqlCluster, replaced: str, by: str, kind: type[CatalogError], told: str
) -> None:
    url = postgresql.url("fresh").replace(replaced, by)
    with pytest.raises(CatalogError, match=told) as caught:
        Catalog.open(url)

    assert type(caught.value) is kind
    assert "report this" not in caught.value.hint


def test_a_server_without_room_is_waited_for(postgresql: PostgresqlCluster) -> None:
    postgresql.execute("CREATE USER crowded CONNECTION LIMIT 0")
    url = postgresql.url("fresh").replace("postgres@", "crowded@")
    with pytest.raises(CatalogUnavailable, match="too many connections"):
        Catalog.open(url)
