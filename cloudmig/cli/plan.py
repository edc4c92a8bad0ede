"""`cloudmig plan`: rules become decisions."""

from __future__ import annotations

import datetime as dt
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
    from cloudmig.pipeline.planning import Explanation, PlanResult

__all__ = ["plan"]


def plan(
    context: typer.Context,
    explain: Annotated[
        str | None,
        typer.Option(
            "--explain",
            metavar="STUDY",
            help="Say what every rule makes of one study, and change nothing."
            " A Study Instance UID or a pseudonym.",
            show_default=False,
        ),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    log_level: LogLevelOption = LogLevel.WARNING,
) -> None:
    """Decide by the [[rules]] which studies are copied where; the first match wins.

    May be repeated: studies that wait are decided again, those under way are left alone.
    """
    invocation = Invocation.of(context, config=config, as_json=as_json, log_level=log_level)
    if explain is not None:
        explanation = invocation.run(lambda: _explain(invocation, explain))
        invocation.answer({"decision": explanation.decision, "rules": list(explanation.lines)})
        for line in (*explanation.lines, f"Decision: {explanation.decision}"):
            invocation.say(line)
        return
    result = invocation.run(lambda: _plan(invocation))
    invocation.answer(
        {"studies": result.studies, "excluded": result.excluded, "rules": dict(result.counts)}
    )
    _show(invocation, result)


async def _plan(invocation: Invocation) -> PlanResult:
    from cloudmig.bootstrap import open_catalog_only  # noqa: PLC0415 - `--help` shall be quick
    from cloudmig.pipeline.planning import make_plan  # noqa: PLC0415

    settings = invocation.configuration()
    async with open_catalog_only(settings) as parts:
        invocation.log(parts.pseudonyms)
        return await make_plan(
            parts.catalog, settings.rules, today=_today(), reporter=parts.reporter
        )


async def _explain(invocation: Invocation, text: str) -> Explanation:
    from cloudmig.bootstrap import open_catalog_only  # noqa: PLC0415
    from cloudmig.cli.looking import look_up_study  # noqa: PLC0415
    from cloudmig.pipeline.planning import explain  # noqa: PLC0415

    settings = invocation.configuration()
    async with open_catalog_only(settings) as parts:
        study = await look_up_study(parts, text)
        return explain(settings.rules, study, _today())


def _today() -> dt.date:
    return dt.datetime.now().astimezone().date()  # The age of a study counts in local days.


def _show(invocation: Invocation, result: PlanResult) -> None:
    from cloudmig.cli.wording import count_words, table  # noqa: PLC0415

    if not result.studies:
        invocation.say("The catalog holds no studies. Next: cloudmig inventory")
        return
    if not invocation.json:
        invocation.console.print(table(["rule", "studies"], result.counts.items()))
    invocation.say(
        f"{count_words(result.studies, 'study', 'studies')}, {result.excluded:,} of them excluded"
        " by a named rule."
    )
    invocation.say("Next: cloudmig run")
