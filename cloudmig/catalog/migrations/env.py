"""Alembic's entry point: runs the migrations on the connection that `upgrade` passes in."""

from __future__ import annotations

from alembic import context

from cloudmig.catalog.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,  # SQLite too: the whole upgrade is one transaction of ours.
)
with context.begin_transaction():
    context.run_migrations()
