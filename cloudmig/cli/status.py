"""`cloudmig status`: where everything stands."""

from __future__ import annotations

from collections.abc import Mapping
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
    from cloudmig.catalog.records import StatusCounts
    from cloudmig.catalog.side_by_side import DestinationCounts

__all__ = ["status"]

#: The ways in which a copy can be verified.
HOW_VERIFIED = ("READ_BACK", "READ_BACK_ELEMENTS", "STORE_CHECKSUM", "CLOUD")


def status(
    context: typer.Context,
    resolve: Annotated[
        str | None,
        typer.Option(
            "--resolve",
            metavar="PSEUDONYM",
            help="Print what a pseudonym of a log line stands for.",
            show_default=False,
        ),
    ] = None,
    pseudonym: Annotated[
        str | None,
        typer.Option(
            "--pseudonym",
            metavar="UID",
            help="Print the pseudonym that logs show for a Study Instance UID.",
            show_default=False,
        ),
    ] = None,
    study: Annotated[
        str | None,
        typer.Option(
            "--study",
            metavar="UID",
            help="Show the copies of one study beside each other, by UID or pseudonym.",
            show_default=False,
        ),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    log_level: LogLevelOption = LogLevel.WARNING,
) -> None:
    """Show what is planned, moving, stored, verified, quarantined and excluded.

    Copies stand side by side: those of all studies by destination, or with --study those of one.
    """
    invocation = Invocation.of(context, config=config, as_json=as_json, log_level=log_level)
    if pseudonym is not None:
        _print_pseudonym(invocation, pseudonym)
    elif resolve is not None:
        found = invocation.run(lambda: _resolve(invocation, resolve))
        invocation.answer({"pseudonym": resolve, **found})
        for key, value in found.items():
            if value is None:
                continue
            # A key that a stranger made up could hold what a terminal obeys.
            shown = str(value) if str(value).isprintable() else ascii(value)
            invocation.say(shown if len(found) == 1 else f"{key}: {shown}")
    elif study is not None:
        _show_one(invocation, study)
    else:
        counts, destinations = invocation.run(lambda: _count(invocation))
        invocation.answer(document(counts, destinations))
        if not invocation.json:
            _show(invocation, counts, destinations)


def _print_pseudonym(invocation: Invocation, uid: str) -> None:
    from cloudmig.errors import ConfigError  # noqa: PLC0415 - `--help` shall be quick
    from cloudmig.model.references import is_usable_uid  # noqa: PLC0415
    from cloudmig.telemetry import Pseudonyms  # noqa: PLC0415

    if not is_usable_uid(uid):  # Of a UID with a blank behind it another name would come.
        raise ConfigError(
            "that is no UID: digits and dots, 64 of them at most",
            hint="What a pseudonym stands for, --resolve says.",
        )
    state_dir = invocation.configuration().agent.state_dir
    name = Pseudonyms.from_state_dir(state_dir).of(uid)
    invocation.answer({"pseudonym": name, "study_instance_uid": uid})
    invocation.say(name)


async def _resolve(invocation: Invocation, pseudonym: str) -> dict[str, object]:
    """Return the Study Instance UID; of a study without one, when it was made and what it holds.

    Of an instance both its UIDs; of an object in no manifest, where it lies; of files, their kind.
    """
    from cloudmig.bootstrap import open_catalog_only  # noqa: PLC0415
    from cloudmig.cli.looking import (  # noqa: PLC0415
        look_up_extra,
        look_up_files,
        look_up_instance,
        look_up_study,
        look_up_unnamed,
    )

    async with open_catalog_only(invocation.configuration()) as parts:
        extra = await look_up_extra(parts, pseudonym)
        if extra is not None:
            settings = parts.config.destinations.get(extra.extra.destination)
            found: dict[str, object] = {
                "destination": extra.extra.destination,
                "key": extra.extra.key,
                "version_id": extra.version_id,
            }
            # The key alone is not found in a bucket where the destination has a prefix.
            where = settings and f"{settings.url.rstrip('/')}/{extra.extra.key}"
            return found | ({"location": where} if where else {})
        files = await look_up_files(parts, pseudonym)
        if files is not None:
            kind = files.tally.kind
            command = f"cloudmig files --source {files.source} --kind {kind}"
            told = {"source": files.source, "of": files.tally.account.value, "kind": kind}
            return {"study_instance_uid": None, **told, "named_by": command}
        instance = await look_up_instance(parts, pseudonym)
        if instance is not None:
            return dict(zip(("study_instance_uid", "sop_instance_uid"), instance, strict=True))
        unnamed = await look_up_unnamed(parts, pseudonym)
        if unnamed is None:
            study = await look_up_study(parts, pseudonym)
            return {"study_instance_uid": study.study.study_instance_uid}
        # Enough to find it in the PACS, and no more: neither its patient nor any free text.
        return {
            "study_instance_uid": None,
            "source": unnamed.source,
            "study_date": unnamed.study_date.isoformat() if unnamed.study_date else None,
            "study_time": unnamed.study_time,
            "modalities": list(unnamed.modalities),
            "instances_claimed": unnamed.instances_claimed,
        }


def _show_one(invocation: Invocation, text: str) -> None:
    from cloudmig.bootstrap import open_catalog_only  # noqa: PLC0415
    from cloudmig.cli.side_by_side import (  # noqa: PLC0415
        StudyCopies,
        look_at_study,
        show_study,
        study_document,
    )
    from cloudmig.telemetry import Pseudonyms  # noqa: PLC0415

    async def look() -> tuple[StudyCopies, Pseudonyms]:
        async with open_catalog_only(invocation.configuration()) as parts:
            return await look_at_study(parts, text), parts.pseudonyms

    found, pseudonyms = invocation.run(look)
    invocation.answer(study_document(found, pseudonyms))
    if not invocation.json:
        show_study(invocation, found, pseudonyms)


async def _count(
    invocation: Invocation,
) -> tuple[StatusCounts, Mapping[str, DestinationCounts]]:
    from cloudmig.bootstrap import open_catalog_only  # noqa: PLC0415
    from cloudmig.catalog.catalog import Catalog  # noqa: PLC0415

    async with open_catalog_only(invocation.configuration()) as parts:
        return (
            await parts.catalog.call(Catalog.status_counts),
            await parts.catalog.call(Catalog.destination_counts),
        )


def document(
    counts: StatusCounts, destinations: Mapping[str, DestinationCounts]
) -> dict[str, object]:
    """Return the JSON shape: every state is there, also at zero."""
    from cloudmig.cli.side_by_side import (  # noqa: PLC0415
        destinations_document,
        holdings_document,
    )
    from cloudmig.model.states import TransferState  # noqa: PLC0415

    return {
        "sources": {
            source: {
                "studies": studies,
                "transfers": {
                    state.value: counts.transfers.get(source, {}).get(state, 0)
                    for state in TransferState
                },
            }
            for source, studies in counts.studies.items()
        },
        "destinations": destinations_document(destinations),
        "copies": holdings_document(destinations),
        "instances_held": counts.instances_held,
        "bytes_held": counts.bytes_held,
        "quarantine": {reason.value: number for reason, number in counts.quarantine.items()},
        "verdicts": {how: counts.verdicts.get(how, 0) for how in HOW_VERIFIED},
        "restores": {
            "asked": counts.restores.asked,
            "completed": counts.restores.completed,
            "late": counts.restores.late,
        },
    }


def _show(
    invocation: Invocation,
    counts: StatusCounts,
    destinations: Mapping[str, DestinationCounts],
) -> None:
    from cloudmig.cli.side_by_side import show_destinations  # noqa: PLC0415
    from cloudmig.cli.wording import bytes_words, count_words, table  # noqa: PLC0415
    from cloudmig.model.states import TransferState  # noqa: PLC0415

    if not any(counts.studies.values()):
        invocation.say("The catalog holds no studies. Next: cloudmig inventory")
        return
    # States down, sources across: their names do not fit side by side on 80 columns.
    sources = list(counts.studies)
    found = {source: counts.transfers.get(source, {}) for source in sources}
    studies = counts.studies
    rows: list[list[object]] = [
        ["in the inventory", *studies.values()],
        ["undecided", *(studies[each] - sum(found[each].values()) for each in sources)],
    ]
    rows += [
        [state.value, *(found[each].get(state, 0) for each in sources)] for state in TransferState
    ]
    invocation.console.print(table(["studies", *sources], rows))
    if destinations:
        invocation.say()
        show_destinations(invocation, destinations)
    invocation.say()
    held = count_words(counts.instances_held, "instance")
    invocation.say(f"Held in copies: {held}, {bytes_words(counts.bytes_held)}.")
    if counts.verdicts:
        verified = ", ".join(f"{n:,} by {how}" for how, n in counts.verdicts.items())
        invocation.say(f"Copies verified: {verified}.")
    restores = counts.restores
    if restores.asked or restores.completed:
        invocation.say(
            f"Restores: {restores.asked:,} under way, {restores.completed:,} completed, of these"
            f" {restores.late:,} later than promised."
        )
    if counts.quarantine:
        reasons = ", ".join(f"{n} {reason.value}" for reason, n in counts.quarantine.items())
        invocation.say(f"In quarantine: {reasons}. Next: cloudmig quarantine list")
