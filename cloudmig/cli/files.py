"""`cloudmig files`: what lies in a folder, by name."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cloudmig.cli.invocation import (
    ConfigOption,
    Invocation,
    JsonOption,
    LogLevel,
    LogLevelOption,
)

if TYPE_CHECKING:
    from cloudmig.sources.directory.naming import NamedEntry

__all__ = ["files"]


def files(
    context: typer.Context,
    source: Annotated[
        list[str] | None,
        typer.Option(
            "--source",
            metavar="NAME",
            help="Only this source; may be repeated.",
            show_default=False,
        ),
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            "--kind",
            metavar="KIND",
            help="Only this kind, such as unreadable, duplicate or missing; may be repeated."
            " Default: every kind but instance and agrees.",
            show_default=False,
        ),
    ] = None,
    csv_file: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", help="Write CSV to this file.", show_default=False),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    log_level: LogLevelOption = LogLevel.WARNING,
) -> None:
    """Name the files of a directory source that are no plain instance, and rows that do not agree.

    What the last inventory found: broken files, duplicates, what is no DICOM; rows of a listing or
    records of a DICOMDIR that are missing, double, bad or disagree (with the fields). With --json,
    one object a line. Names of files may be names of patients: this command prints them.
    """
    invocation = Invocation.of(context, config=config, as_json=as_json, log_level=log_level)
    entries = _entries(invocation, source or [], kind or [])
    if csv_file is not None:
        number = _write(csv_file, entries)
        invocation.answer({"written": number})
        invocation.say(f"{number:,} written to {csv_file}. Keep it as you keep patient data.")
        return
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal need not have the letters of every name.
        sys.stdout.reconfigure(errors="backslashreplace")
    for name, entry in entries:
        if invocation.json:
            told = {"source": name, **asdict(entry)}
            sys.stdout.write(json.dumps(told) + "\n")
        else:
            sys.stdout.write(_line(name, entry) + "\n")


def _entries(
    invocation: Invocation, only: list[str], kinds: list[str]
) -> Iterator[tuple[str, NamedEntry]]:
    from cloudmig.bootstrap.directory_source import (  # noqa: PLC0415 - `--help` shall be quick
        opened_index,
    )
    from cloudmig.cli.choosing import chosen_sources  # noqa: PLC0415
    from cloudmig.config import DirectorySettings  # noqa: PLC0415
    from cloudmig.errors import ConfigError  # noqa: PLC0415
    from cloudmig.sources.directory.naming import KINDS, NOTABLE, named_entries  # noqa: PLC0415

    if unknown := set(kinds) - set(KINDS):
        raise ConfigError(
            f"there is no kind {', '.join(sorted(unknown))}", hint=f"Kinds: {', '.join(KINDS)}."
        )
    settings = invocation.configuration()
    folders = [
        name
        for name in chosen_sources(settings, only)
        if isinstance(settings.sources[name], DirectorySettings)
    ]
    if not folders:
        raise ConfigError("no source is a folder of files", hint='It has url = "file:///..."')
    for name in folders:
        with opened_index(settings, name) as index:
            for entry in named_entries(index, frozenset(kinds) or NOTABLE):
                yield name, entry


def _line(source: str, entry: NamedEntry) -> str:
    of = "" if entry.account in {"files", "notes"} else f" {entry.account} {entry.line}"
    detail = f"  ({entry.detail})" if entry.detail else ""
    return f"{source}  {entry.kind}{of}  {entry.path}{detail}"


def _write(path: Path, entries: Iterator[tuple[str, NamedEntry]]) -> int:
    from cloudmig.errors import ConfigError  # noqa: PLC0415
    from cloudmig.sources.directory.naming import NamedEntry  # noqa: PLC0415

    number = 0
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            path.chmod(0o600)
            writer = csv.writer(file)
            writer.writerow(["source", *NamedEntry.__dataclass_fields__])
            for number, (name, entry) in enumerate(entries, 1):  # noqa: B007 - counted on
                writer.writerow([name, *asdict(entry).values()])
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}", hint="") from error
    return number
