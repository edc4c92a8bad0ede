"""`cloudmig give-up`: a destination, and all that lay there, is gone for good."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cloudmig.cli.invocation import (
    ConfigOption,
    ExitCode,
    Invocation,
    JsonOption,
    LogLevel,
    LogLevelOption,
    NoteOption,
    end,
)
from cloudmig.errors import ConfigError

if TYPE_CHECKING:
    from cloudmig.agent.giving_up import GivingUpSummary
    from cloudmig.catalog.giving_up import GivingUp
    from cloudmig.config import Configuration

__all__ = ["document", "give_up"]


def give_up(
    context: typer.Context,
    destination: Annotated[
        str, typer.Argument(metavar="DESTINATION", help="What has left the configuration.")
    ],
    note: NoteOption = "",
    instead: Annotated[
        str | None,
        typer.Option(
            "--instead",
            metavar="DESTINATION",
            help="Plan a copy there for studies that have no other; the source is asked for them.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Only say what would become of its copies.", show_default=False
        ),
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    log_level: LogLevelOption = LogLevel.WARNING,
) -> None:
    """Take the copies of a destination that is gone for good out of every plan.

    Take it out of the configuration first. Nothing is deleted anywhere, and the ledger keeps what
    each copy was. A study keeps its other copies, and is judged by them. One that has no other
    keeps this one until --instead says where else it goes.
    """
    invocation = Invocation.of(context, config=config, as_json=as_json, log_level=log_level)
    word = _word(invocation.configuration(), destination, note, instead, dry_run=dry_run)
    summary = invocation.run(lambda: _give_up(invocation, word))
    invocation.answer(document(word, summary))
    _show(invocation, word, summary)
    if summary.left:
        end(ExitCode.QUARANTINE)


def _word(
    settings: Configuration, destination: str, note: str, instead: str | None, *, dry_run: bool
) -> GivingUp:
    from cloudmig.catalog.giving_up import GivingUp  # noqa: PLC0415 - `--help` shall be quick
    from cloudmig.cli.choosing import refuse_unknown_destination  # noqa: PLC0415

    if not note and not dry_run:
        raise typer.BadParameter("--note is wanted: why it is gone, for the ledger")
    if destination in settings.destinations:
        raise ConfigError(
            f"{destination} is configured: new copies would be planned there",
            hint=f"If it is gone for good, take [destinations.{destination}] out of the"
            " configuration, and out of copy_to of the rules. If it comes back, wait: its copies"
            " are made then.",
        )
    refuse_unknown_destination(settings, instead)
    classes = {
        rule.name: rule.storage_class or "" for rule in settings.rules if instead in rule.copy_to
    }
    return GivingUp(destination, note, instead, classes, dry_run)


async def _give_up(invocation: Invocation, word: GivingUp) -> GivingUpSummary:
    from cloudmig.agent.giving_up import give_up as work  # noqa: PLC0415
    from cloudmig.bootstrap import open_catalog_only  # noqa: PLC0415

    async with open_catalog_only(invocation.configuration()) as parts:
        invocation.log(parts.pseudonyms)
        return await work(parts, word)


def document(word: GivingUp, summary: GivingUpSummary) -> dict[str, object]:
    """Return the JSON shape."""
    from cloudmig.catalog.giving_up import Fate  # noqa: PLC0415

    return {
        "destination": word.destination,
        "dry_run": word.dry_run,
        "copies": summary.fates.total(),
        "given_up": summary.fates[Fate.OTHERS] + summary.fates[Fate.INSTEAD],
        "instead": {word.instead: summary.fates[Fate.INSTEAD]} if word.instead else {},
        "only_copies": summary.fates[Fate.ONLY_COPY],
        "under_way": summary.fates[Fate.UNDER_WAY],
        "objects_settled": summary.objects_settled,
    }


def _show(invocation: Invocation, word: GivingUp, summary: GivingUpSummary) -> None:
    from cloudmig.catalog.giving_up import Fate  # noqa: PLC0415
    from cloudmig.cli.wording import count_words  # noqa: PLC0415

    if invocation.json:
        return

    def studies(number: int) -> str:
        return count_words(number, "study", "studies")

    fates = summary.fates
    invocation.say(f"At {word.destination}: copies of {studies(fates.total())}.")
    if fates[Fate.OTHERS]:
        invocation.say(f"  given up: {studies(fates[Fate.OTHERS])} with other copies")
    if fates[Fate.INSTEAD]:
        invocation.say(
            f"  planned at {word.instead} instead: {studies(fates[Fate.INSTEAD])} without another"
        )
    if fates[Fate.ONLY_COPY]:
        invocation.say(
            f"  left as they are: {studies(fates[Fate.ONLY_COPY])} without another copy"
            " (--instead NAME plans one there, and the source is asked for it)"
        )
    if fates[Fate.UNDER_WAY]:
        invocation.say(
            f"  left as they are: {studies(fates[Fate.UNDER_WAY])} that a run works on"
            " (the same again when it has ended)"
        )
    if summary.objects_settled:
        objects = count_words(summary.objects_settled, "object in no manifest", "objects in no"
                              " manifest")  # fmt: skip
        invocation.say(f"  settled: {objects} there, which waited for a person")
    if word.dry_run:
        invocation.say("Nothing was changed. Next: the same with --note and without --dry-run")
    elif not summary.left:
        invocation.say("Next: cloudmig run, cloudmig verify, then cloudmig close")
