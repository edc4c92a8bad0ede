"""What is said of a PostgreSQL that does not let us in, by the server itself."""

from __future__ import annotations

import socketserver
import struct
import threading
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from cloudmig.catalog import Catalog
from cloudmig.catalog.trouble import translated
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


def test_a_pooler_that_refuses_our_sessions_is_named_and_not_waited_for() -> None:
    said = b"SFATAL\0C08P01\0Munsupported startup parameter: options\0\0"  # PgBouncer's words
    refusal = b"E" + struct.pack("!i", len(said) + 4) + said

    class Pooler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1024)
            self.request.sendall(refusal)

    with socketserver.TCPServer(("127.0.0.1", 0), Pooler) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        modes = "sslmode=disable&gssencmode=disable"
        port = server.server_address[1]
        with pytest.raises(CatalogError, match="pooler") as caught:
            Catalog.open(f"postgresql+psycopg://agent@127.0.0.1:{port}/catalog?{modes}")
        server.shutdown()
        serving.join(10)

    assert type(caught.value) is CatalogError
    assert "not PgBouncer" in caught.value.hint


@pytest.mark.parametrize("mixed_up", ["PREPARE one AS SELECT 2", "EXECUTE another"])
def test_a_pooler_that_mixes_sessions_up_is_named(
    postgresql: PostgresqlCluster, mixed_up: str
) -> None:
    engine = sa.create_engine(postgresql.url("postgres"))
    with engine.connect() as connection:
        connection.exec_driver_sql("PREPARE one AS SELECT 1")
        with pytest.raises(CatalogError, match="pooler") as caught, translated("write"):
            connection.exec_driver_sql(mixed_up)
    engine.dispose()

    assert "not PgBouncer" in caught.value.hint
