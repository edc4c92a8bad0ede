"""`cloudmig copy`: make a copy from another copy, without the PACS."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

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
from cloudmig.cli.run_migration import reporting
from cloudmig.cli.stopping import stopping
from cloudmig.errors import ConfigError

if TYPE_CHECKING:
    from cloudmig.agent.copy_choice import CopyForecast
    from cloudmig.agent.copying import CopySummary
    from cloudmig.bootstrap import Parts
    from cloudmig.catalog.copying import CopyOrder
    from cloudmig.config import Configuration
    from cloudmig.model.references import StudyRef

__all__ = ["copy", "finished_document", "forecast_document"]

#: Why a study is not copied, and what a person can do about it.
_SKIPPED = {
    "not verified": ("no verified copy elsewhere", "cloudmig verify, then again"),
    "not byte for byte": (
        "no copy elsewhere that was verified byte for byte",
        "cloudmig run asks the source for those that the plan names",
    ),
    "not configured": (
        "their verified copy lies at a destination that has left the configuration",
        "put it back, then again",
    ),
    "archived": ("their copy lies in an archive class", "restore it, or name another with --from"),
    "incomplete": ("their copy lacks what the source listed", "cloudmig quarantine list"),
    "in quarantine": ("they wait for a person", "cloudmig quarantine list"),
    "not planned": ("not done yet, and their plan does not name it", "cloudmig plan, cloudmig run"),
    "always fails": ("a store failed again and again", "cloudmig doctor, then again"),
    "there already": ("they have that copy", ""),
}


ToOption = Annotated[
    str, typer.Option("--to", metavar="DESTINATION", help="Where the copies are made.")
]
FromOption = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="DESTINATION",
        help="Only from there. Default: any verified copy that can be read.",
        show_default=False,
    ),
]
SourceOption = Annotated[
    list[str] | None,
    typer.Option("--source", metavar="NAME", help="Only studies of this source; repeatable."),
]
StudyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--study",
        metavar="UID",
        help="Only this study, by UID or pseudonym, whatever its rule says; repeatable.",
    ),
]
AllOption = Annotated[
    bool,
    typer.Option(
        "--all",
        help="Studies that are done get the copy even if their rule does not name it.",
        show_default=False,
    ),
]


def copy(
    context: typer.Context,
    to: ToOption,
    origin: FromOption = None,
    source: SourceOption = None,
    study: StudyOption = None,
    every: AllOption = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be copied.", show_default=False)
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    log_level: LogLevelOption = LogLevel.WARNING,
) -> None:
    """Make the copies at one destination from verified copies at others; the PACS is not asked.

    Takes studies whose planned copy there is not made, and those that are done and whose rule names
    the destination now: their copy is planned with it. What differs from its manifest is not
    copied: it is named, and repaired by the next `cloudmig run`.

    Can be stopped and repeated as `cloudmig run` can. The new copies wait for `cloudmig verify`.
    """
    invocation = Invocation.of(context, config=config, as_json=as_json, log_level=log_level)
    settings = invocation.configuration()
    order = _order(settings, to, origin, source or (), every=every)
    if dry_run:
        forecast = invocation.run(lambda: _forecast(invocation, settings, order, study or ()))
        invocation.answer(forecast_document(to, forecast))
        _show_forecast(invocation, to, forecast)
        _show_rules(invocation, settings, to)
        return
    stopped, summary = invocation.run(lambda: _copy(invocation, settings, order, study or ()))
    _tell(invocation, to, summary, stopped=stopped)
    if sys.stdout.isatty():
        _show_rules(invocation, settings, to)
    if summary.halted:
        end(ExitCode.HALTED)
    if stopped:
        end(ExitCode.STOPPED)
    left = bool(study) and any(why != "there already" for why in summary.skipped)
    if summary.quarantined or summary.damaged or left:
        end(ExitCode.QUARANTINE)


def _order(
    settings: Configuration, to: str, origin: str | None, only: Sequence[str], *, every: bool
) -> CopyOrder:
    from cloudmig.catalog.copying import CopyOrder  # noqa: PLC0415 - `--help` shall be quick
    from cloudmig.cli.choosing import (  # noqa: PLC0415
        chosen_sources,
        refuse_unknown_destination,
    )

    for name in (to, origin):
        refuse_unknown_destination(settings, name)
    if to == origin:
        raise ConfigError("a copy is not made from itself", hint="Name another with --from.")
    naming = tuple(rule.name for rule in settings.rules if to in rule.copy_to)
    return CopyOrder(
        tuple(chosen_sources(settings, only)), to, origin, rules=None if every else naming
    )


async def _named(parts: Parts, texts: Sequence[str]) -> list[tuple[str, StudyRef]] | None:
    """Return the studies that a person named, None where all are meant."""
    from cloudmig.cli.looking import look_up_study  # noqa: PLC0415

    found = [await look_up_study(parts, text) for text in texts]
    return [(each.source, each.study) for each in found] or None


async def _forecast(
    invocation: Invocation, settings: Configuration, order: CopyOrder, texts: Sequence[str]
) -> CopyForecast:
    from cloudmig.agent.copy_choice import forecast_copies  # noqa: PLC0415
    from cloudmig.bootstrap import open_catalog_only  # noqa: PLC0415

    async with open_catalog_only(settings) as parts:
        invocation.log(parts.pseudonyms)
        return await forecast_copies(parts, order, await _named(parts, texts))


async def _copy(
    invocation: Invocation, settings: Configuration, order: CopyOrder, texts: Sequence[str]
) -> tuple[bool, CopySummary]:
    from cloudmig.agent.copy_choice import forecast_copies  # noqa: PLC0415
    from cloudmig.agent.copying import copy_studies  # noqa: PLC0415
    from cloudmig.agent.rounds import opened  # noqa: PLC0415
    from cloudmig.bootstrap import open_copies  # noqa: PLC0415
    from cloudmig.cli.progress import ProgressReporter  # noqa: PLC0415

    stop = asyncio.Event()
    with (
        reporting(invocation, settings) as reporter,
        stopping(stop, tell=lambda: reporter.event("run.stopping")),
    ):
        async with opened(open_copies, settings, reporter, stop) as parts:
            invocation.log(parts.pseudonyms)
            studies = await _named(parts, texts)
            forecast = await forecast_copies(parts, order, studies)
            assert order.destination is not None
            reporter.event("copy.started", **forecast_document(order.destination, forecast))
            if isinstance(reporter, ProgressReporter):
                reporter.watch(parts.counters, studies_planned=forecast.studies)
            summary = await copy_studies(parts, order, studies, stop=stop)
            stopped = stop.is_set()
            reporter.event(
                "copy.finished",
                **finished_document(order.destination, summary),
                stopped=stopped,
            )
    return stopped, summary


def forecast_document(to: str, forecast: CopyForecast) -> dict[str, object]:
    """Return the JSON shape of what would be copied."""
    return {
        "to": to,
        "studies": forecast.studies,
        "instances": forecast.instances,
        "bytes": forecast.bytes,
        "planned": forecast.planned,
        "from": dict(forecast.origins),
        "skipped": dict(forecast.skipped),
    }


def finished_document(to: str, summary: CopySummary) -> dict[str, object]:
    """Return the JSON shape of what was copied."""
    return {
        "to": to,
        "studies_copied": summary.studies_copied,
        "instances_stored": summary.instances_stored,
        "bytes_stored": summary.bytes_stored,
        "from": dict(summary.origins),
        "studies_quarantined": summary.quarantined,
        "copies_damaged": len(summary.damaged),
        "skipped": dict(summary.skipped),
        "duration_s": round(summary.duration_s, 3),
        "halted": summary.halted,
        "hint": summary.hint,
    }


def _show_forecast(invocation: Invocation, to: str, forecast: CopyForecast) -> None:
    from cloudmig.cli.wording import bytes_words, count_words  # noqa: PLC0415

    invocation.say(
        f"To {to}: {count_words(forecast.studies, 'study', 'studies')},"
        f" {count_words(forecast.instances, 'instance')}, {bytes_words(forecast.bytes)}."
    )
    for origin, number in forecast.origins.items():
        invocation.say(f"  from {origin}: {count_words(number, 'study', 'studies')}")
    new = forecast.studies - forecast.planned
    if new:
        invocation.say(f"  {new:,} of them are done; their copy at {to} is planned with it")
    _show_skipped(invocation, forecast.skipped)
    if forecast.studies:
        invocation.say("Nothing was copied. Next: the same without --dry-run")


def _show_rules(invocation: Invocation, settings: Configuration, to: str) -> None:
    """Say that a later plan knows nothing of copies that no rule names."""
    if not any(to in rule.copy_to for rule in settings.rules):
        invocation.say(
            f"No rule names {to}: put it into copy_to, or the next cloudmig plan takes it out of"
            " the plan of studies that are not done."
        )


def _show_skipped(invocation: Invocation, skipped: Mapping[str, int]) -> None:
    from cloudmig.cli.wording import count_words  # noqa: PLC0415

    for why, number in skipped.items():
        reason, hint = _SKIPPED[why]
        invocation.say(
            f"  not copied: {count_words(number, 'study', 'studies')}, {reason}"
            + (f" (next: {hint})" if hint else "")
        )


def _tell(invocation: Invocation, to: str, summary: CopySummary, *, stopped: bool) -> None:
    if invocation.json or not sys.stdout.isatty():
        return  # `copy.finished` was the last line.
    from cloudmig.cli.wording import bytes_words, count_words, duration_words  # noqa: PLC0415

    invocation.say(
        f"{'Stopped' if stopped else 'Done'}: to {to}"
        f" {count_words(summary.studies_copied, 'study', 'studies')},"
        f" {count_words(summary.instances_stored, 'instance')},"
        f" {bytes_words(summary.bytes_stored)} in {duration_words(summary.duration_s)}."
    )
    _show_skipped(invocation, summary.skipped)
    if summary.damaged:
        invocation.say(
            f"{count_words(len(summary.damaged), 'copy', 'copies')} to copy from did not agree with"
            " the manifest; nothing of that was copied. Next: cloudmig run repairs them."
        )
    if summary.quarantined:
        invocation.say(
            f"{count_words(summary.quarantined, 'study waits', 'studies wait')} for a person:"
            " cloudmig quarantine list"
        )
    if summary.halted:
        invocation.say(f"Halted: {summary.halted}")
        if summary.hint:
            invocation.say(f"  What to do: {summary.hint}")
        invocation.say("Nothing is lost. Next: cloudmig doctor, then the same again.")
    elif stopped:
        invocation.say("Next: the same again goes on where this stopped.")
    elif summary.studies_copied:
        invocation.say("Next: cloudmig verify")
