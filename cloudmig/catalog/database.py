"""The connection to the catalog: transactions and clocks."""

from __future__ import annotations

import datetime as dt
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa
import sqlalchemy.exc
from sqlalchemy.dialects import postgresql, sqlite

from cloudmig.catalog import schema
from cloudmig.catalog.trouble import translated
from cloudmig.errors import CatalogError, CatalogUnavailable, ConfigError

__all__ = ["Database"]

#: How long a SQLite writer waits for the one before it.
_BUSY_MAX_S = 30.0
_READS = "cloudmig_reads"

_POSTGRESQL_SESSION = (
    "timezone=UTC",
    "plan_cache_mode=force_custom_plan",  # Keeps partial indexes usable; see claim_next.
    # An agent that freezes in mid-transaction holds row locks: its study could not be taken over.
    "idle_in_transaction_session_timeout=15s",
    "lock_timeout=60s",
    # So does one whose host loses its power in mid-message. Linux would wait two hours.
    "tcp_keepalives_idle=20",
    "tcp_keepalives_interval=5",
    "tcp_keepalives_count=4",
)
#: And the other way round: an agent whose server is gone learns it within a minute.
_POSTGRESQL_CLIENT = {
    "connect_timeout": 20,
    "keepalives_idle": 20,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 40_000,
}

#: The database's clock as seconds since 1970. SQLite has `unixepoch('subsec')` only from 3.42.
_CLOCK = {
    "sqlite": sa.text("SELECT (julianday('now') - 2440587.5) * 86400.0"),
    "postgresql": sa.text("SELECT extract(epoch FROM clock_timestamp())::float8"),
}


class Database:
    """One engine. Every public method of the catalog is one transaction on it."""

    def __init__(self, engine: sa.Engine, *, now: Callable[[], dt.datetime]) -> None:
        self._engine = engine
        self._reader = engine.execution_options(**{_READS: True})
        is_file = engine.dialect.name == "sqlite"
        self._hasty = _sqlite_engine_on(engine.url, synchronous="NORMAL") if is_file else engine
        self._now = now  #: For events without a time of their own. Leases never use it.

    @classmethod
    def open(
        cls, url: str, *, now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)
    ) -> Self:
        """Connect, and bring the tables up to date."""
        try:
            parsed = sa.engine.make_url(url)
        except sqlalchemy.exc.ArgumentError as error:
            raise ConfigError(
                "the catalog setting is no database address",
                hint='use catalog = "sqlite" or "postgresql+psycopg://user@host/database"',
            ) from error
        match parsed.get_backend_name():
            case "sqlite":
                engine = _sqlite_engine(parsed)
            case "postgresql":
                engine = _postgresql_engine(parsed)
            case other:
                raise ConfigError(
                    f"the catalog cannot live in {other}", hint="use SQLite or PostgreSQL"
                )
        try:
            with translated("open"):
                if not _is_current(engine):
                    _upgrade(engine)
        except BaseException:
            engine.dispose()
            raise
        return cls(engine, now=now)

    def close(self) -> None:
        """Let go of every connection."""
        self._engine.dispose()
        self._hasty.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def is_shared(self) -> bool:
        """Say whether several agents may work on this catalog."""
        return self._engine.dialect.name == "postgresql"

    @contextmanager
    def _writing(self, *, durable: bool = True) -> Iterator[sa.Connection]:
        """Give one transaction that may write. It is committed when the block ends well.

        What is not `durable` may be undone by a power cut (not by a kill), together with all that
        came after it: a lease, whose holder dies with the same machine. It spares a disk flush.
        """
        engine = self._engine if durable else self._hasty
        with self._forgetting_the_server(), translated("write"), engine.begin() as connection:
            yield connection

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with self._forgetting_the_server(), translated("read"), self._reader.begin() as connection:
            yield connection

    @contextmanager
    def _forgetting_the_server(self) -> Iterator[None]:
        """Let the next call connect anew after what may pass.

        A session keeps what it was told when it began. One that was led to a server which is only
        a standby now, or to which no writing was allowed, answers and is of no use for ever.
        """
        try:
            yield
        except CatalogUnavailable:
            self._engine.dispose()
            raise

    def _clock(self, connection: sa.Connection) -> float:
        """Return the database's time in seconds since 1970."""
        return float(connection.execute(_CLOCK[connection.dialect.name]).scalar_one())

    def _insert(self, connection: sa.Connection, table: sa.Table) -> Any:  # noqa: ANN401
        """Return an INSERT that knows ON CONFLICT, which SQLAlchemy has per dialect only."""
        is_postgresql = connection.dialect.name == "postgresql"
        return postgresql.insert(table) if is_postgresql else sqlite.insert(table)

    def _upsert(
        self,
        connection: sa.Connection,
        table: sa.Table,
        rows: Sequence[Mapping[str, Any]],
        *,
        update: Callable[[Any], Mapping[str, Any]] | None,
    ) -> None:
        """Insert rows; where the primary or unique key is taken, update, or keep what is there."""
        if not rows:
            return
        insert = self._insert(connection, table)
        if update is None:
            statement = insert.on_conflict_do_nothing()
        else:
            statement = insert.on_conflict_do_update(
                index_elements=_key_of(table), set_=update(insert.excluded)
            )
        if connection.dialect.name == "postgresql":
            # Only with RETURNING does SQLAlchemy put many rows into one statement here, too.
            statement = statement.returning(sa.literal(1))
        connection.execute(statement, list(rows))

    def _append(
        self,
        connection: sa.Connection,
        kind: str,
        *,
        at: dt.datetime | None = None,
        source: str,
        study_instance_uid: str = "",
        destination: str = "",
        sop_instance_uid: str = "",
        attempt: int = 0,
        detail: Mapping[str, object] | None = None,
    ) -> None:
        """Append one event to the ledger, in the transaction of what it tells."""
        connection.execute(
            sa.insert(schema.ledger_event),
            {
                "at": at or self._now(),
                "kind": kind,
                "source": source,
                "study_instance_uid": study_instance_uid,
                "destination": destination,
                "sop_instance_uid": sop_instance_uid,
                "attempt": attempt,
                "detail": dict(detail or {}),
            },
        )


def _key_of(table: sa.Table) -> list[str]:
    for constraint in table.constraints:
        if isinstance(constraint, sa.UniqueConstraint):
            return [column.name for column in constraint.columns]
    return [column.name for column in table.primary_key.columns]


def _postgresql_engine(url: sa.URL) -> sa.Engine:
    own_options = url.normalized_query.get("options", ())
    engine = sa.create_engine(
        url.set(drivername="postgresql+psycopg"),
        hide_parameters=True,  # Parameters may be patient data.
        pool_pre_ping=True,
        connect_args={
            **{name: value for name, value in _POSTGRESQL_CLIENT.items() if name not in url.query},
            "options": " ".join([*own_options, *(f"-c {each}" for each in _POSTGRESQL_SESSION)]),
        },
    )
    # Many rows in one INSERT: one message each is three times slower.
    engine.dialect.use_insertmanyvalues_wo_returning = True

    @sa.event.listens_for(engine, "do_executemany")
    def _one_by_one(cursor: Any, statement: str, rows: Any, _context: Any) -> bool:  # noqa: ANN401
        # psycopg would send them as a pipeline. While the server waits for the rest of one it
        # counts as active, and no time-out of its frees the locks of an agent that froze there.
        for row in rows:
            cursor.execute(statement, row)
        return True

    return engine


def _is_current(engine: sa.Engine) -> bool:
    """Say whether the tables are those of this version. An empty database has none."""
    try:
        with engine.connect() as connection:
            held = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
    except (sqlalchemy.exc.OperationalError, sqlalchemy.exc.ProgrammingError):
        return False
    return bool(held == schema.REVISION)


def _upgrade(engine: sa.Engine) -> None:
    # Alembic takes longer to import than most commands to run; it is needed once a version.
    from cloudmig.catalog.migrations import upgrade  # noqa: PLC0415

    upgrade(engine)


def _sqlite_engine(url: sa.URL) -> sa.Engine:
    if not url.database or url.database == ":memory:":
        raise ConfigError("a catalog in memory would not survive", hint="name a file")
    path = Path(url.database)
    try:
        # Answers of the PACS are patient data: nobody else may read the file or its journals.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise CatalogError(
            f"the catalog file cannot be opened: {error.strerror}",
            hint="check that state_dir exists and that cloudmig may write to it",
        ) from error
    return _sqlite_engine_on(url, synchronous="FULL")  # A receipt must survive a power cut.


def _sqlite_engine_on(url: sa.URL, *, synchronous: str) -> sa.Engine:
    engine = sa.create_engine(
        url.set(drivername="sqlite+pysqlite"),
        hide_parameters=True,
        connect_args={"timeout": _BUSY_MAX_S},
    )

    @sa.event.listens_for(engine, "connect")
    def _set_up(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # Transactions begin where we say, as we say.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA cache_size = -32768")
        # Seldom: at the default of 1000 pages every hundredth claim pays for a checkpoint.
        connection.execute("PRAGMA wal_autocheckpoint = 8000")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        # IMMEDIATE: a writer that began by reading could not be told "busy" halfway through.
        reads = connection.get_execution_options().get(_READS)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine
