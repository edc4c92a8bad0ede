"""`cloudmig run`: move what is planned."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from cloudmig.cli.invocation import (
    ConfigOption,
    ExitCode,
    Invocation,
    JsonOption,
    LogLevel,
    LogLevelOption,
    end,
)
from cloudmig.cli.stopping import stopping

if TYPE_CHECKING:
    from cloudmig.agent.service import RunSummary
    from cloudmig.bootstrap import Parts
    from cloudmig.config import Configuration
    from cloudmig.telemetry import Reporter

__all__ = ["reporting", "run_migration"]


def run_migration(
    context: typer.Context,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    log_level: LogLevelOption = LogLevel.WARNING,
) -> None:
    """Move every planned study to its destinations, until none is left.

    Shows progress on a terminal and JSON lines elsewhere. Ctrl-C once finishes or puts back what is
    under way; twice kills at once. Either way, and after a crash too, the next run goes on. Ends
    with 1 while anything waits for a person, also since an earlier run.
    """
    invocation = Invocation.of(context, config=config, as_json=as_json, log_level=log_level)
    stopped, summary = invocation.run(lambda: _move(invocation))
    _tell(invocation, summary, stopped=stopped)
    if summary.halted:
        end(ExitCode.HALTED)
    if stopped:
        end(ExitCode.STOPPED)
    if summary.waiting:
        end(ExitCode.QUARANTINE)


async def _move(invocation: Invocation) -> tuple[bool, RunSummary]:
    from cloudmig.agent.rounds import opened  # noqa: PLC0415 - `--help` shall be quick
    from cloudmig.agent.service import run_agent  # noqa: PLC0415 - `--help` shall be quick
    from cloudmig.bootstrap import open_agent  # noqa: PLC0415

    settings = invocation.configuration()
    stop = asyncio.Event()
    with (
        reporting(invocation, settings) as reporter,
        stopping(stop, tell=lambda: reporter.event("run.stopping")),
    ):
        async with opened(open_agent, settings, reporter, stop) as parts:
            invocation.log(parts.pseudonyms)
            await _watch(parts, reporter)
            summary = await run_agent(parts, stop=stop)
    return stop.is_set(), summary


async def _watch(parts: Parts, reporter: Reporter) -> None:
    """Tell the progress display what to show, where there is one."""
    from cloudmig.catalog.catalog import Catalog  # noqa: PLC0415
    from cloudmig.cli.progress import ProgressReporter  # noqa: PLC0415
    from cloudmig.model.states import TransferState  # noqa: PLC0415

    if isinstance(reporter, ProgressReporter):
        counts = await parts.catalog.call(Catalog.status_counts)
        waiting = (TransferState.PLANNED, TransferState.MOVING)
        planned = sum(
            states.get(state, 0) for states in counts.transfers.values() for state in waiting
        )
        reporter.watch(parts.counters, studies_planned=planned)


@contextmanager
def reporting(invocation: Invocation, settings: Configuration) -> Iterator[Reporter]:
    """Choose what hears of progress: bars for a person, lines for a program."""
    from cloudmig.telemetry import JsonLinesReporter, Pseudonyms  # noqa: PLC0415

    if invocation.json or not sys.stdout.isatty():
        yield JsonLinesReporter(Pseudonyms.from_state_dir(settings.agent.state_dir))
        return
    from cloudmig.cli.progress import ProgressReporter  # noqa: PLC0415

    with ProgressReporter(invocation.console) as reporter:
        yield reporter


def _tell(invocation: Invocation, summary: RunSummary, *, stopped: bool) -> None:
    if invocation.json or not sys.stdout.isatty():
        return  # `run.finished` was the last line.
    from cloudmig.cli.wording import bytes_words, count_words, duration_words  # noqa: PLC0415

    invocation.say(
        f"{'Stopped' if stopped else 'Done'}:"
        f" {count_words(summary.studies_stored, 'study', 'studies')},"
        f" {count_words(summary.instances_stored, 'instance')},"
        f" {bytes_words(summary.bytes_stored)} in {duration_words(summary.duration_s)}."
    )
    if summary.quarantined:
        studies = count_words(summary.quarantined, "study", "studies")
        invocation.say(f"{studies} went into quarantine.")
    if summary.waiting:
        findings = count_words(summary.waiting, "finding waits", "findings wait")
        invocation.say(f"{findings} for a person: cloudmig quarantine list")
    if summary.halted:
        invocation.say(f"Halted: {summary.halted}")
        if summary.hint:
            invocation.say(f"  What to do: {summary.hint}")
        invocation.say("Nothing is lost. Next: cloudmig doctor, then cloudmig run goes on.")
    elif stopped:
        invocation.say("Next: cloudmig run goes on where this one stopped.")
    elif summary.catalog_is_empty:
        invocation.say("The catalog holds no studies. Next: cloudmig inventory")
    elif summary.undecided:
        studies = count_words(summary.undecided, "study is", "studies are")
        invocation.say(f"{studies} not planned. Next: cloudmig plan")
    else:
        invocation.say("Next: cloudmig verify")
