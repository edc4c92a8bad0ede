"""`cloudmig close`: the closing equation, twice, and nothing unexplained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from cloudmig.cli.invocation import (
    ConfigOption,
    Invocation,
    JsonOption,
    LogLevel,
    LogLevelOption,
)

if TYPE_CHECKING:
    from cloudmig.pipeline.closure import ClosingStatement

__all__ = ["close"]


def close(
    context: typer.Context,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    log_level: LogLevelOption = LogLevel.WARNING,
) -> None:
    """Write the closing statement, or refuse and name what is still unexplained.

    inventory = verified + quarantined (with a reason) + excluded (by a named rule), for studies and
    for instances.
    """
    invocation = Invocation.of(context, config=config, as_json=as_json, log_level=log_level)
    statement = invocation.run(lambda: _close(invocation))
    raise NotImplementedError(statement)


async def _close(invocation: Invocation) -> ClosingStatement:
    from cloudmig.bootstrap import open_catalog_only  # noqa: PLC0415 - `--help` shall be quick
    from cloudmig.pipeline.closure import close as close_wave  # noqa: PLC0415

    async with open_catalog_only(invocation.configuration()) as parts:
        invocation.log(parts.pseudonyms)
        return await close_wave(parts)
