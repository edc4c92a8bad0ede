"""`cloudmig`: the commands together, and how every error reaches a person or a program."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import json
import os
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from cloudmig import __version__
from cloudmig.cli import (
    close,
    copy,
    demo,
    doctor,
    files,
    give_up,
    init,
    inventory,
    plan,
    quarantine,
    reconcile,
    run_migration,
    sla,
    status,
    verdicts,
    verify,
)
from cloudmig.cli.invocation import ConfigOption, ExitCode
from cloudmig.cli.streams import prepare_streams
from cloudmig.errors import CloudmigError, ConfigError

__all__ = ["app", "run"]

_EXIT_CODES = """
Exit codes: 0 done, 1 done with something in quarantine, 2 configuration, 3 halted, 130 stopped by
a person.
"""

app = typer.Typer(
    name="cloudmig",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_EXIT_CODES,
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"cloudmig {__version__}\n")
        raise typer.Exit


@app.callback()
def cloudmig(
    config: ConfigOption = None,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", is_eager=True, callback=_tell_version
        ),
    ] = False,
) -> None:
    """Move medical images out of a legacy PACS into object storage, complete and proven.

    In this order: init, doctor, inventory, plan, run, verify, close. Every step can be stopped and
    repeated; nothing is ever deleted from the PACS.
    """


app.command("init", short_help="Write a first cloudmig.toml.")(init.init)
app.command("doctor", short_help="Name every problem at once, with hints.")(doctor.doctor)
app.command("inventory", short_help="Ask every source what it holds.")(inventory.inventory)
app.command("files", short_help="Name the files of a folder that are no plain instance.")(
    files.files
)
app.command("plan", short_help="Decide by the rules what is copied where.")(plan.plan)
app.command("run", short_help="Move what is planned.")(run_migration.run_migration)
app.command("copy", short_help="Make a copy from another copy, without the PACS.")(copy.copy)
app.command("status", short_help="Show where everything stands.")(status.status)
app.add_typer(
    quarantine.app, name="quarantine", short_help="List, show, release what waits for a person."
)
app.command("verify", short_help="Read the copies back and compare.")(verify.verify)
app.command("give-up", short_help="Say that a destination is gone for good.")(give_up.give_up)
app.command("reconcile", short_help="Compare a bucket's inventory with the manifests.")(
    reconcile.reconcile
)
app.command("verdicts", short_help="Collect what the cloud side found.")(verdicts.verdicts)
app.add_typer(sla.app, name="sla", short_help="Measure how fast studies can be read back.")
app.command("close", short_help="Write the closing statement, or say what is open.")(close.close)
app.command("demo", short_help="Try it all on this machine, with made-up studies.")(demo.demo)


def run(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and leave the process with its exit code."""
    prepare_streams()
    # pydicom imports numpy where it finds it, for pixels. No command decodes any, and importing
    # it costs more than most commands do.
    sys.modules.setdefault("numpy", None)  # type: ignore[arg-type]
    # What is imported, 240,000 objects for a PACS and a bucket, stays for ever: looking through it
    # again and again is a tenth of the start.
    gc.set_threshold(300_000, 20, 20)
    # obstore's own threads: as many as cores cost a fifth more CPU per small object, measured.
    os.environ.setdefault("TOKIO_WORKER_THREADS", str(max(1, (os.cpu_count() or 1) // 2)))
    code = _run(list(sys.argv[1:] if arguments is None else arguments))
    try:
        sys.stdout.flush()
    except OSError:
        # Else Python tries once more at its end, and makes 120 of the code.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    as_json = "--json" in arguments
    try:
        ended = app(args=arguments or ["--help"], prog_name="cloudmig", standalone_mode=False)
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001 - this is where every error ends
        return _end_of(as_json, error)
    return ended if isinstance(ended, int) else ExitCode.DONE


def _end_of(as_json: bool, error: BaseException) -> int:  # noqa: PLR0911 - a table
    """Tell a person or a program what happened, and return the exit code."""
    match error:
        case typer.Exit():
            return error.exit_code
        case typer.TyperException():
            asked = getattr(error, "ctx", None)
            hint = f"See `{asked.command_path if asked else 'cloudmig'} --help`."
            return _tell(
                as_json, "UsageError", error.format_message(), hint, ExitCode.CONFIGURATION
            )
        case CloudmigError():
            code = ExitCode.CONFIGURATION if isinstance(error, ConfigError) else ExitCode.HALTED
            return _tell(as_json, type(error).__name__, str(error), error.hint, code)
        case KeyboardInterrupt() | typer.Abort() | asyncio.CancelledError():
            hint = "Give the same command again: it goes on, and nothing is lost."
            return _tell(as_json, "Stopped", "stopped", hint, ExitCode.STOPPED)
        case BrokenPipeError() | SystemExit(__context__=BrokenPipeError()):
            # Whoever read our output went away, perhaps in mid-run. Rich and Typer make it a 1.
            return ExitCode.STOPPED
        case OSError(errno=errno.ENOSPC | errno.EDQUOT | errno.EFBIG | errno.EIO):
            message = f"the output cannot be written: {error.strerror}"
            hint = "Free space where it goes, and run the command again: nothing is lost."
            return _tell(as_json, "OutputError", message, hint, ExitCode.HALTED)
        case BaseExceptionGroup() if error.split(CloudmigError)[1] is None:
            return _end_of(as_json, _first(error))
        case SystemExit() | GeneratorExit():
            raise error
        case _:
            return _tell_bug(as_json, error)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


def _tell(as_json: bool, kind: str, message: str, hint: str, code: int) -> int:
    if as_json:
        problem = {"kind": kind, "message": message, "hint": hint}
        document = {"event": "error", "error": problem, "exit_code": int(code)}
        with contextlib.suppress(OSError):  # Then a person is told.
            sys.stdout.write(json.dumps(document) + "\n")
            sys.stdout.flush()
            return int(code)
    lines = [f"cloudmig: {message}"]
    if hint:
        lines.append(f"  What to do: {hint}")
    sys.stderr.write("\n".join(lines) + "\n")
    return int(code)


def _tell_bug(as_json: bool, error: BaseException) -> int:
    from cloudmig.telemetry import traceback_text  # noqa: PLC0415 - `--help` shall be quick

    sys.stderr.write(traceback_text(error) + "\n")
    hint = (
        "Nothing is lost: run the command again. Please report the lines above; they hold no"
        " patient data."
    )
    name = type(error).__name__
    return _tell(as_json, name, f"a bug in cloudmig ({name})", hint, ExitCode.HALTED)
