"""`cloudmig sla`: how fast studies can be read back, against what was promised."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
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

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloudmig.agent.sla.probing import StoreProbe
    from cloudmig.agent.sla.report import RetrievalReport
    from cloudmig.cloud.error_budget import TierStanding
    from cloudmig.cloud.retrieval_samples import RetrievalSample

__all__ = ["app"]

app = typer.Typer(
    help="Measure how fast studies can be read back, and report it.",
    no_args_is_help=False,
    rich_markup_mode=None,
)


@app.command()
def probe(
    context: typer.Context,
    samples: Annotated[
        int | None,
        typer.Option(
            "--samples", min=1, metavar="N", show_default=False,
            help="Studies to read of each tier. Default: as configured.",
        ),
    ] = None,
    seed: Annotated[
        str | None,
        typer.Option(
            "--seed", metavar="TEXT", help="Draw the same studies as with this text before.",
            show_default=False,
        ),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    log_level: LogLevelOption = LogLevel.WARNING,
) -> None:  # fmt: skip
    """Read a sample of studies as a reader would, and hold it against the service levels.

    The sample is stratified by storage tier, age, modality and size. Every byte is compared with
    the manifest. A tier that burns more than its error budget raises an alarm and ends with exit
    code 1; the next probe that is good clears it.
    """
    invocation = Invocation.of(context, config=config, as_json=as_json, log_level=log_level)
    found = invocation.run(lambda: _probe(invocation, samples, seed))
    invocation.answer(document(found))
    if not invocation.json:
        _show(invocation, found)
    if any(each.result.breached for each in found):
        end(ExitCode.QUARANTINE)


async def _probe(invocation: Invocation, samples: int | None, seed: str | None) -> list[StoreProbe]:
    from cloudmig.agent.sla.probing import probe_stores  # noqa: PLC0415
    from cloudmig.bootstrap import open_catalog_only  # noqa: PLC0415 - `--help` shall be quick
    from cloudmig.cli.progress import PassingBar  # noqa: PLC0415

    async with open_catalog_only(invocation.configuration()) as parts:
        invocation.log(parts.pseudonyms)
        with PassingBar(invocation, "looking through the catalog") as bar:

            def count(sample: RetrievalSample) -> None:
                if sample.how == "bucket":
                    bar.advance()

            return await probe_stores(
                parts,
                samples=samples,
                seed=seed,
                on_drawn=partial(bar.begin, "reading studies"),
                on_sample=count,
            )


@app.command()
def report(
    context: typer.Context,
    days: Annotated[
        int, typer.Option("--days", min=1, metavar="N", help="Samples of so many days.")
    ] = 30,
    samples_from: Annotated[
        list[Path] | None,
        typer.Option(
            "--from", metavar="FOLDER", exists=True, file_okay=False,
            help="Also the samples in this folder: what functions kept in their bucket, below"
            " samples/ and restores/. May be given several times.",
            show_default=False,
        ),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    log_level: LogLevelOption = LogLevel.WARNING,
) -> None:  # fmt: skip
    """Write a page of latencies by tier over time, budgets burnt, worst studies and restores."""
    invocation = Invocation.of(context, config=config, as_json=as_json, log_level=log_level)
    made = invocation.run(lambda: _report(invocation, days, samples_from or []))
    invocation.answer(made.document())
    if invocation.json:
        return
    for history in made.histories:
        show_tiers(invocation, history.store, list(history.tiers.values()))
    if not made.histories:
        invocation.say("No sample was taken in these days. Next: cloudmig sla probe")
    for store, tiers in made.alarms.items():
        for tier, since in tiers.items():
            invocation.say(f"Alarm: {store} {tier} since {since}")
    invocation.say(f"Report: {made.path}")


async def _report(
    invocation: Invocation, days: int, samples_from: Sequence[Path]
) -> RetrievalReport:
    from cloudmig.agent.sla.report import make_report  # noqa: PLC0415 - `--help` shall be quick
    from cloudmig.bootstrap import open_catalog_only  # noqa: PLC0415

    async with open_catalog_only(invocation.configuration()) as parts:
        invocation.log(parts.pseudonyms)
        return await make_report(parts, days=days, more=samples_from)


def document(found: Sequence[StoreProbe]) -> dict[str, object]:
    """Return the JSON shape."""
    return {
        "breached": any(each.result.breached for each in found),
        "destinations": {each.destination: each.result.document() for each in found},
        "changes": [
            {
                "event": "sla_breached" if change.breached else "sla_recovered",
                "destination": change.destination,
                "tier": change.tier,
                "burnt": change.burnt,
            }
            for each in found
            for change in each.changes
        ],
    }


def _show(invocation: Invocation, found: Sequence[StoreProbe]) -> None:
    for each in found:
        if not each.result.samples:
            invocation.say(f"{each.destination} holds no copy yet. Next: cloudmig run")
            continue
        show_tiers(invocation, each.destination, list(each.result.tiers.values()))
        for line in trouble_words(each.result.samples):
            invocation.say(f"  {line}")
        if each.result.left_out:
            invocation.say(f"  {each.result.left_out:,} studies were left out for want of time.")
        for change in each.changes:
            what = "breaches its service level" if change.breached else "keeps its level again"
            invocation.say(f"{change.destination} {change.tier} {what}.")
    if any(each.result.samples for each in found):
        invocation.say("Next: cloudmig sla report")


def trouble_words(samples: Sequence[RetrievalSample]) -> list[str]:
    """Return why studies were not read, or not right: causes are codes and names, no texts."""
    from cloudmig.cli.wording import count_words  # noqa: PLC0415

    meanings = {"failed": "could not be read", "wrong": "came back wrong"}
    counts = Counter(
        (each.tier, each.outcome, each.cause) for each in samples if each.outcome in meanings
    )
    return [
        f"{tier}: {count_words(count, 'study', 'studies')} {meanings[outcome]} ({cause})"
        for (tier, outcome, cause), count in sorted(counts.items())
    ]


def show_tiers(invocation: Invocation, store: str, tiers: Sequence[TierStanding]) -> None:
    """Show what each tier burnt, and below it how long reading took; both fit on 80 columns."""
    from cloudmig.agent.sla.pictures import seconds_words  # noqa: PLC0415
    from cloudmig.cli.wording import table  # noqa: PLC0415

    measures = {
        "first_byte_s": "first byte",
        "first_instance_s": "first image",
        "study_s": "whole study",
    }
    budgets = [[each.tier, each.samples, each.missed, f"{each.burnt:.0%}"] for each in tiers]
    times = []
    for each in tiers:
        tier = each.tier
        for measure, name in measures.items():
            if (found := each.percentiles.get(measure)) is not None:
                values = (found.p50, found.p95, found.p99)
                times.append([tier, name, *map(seconds_words, values)])
                tier = ""  # Once is enough.
    invocation.say(store)
    invocation.console.print(table(["tier", "studies", "missed", "burnt"], budgets))
    if times:
        invocation.console.print(table(["tier", "time until", "p50", "p95", "p99"], times))
