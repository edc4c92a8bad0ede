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

    May be repeated: studies that wait are decided again, those under way are left alone, and
    those that have grown since they were moved are planned again.
    """
    invocation = Invocation.of(context, config=config, as_json=as_json, log_level=log_level)
    if explain is not None:
        _show_explanation(invocation, invocation.run(lambda: _explain(invocation, explain)))
        return
    result = invocation.run(lambda: _plan(invocation))
    invocation.answer(
        {
            "studies": result.studies,
            "rules": dict(result.by_rule),
            "planned": result.planned,
            "excluded": result.excluded,
            "changed": result.changed,
            "under_way": result.under_way,
            "undecided": result.undecided,
            "grown": result.grown,
        }
    )
    _show(invocation, result)


async def _plan(invocation: Invocation) -> PlanResult:
    from cloudmig.bootstrap import open_catalog_only  # noqa: PLC0415 - `--help` shall be quick
    from cloudmig.pipeline.planning import make_plan  # noqa: PLC0415

    settings = invocation.configuration()
    async with open_catalog_only(settings) as parts:
        invocation.log(parts.pseudonyms)
        return await make_plan(
            parts.catalog,
            settings.rules,
            settings.destinations.keys(),
            today=_today(),
            reporter=parts.reporter,
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


def _show_explanation(invocation: Invocation, explanation: Explanation) -> None:
    decision = explanation.decision
    invocation.answer(
        {
            "rules": [
                {"rule": verdict.rule, "matched": verdict.matched, "why": verdict.why}
                for verdict in explanation.verdicts
            ],
            "decision": None
            if decision is None
            else {
                "rule": decision.rule,
                "keep_on_site": not decision.copies,
                "copies": [
                    {"destination": copy.destination, "storage_class": copy.storage_class or None}
                    for copy in decision.copies
                ],
            },
        }
    )
    for verdict in explanation.verdicts:
        invocation.say(f'{"✓" if verdict.matched else "-"} "{verdict.rule}": {verdict.why}')
    if decision is None:
        invocation.say("No rule matches: the study stays undecided, and the wave cannot close.")
    elif not decision.copies:
        invocation.say(f'It stays on site, excluded by the rule "{decision.rule}".')
    for copy in decision.copies if decision is not None else ():
        of_class = f" as {copy.storage_class}" if copy.storage_class else ""
        invocation.say(f"It is copied to {copy.destination}{of_class}.")


def _show(invocation: Invocation, result: PlanResult) -> None:
    from cloudmig.cli.wording import count_words, table  # noqa: PLC0415

    if invocation.json:
        return
    if not result.studies:
        invocation.say("The catalog holds no studies. Next: cloudmig inventory")
        return
    invocation.console.print(table(["rule", "studies"], result.by_rule.items()))
    invocation.say()
    invocation.say(
        f"{count_words(result.studies, 'study', 'studies')}: {result.planned:,} planned,"
        f" {result.excluded:,} excluded by a named rule, {result.under_way:,} under way or done"
        " and left alone."
    )
    if result.grown:
        invocation.say(
            f"Moved before and grown since, so planned again:"
            f" {count_words(result.grown, 'study', 'studies')}. Only what is new is pulled."
        )
    if result.undecided:
        invocation.say(
            f"! No rule matches {count_words(result.undecided, 'study', 'studies')}: they stay"
            " undecided, and the wave cannot close. Add a rule without conditions at the end."
        )
    invocation.say("Next: cloudmig run" if result.planned else "Next: cloudmig status")
