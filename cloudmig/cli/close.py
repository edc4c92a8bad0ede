"""`cloudmig close`: the closing equation, twice, and nothing unexplained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

if TYPE_CHECKING:
    from cloudmig.catalog.statement import Equation
    from cloudmig.model.files import FileEquation
    from cloudmig.pipeline.report import ClosingStatement
    from cloudmig.telemetry import Pseudonyms

__all__ = ["close"]


def close(
    context: typer.Context,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    log_level: LogLevelOption = LogLevel.WARNING,
) -> None:
    """Write the closing statement, or refuse and name what is still unexplained.

    inventory = verified + quarantined (with a reason) + excluded (by a named rule), for studies and
    for instances.
    """
    invocation = Invocation.of(context, config=config, as_json=as_json, log_level=log_level)
    closing, pseudonyms = invocation.run(lambda: _close(invocation))
    invocation.answer(document(closing, pseudonyms))
    if not invocation.json:
        _show(invocation, closing, pseudonyms)
    if closing.refused:
        end(ExitCode.HALTED)
    if closing.quarantine:
        end(ExitCode.QUARANTINE)


async def _close(invocation: Invocation) -> tuple[ClosingStatement, Pseudonyms]:
    from cloudmig.bootstrap import open_catalog_only  # noqa: PLC0415 - `--help` shall be quick
    from cloudmig.pipeline.closure import close as close_wave  # noqa: PLC0415

    async with open_catalog_only(invocation.configuration()) as parts:
        invocation.log(parts.pseudonyms)
        return await close_wave(parts), parts.pseudonyms


def document(closing: ClosingStatement, pseudonyms: Pseudonyms) -> dict[str, object]:
    """Return the JSON shape."""
    statement = closing.statement
    return {
        "closed": not closing.refused,
        "studies_signed_off": closing.closed,
        "obstacles": list(closing.obstacles),
        "studies": _equation(statement.studies),
        "instances": _equation(statement.instances),
        "files": files_document(closing.files),
        "disagreements": {name: list(said) for name, said in closing.disagreements.items()},
        "copies_given_up": dict(closing.given_up),
        "verdicts": dict(statement.verdicts),
        "weak_copies": statement.weak_copies,
        "quarantine": dict(statement.quarantine),
        "extra_objects": _extra_objects(closing),
        "excluded_uncounted": statement.excluded_uncounted,
        "quarantined_uncounted": statement.quarantined_uncounted,
        "beyond_inventory": statement.beyond_inventory,
        "unexplained": [
            {
                "source": study.source,
                "study": pseudonyms.of(study.study.study_instance_uid),
                "why": study.why,
                "owed_to": list(study.owed_to),
            }
            for study in closing.unexplained
        ],
        "report": str(closing.report),
    }


def files_document(files: Mapping[str, Sequence[FileEquation]]) -> dict[str, object]:
    """Return the JSON shape of the third equation, by source and account."""
    return {
        source: {
            each.account.value: {
                "holds": each.holds,
                "total": each.total,
                "kinds": dict(each.kinds),
                "waiting": each.waiting,
            }
            for each in equations
        }
        for source, equations in files.items()
    }


def _extra_objects(closing: ClosingStatement) -> int:
    """Return how many objects no manifest names: in quarantine, and in no term of the equation."""
    from cloudmig.model.extra_object import ExtraObject  # noqa: PLC0415

    return len({each.study for each in closing.quarantine if isinstance(each.study, ExtraObject)})


def _equation(equation: Equation) -> dict[str, object]:
    return {
        "holds": equation.holds,
        "inventory": equation.inventory,
        "verified": equation.verified,
        "quarantined": equation.quarantined,
        "excluded": dict(equation.excluded),
        "unexplained": dict(equation.unexplained),
    }


def _show(invocation: Invocation, closing: ClosingStatement, pseudonyms: Pseudonyms) -> None:
    from cloudmig.cli.wording import count_words, table  # noqa: PLC0415

    statement = closing.statement
    invocation.say(equation_words("studies", statement.studies))
    invocation.say(equation_words("instances", statement.instances))
    for remark in closing.remarks:
        invocation.say(f"  {remark}")
    for source, equations in closing.files.items():
        for each in equations:
            invocation.say(f"{source}, {each.words}")
    for rule, number in statement.studies.excluded.items():
        studies = count_words(number, "study", "studies")
        invocation.say(f'  excluded by "{rule}": {studies}')
    for reason, number in statement.quarantine.items():
        invocation.say(f"  in quarantine, {reason}: {count_words(number, 'study', 'studies')}")
    if extras := _extra_objects(closing):
        objects = count_words(extras, "object")
        invocation.say(f"  in quarantine, and no study's: {objects}")
    for how, number in statement.verdicts.items():
        invocation.say(f"  verified by {how}: {count_words(number, 'copy', 'copies')}")
    if statement.weak_copies:
        weak = count_words(statement.weak_copies, "copy is", "copies are")
        invocation.say(f"  {weak} complete only as far as two equal pulls can tell")
    _show_disagreements(invocation, closing)
    invocation.say(f"Report: {closing.report}")
    if not closing.refused:
        signed = count_words(closing.closed, "study", "studies")
        of_what = " of what the sources named" if closing.disagreements else ""
        invocation.say(f"Closed: {signed} signed off, nothing unexplained{of_what}.")
        if closing.quarantine:
            invocation.say("What waits for a person: cloudmig quarantine list")
        return
    invocation.say()
    invocation.say("Not closed:")
    for obstacle in closing.obstacles:
        invocation.say(f"  ! {obstacle}")
    if closing.unexplained:
        rows = [
            [pseudonyms.of(study.study.study_instance_uid), study.source, str(study)]
            for study in closing.unexplained
        ]
        invocation.console.print(table(["study", "source", "why"], rows))
    invocation.say(_next_step({study.why for study in closing.unexplained}))


def _show_disagreements(invocation: Invocation, closing: ClosingStatement) -> None:
    for source, said in closing.disagreements.items():
        invocation.say(f"{source}, what did not fit together in the inventory:")
        for each in said:
            invocation.say(f"  ! {each}")


def equation_words(what: str, equation: Equation) -> str:
    """Return the closing equation as a line: both sides, and what is missing."""
    unexplained = sum(equation.unexplained.values())
    return (
        f"{what}: {equation.inventory:,} in the inventory"
        f" = {equation.verified:,} verified + {equation.quarantined:,} quarantined"
        f" + {sum(equation.excluded.values()):,} excluded"
        + (f" + {unexplained:,} UNEXPLAINED" if unexplained else "")
    )


def _next_step(why: set[str]) -> str:
    """Return what has to be done first, in the order of a migration."""
    steps = {
        "undecided": "cloudmig plan (and a last rule without conditions)",
        "planned": "cloudmig run",
        "moving": "cloudmig run",
        "stored": "cloudmig verify",
        "short": "cloudmig inventory, then cloudmig run: the source lists more than was verified",
    }
    for reason, step in steps.items():
        if reason in why:
            return f"Next: {step}"
    return "Next: cloudmig status"
