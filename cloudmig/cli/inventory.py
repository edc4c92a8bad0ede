"""`cloudmig inventory`: ask the PACS what it holds."""

from __future__ import annotations

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
    from cloudmig.pipeline.inventory import InventoryResult

__all__ = ["inventory"]


def inventory(
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
    config: ConfigOption = None,
    as_json: JsonOption = False,
    log_level: LogLevelOption = LogLevel.WARNING,
) -> None:
    """Ask every source which studies it holds, and write them into the catalog.

    Broad answers of a PACS may be cut silently, so the question is split by date, time, modality
    and patient ID prefix until no answer can have been cut. A folder is walked, and the header of
    every file read that is new or has changed. Stopped and repeated, it goes on where it was.
    """
    invocation = Invocation.of(context, config=config, as_json=as_json, log_level=log_level)
    results: list[InventoryResult] = []
    try:
        invocation.run(lambda: _take(invocation, source or [], results))
    finally:  # What was found is in the catalog, also where the next source does not answer.
        for result in results:
            _show(invocation, result)
    invocation.answer({"inventories": [_document(result) for result in results]})
    invocation.say("Next: cloudmig plan")


async def _take(invocation: Invocation, only: list[str], results: list[InventoryResult]) -> None:
    """Ask one source after the other, and add to `results` what each answered."""
    from cloudmig.bootstrap import open_agent  # noqa: PLC0415 - `--help` shall be quick
    from cloudmig.cli.choosing import chosen_sources  # noqa: PLC0415
    from cloudmig.cli.survey_progress import SurveyProgress  # noqa: PLC0415
    from cloudmig.errors import naming_source  # noqa: PLC0415
    from cloudmig.pipeline.inventory import take_inventory  # noqa: PLC0415

    settings = invocation.configuration()
    names = chosen_sources(settings, only)
    with SurveyProgress(invocation) as reporter:
        async with open_agent(settings, reporter) as parts:
            invocation.log(parts.pseudonyms)
            for name in names:
                with naming_source(name):
                    result = await take_inventory(
                        parts.sources[name],
                        parts.catalog,
                        settings=settings.sources[name],
                        reporter=parts.reporter,
                    )
                results.append(result)


def _document(result: InventoryResult) -> dict[str, object]:
    return {
        "source": result.source,
        "studies": result.studies,
        "questions": result.questions,
        "splits": result.splits,
        "universal": result.universal,
        "limit_found": result.limit_found,
        "dateless": result.dateless,
        "unnamed": result.unnamed,
        "disagreements": list(result.disagreements),
        **_files(result),
        "duration_s": round(result.duration_s, 3),
    }


def _files(result: InventoryResult) -> dict[str, object]:
    """Return what lies in the folder, where the source is one."""
    if not result.files:
        return {}
    from cloudmig.cli.close import files_document  # noqa: PLC0415
    from cloudmig.model.files import Account, file_equations  # noqa: PLC0415

    accounts = files_document({result.source: file_equations(result.files)})[result.source]
    notes = {each.kind: each.count for each in result.files if each.account is Account.NOTES}
    return {"files": accounts, "notes": notes}


def _show(invocation: Invocation, result: InventoryResult) -> None:
    from cloudmig.cli.wording import count_words, duration_words  # noqa: PLC0415

    invocation.say(
        f"{result.source}: {count_words(result.studies, 'study', 'studies')} found with"
        f" {count_words(result.questions, 'query', 'queries')} in"
        f" {duration_words(result.duration_s)}; {result.splits:,} of them were split into narrower"
        " ones."
    )
    if result.files:
        _show_files(invocation, result)
        return
    if result.universal is not None:
        invocation.say(
            "  For comparison, one query without criteria returned"
            f" {count_words(result.universal, 'study', 'studies')}."
        )
    if result.dateless:
        dateless = count_words(result.dateless, "study has", "studies have")
        invocation.say(f"  {dateless} no usable date.")
    if result.limit_found is not None:
        invocation.say(
            f"  The PACS cuts answers at {result.limit_found:,} without a word; every answer that"
            " large was asked again in smaller parts."
        )
    for disagreement in result.disagreements:
        invocation.say(f"  ! {disagreement}")


def _show_files(invocation: Invocation, result: InventoryResult) -> None:
    from cloudmig.cli.wording import count_words, duration_words  # noqa: PLC0415
    from cloudmig.model.files import file_equations  # noqa: PLC0415

    studies = count_words(result.studies, "study", "studies")
    invocation.say(f"{result.source}: {studies} found in {duration_words(result.duration_s)}.")
    equations = file_equations(result.files)
    for equation in equations:
        invocation.say(f"  {equation.words}")
    for disagreement in result.disagreements:
        invocation.say(f"  ! {disagreement}")
    if any(equation.waiting for equation in equations):
        invocation.say("  Some wait for a person: cloudmig quarantine list")
    invocation.say(f"  By name: cloudmig files --source {result.source}")
