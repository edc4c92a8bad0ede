"""`cloudmig demo`: a whole migration on this machine in a minute."""

from __future__ import annotations

from typing import Annotated

import typer

from cloudmig.cli.invocation import Invocation, JsonOption, LogLevel, LogLevelOption

__all__ = ["demo"]


def demo(
    context: typer.Context,
    studies: Annotated[
        int, typer.Option("--studies", metavar="N", min=10, help="How many are made.")
    ] = 60,
    as_json: JsonOption = False,
    log_level: LogLevelOption = LogLevel.WARNING,
) -> None:
    """Migrate made-up studies from a scripted PACS into a local bucket, killed in the middle.

    Needs nothing but the package: the PACS has a silent result limit, a missing instance and a
    conflicting SOP Instance UID; the bucket is a moto server. Everything is on 127.0.0.1.
    """
    invocation = Invocation.of(context, config=None, as_json=as_json, log_level=log_level)
    invocation.log()

    from cloudmig.demo.story import run_demo  # noqa: PLC0415 - `--help` shall be quick

    raise typer.Exit(run_demo(studies=studies, as_json=as_json))
