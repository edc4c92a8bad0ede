"""What every command is given, and how it answers: options, exit codes, JSON, the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from cloudmig.config import Configuration
    from cloudmig.telemetry import Pseudonyms

__all__ = [
    "ConfigOption",
    "ExitCode",
    "Invocation",
    "JsonOption",
    "LogLevel",
    "LogLevelOption",
    "NoteOption",
    "end",
]

T = TypeVar("T")


class ExitCode(IntEnum):
    """What a script can tell from a command that ended."""

    DONE = 0
    QUARANTINE = 1  #: Done, and something waits for a person.
    CONFIGURATION = 2
    HALTED = 3
    STOPPED = 130  #: By a person.


class LogLevel(Enum):
    """How much is logged to stderr."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="Configuration file; may also stand before the command."
        " Default: cloudmig.toml in this folder.",
        show_default=False,
        metavar="FILE",
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Answer in JSON on stdout, for programs.", show_default=False)
]
NoteOption = Annotated[
    str,
    typer.Option(
        "--note", metavar="TEXT", help="Why, for the ledger. No patient data.", show_default=False
    ),
]
LogLevelOption = Annotated[
    LogLevel,
    typer.Option(
        "--log-level",
        metavar="LEVEL",
        help="Log to stderr, as JSON lines: debug, info, warning or error and above.",
    ),
]


@dataclass(frozen=True, slots=True)
class Invocation:
    """One call of a command."""

    path: Path
    json: bool
    log_level: LogLevel

    @classmethod
    def of(
        cls, context: typer.Context, *, config: Path | None, as_json: bool, log_level: LogLevel
    ) -> Invocation:
        """Combine the options before the command with its own; its own win."""
        before = context.find_root().params.get("config")
        return cls(config or before or Path("cloudmig.toml"), as_json, log_level)

    def configuration(self) -> Configuration:
        """Read the file and start logging."""
        from cloudmig.config import load  # noqa: PLC0415 - `--help` shall be quick

        configuration = load(self.path)
        self.log()
        return configuration

    def log(self, pseudonyms: Pseudonyms | None = None) -> None:
        """Send log lines to stderr; with the installation's pseudonyms once they are known."""
        from cloudmig.telemetry import set_up_logging  # noqa: PLC0415

        set_up_logging(self.log_level.value, pseudonyms)

    @property
    def console(self) -> Console:
        """The screen, for people."""
        from rich.console import Console  # noqa: PLC0415

        return Console(highlight=False, soft_wrap=True)

    def say(self, text: str = "", *, markup: bool = False) -> None:
        """Print a line for people; silent with --json. Brackets are text unless it is markup."""
        if not self.json:
            self.console.print(text, markup=markup)

    def answer(self, document: Mapping[str, object]) -> None:
        """Print the one JSON document of a command; silent without --json."""
        if self.json:
            sys.stdout.write(json.dumps(document, indent=2, default=str) + "\n")
            sys.stdout.flush()

    @staticmethod
    def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run on an event loop, uvloop's where it is installed."""
        new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
        with contextlib.suppress(ImportError):
            from uvloop import new_event_loop as new_loop  # noqa: PLC0415
        try:
            with asyncio.Runner(loop_factory=new_loop) as runner:
                return runner.run(main())
        except KeyboardInterrupt as error:
            raise typer.Abort from error  # Typer would end with 130 and say nothing.


def end(code: ExitCode) -> None:
    """Leave the command with its exit code."""
    raise typer.Exit(int(code))
