"""Migrations of the catalog, run when it is opened."""

from __future__ import annotations

import threading
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from cloudmig.errors import CatalogError

__all__ = ["upgrade"]

#: Two agents that start at once on an empty database take turns. The number is arbitrary.
_ADVISORY_LOCK = 7_226_001
#: Alembic keeps its context in a global, so threads of one process take turns, too.
_ONE_AT_A_TIME = threading.Lock()


def upgrade(engine: sa.Engine) -> None:
    """Bring the tables to the newest revision, in one transaction. Does nothing when they are."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    scripts = ScriptDirectory.from_config(config)
    with _ONE_AT_A_TIME, engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
        current = MigrationContext.configure(connection).get_current_revision()
        if current == scripts.get_current_head():
            return
        try:
            if current is not None:
                scripts.get_revision(current)
        except CommandError as error:
            raise CatalogError(
                "the catalog was made by a newer cloudmig", hint="install that version or a newer"
            ) from error
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
