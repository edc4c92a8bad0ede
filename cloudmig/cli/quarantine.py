"""`cloudmig quarantine`: what waits for a person."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from cloudmig.cli.invocation import (
    ConfigOption,
    Invocation,
    JsonOption,
    LogLevel,
    LogLevelOption,
    NoteOption,
)

if TYPE_CHECKING:
    from cloudmig.bootstrap import Parts
    from cloudmig.catalog.records import QuarantineItem
    from cloudmig.telemetry import Pseudonyms

__all__ = ["app"]

app = typer.Typer(
    help="List, show and release what waits for a person.",
    no_args_is_help=False,
    rich_markup_mode=None,
)

_NAMES_MAX = 20

StudyArgument = Annotated[
    str, typer.Argument(metavar="STUDY", help="A pseudonym from the list, or a UID.")
]


@app.command("list")
def list_items(
    context: typer.Context,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    log_level: LogLevelOption = LogLevel.WARNING,
) -> None:
    """List what waits for a person, by pseudonym and with its reasons.

    Studies, and what is no study's: objects in no manifest, and files that cannot be read.
    """
    invocation = Invocation.of(context, config=config, as_json=as_json, log_level=log_level)
    items, pseudonyms = invocation.run(lambda: _open_items(invocation))
    invocation.answer({"items": [document(item, pseudonyms) for item in items]})
    if invocation.json:
        return
    if not items:
        invocation.say("Nothing is in quarantine.")
        return
    _show_list(invocation, items, pseudonyms)


@app.command()
def show(
    context: typer.Context,
    study: StudyArgument,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    log_level: LogLevelOption = LogLevel.WARNING,
) -> None:
    """Show why one of them waits, and what can be done about it."""
    invocation = Invocation.of(context, config=config, as_json=as_json, log_level=log_level)
    items, lacking, pseudonyms = invocation.run(lambda: _items_of(invocation, study))
    named = {
        destination: [pseudonyms.of(uid, "in") for uid in uids]
        for destination, uids in lacking.items()
    }
    documents = [document(item, pseudonyms) for item in items]
    invocation.answer({"items": documents, "lacking": named})
    if not invocation.json:
        _show_items(invocation, items, named, pseudonyms)


@app.command()
def release(
    context: typer.Context,
    study: StudyArgument,
    note: NoteOption = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
    log_level: LogLevelOption = LogLevel.WARNING,
) -> None:
    """Plan a study again: the next run pulls it once more.

    Both contents of a conflict stay stored and do not send it back, nor does another finding about
    an instance that the release has accepted. New findings do, and so does an instance that is
    still missing, too large or refused: the closing equation has no room for a gap.

    A study without a usable Study Instance UID (un-...) cannot be pulled: released, it stays in the
    PACS, excluded by name. An object in no manifest (ob-...) and files that cannot be read (fi-...)
    stay where they are, and are not raised again.
    """
    invocation = Invocation.of(context, config=config, as_json=as_json, log_level=log_level)
    name, rule = invocation.run(lambda: _release(invocation, study, note))
    invocation.answer({"released": name})
    if name.startswith(("ob-", "fi-")):
        invocation.say(f"{name} is settled; it stays where it lies. Next: cloudmig close")
    elif rule:
        invocation.say(f'{name} stays in the PACS, excluded: "{rule}". Next: cloudmig close')
    else:
        invocation.say(f"{name} is planned again. Next: cloudmig run")


async def _open_items(invocation: Invocation) -> tuple[list[QuarantineItem], Pseudonyms]:
    from cloudmig.bootstrap import open_catalog_only  # noqa: PLC0415 - `--help` shall be quick
    from cloudmig.catalog.catalog import Catalog  # noqa: PLC0415

    async with open_catalog_only(invocation.configuration()) as parts:
        return await parts.catalog.call(Catalog.quarantine_items), parts.pseudonyms


async def _items_of(
    invocation: Invocation, text: str
) -> tuple[list[QuarantineItem], Mapping[str, Sequence[str]], Pseudonyms]:
    """Return what waits, the instances that its copies lack, and the key to their names."""
    from cloudmig.bootstrap import open_catalog_only  # noqa: PLC0415
    from cloudmig.catalog.catalog import Catalog  # noqa: PLC0415
    from cloudmig.model.references import StudyRef  # noqa: PLC0415

    lacking: Mapping[str, Sequence[str]] = {}
    async with open_catalog_only(invocation.configuration()) as parts:
        items = await _find_items(parts, text)
        if isinstance(items[0].study, StudyRef):
            lacking = await parts.catalog.call(Catalog.lacking, items[0].source, items[0].study)
        return items, lacking, parts.pseudonyms


async def _find_items(parts: Parts, text: str) -> list[QuarantineItem]:
    from cloudmig.catalog.catalog import Catalog  # noqa: PLC0415
    from cloudmig.cli.choosing import not_in_quarantine, study_named  # noqa: PLC0415

    wanted = study_named(text)
    items = await parts.catalog.call(Catalog.quarantine_items)
    found = [
        item
        for item in items
        if item.study == wanted or parts.pseudonyms.is_of(text, item.known_by)
    ]
    if not found:
        raise not_in_quarantine()
    return found


async def _release(invocation: Invocation, text: str, note: str) -> tuple[str, str]:
    """Release a study. Return its pseudonym, and the rule that excludes it if it is unnamed."""
    from cloudmig.bootstrap import open_catalog_only  # noqa: PLC0415
    from cloudmig.catalog.catalog import Catalog  # noqa: PLC0415
    from cloudmig.catalog.unnamed import RELEASED_RULE  # noqa: PLC0415
    from cloudmig.model.extra_object import ExtraObject  # noqa: PLC0415
    from cloudmig.model.files import FileGroup  # noqa: PLC0415
    from cloudmig.model.study import UnnamedStudy  # noqa: PLC0415

    async with open_catalog_only(invocation.configuration()) as parts:
        [first, *_] = await _find_items(parts, text)
        name, at = first.shown_as(parts.pseudonyms), dt.datetime.now(dt.UTC)
        if isinstance(first.study, UnnamedStudy):
            await parts.catalog.call(
                Catalog.release_unnamed, first.source, first.study, at=at, note=note
            )
            return name, RELEASED_RULE
        if isinstance(first.study, ExtraObject):
            await parts.catalog.call(Catalog.release_extra, first.study, at=at, note=note)
            return name, ""
        if isinstance(first.study, FileGroup):
            await parts.catalog.call(Catalog.release_files, first.study, at=at, note=note)
            return name, ""
        await parts.catalog.call(Catalog.release, first.source, first.study, at=at, note=note)
        return name, ""


def document(item: QuarantineItem, pseudonyms: Pseudonyms) -> dict[str, object]:
    """Return the JSON shape of one item, with pseudonyms for its UIDs."""
    from cloudmig.telemetry import clean  # noqa: PLC0415

    return {
        "study": item.shown_as(pseudonyms),
        "instance": (pseudonyms.of(item.sop_instance_uid, "in") if item.sop_instance_uid else None),
        "source": item.source,
        "reason": item.reason.value,
        "explanation": item.reason.explanation,
        "detail": clean(item.detail, pseudonyms),
        "at": item.at.isoformat(),
    }


def waiting_words(items: Iterable[QuarantineItem]) -> str:
    """Return how many of what wait: studies, objects in no manifest, manifests, files."""
    from cloudmig.cli.wording import count_words  # noqa: PLC0415
    from cloudmig.model.extra_object import ExtraObject  # noqa: PLC0415
    from cloudmig.model.files import FileGroup  # noqa: PLC0415
    from cloudmig.model.quarantine import QuarantineReason  # noqa: PLC0415

    studies, objects, manifests, kinds = set(), set(), set(), set()
    for item in items:
        if isinstance(item.study, FileGroup):
            kinds.add(item.study)
        elif not isinstance(item.study, ExtraObject):
            studies.add(item.study)
        elif item.reason is QuarantineReason.EVIDENCE_DAMAGED:
            manifests.add(item.study)
        else:
            objects.add(item.study)
    counts = [
        count_words(len(studies), "study", "studies"),
        count_words(len(objects), "object in no manifest", "objects in no manifest"),
        count_words(len(manifests), "damaged manifest"),
        count_words(len(kinds), "kind of broken file", "kinds of broken files"),
    ]
    *others, last = [words for words in counts if not words.startswith("0 ")]
    return f"{', '.join(others)} and {last}" if others else last


def _show_list(invocation: Invocation, items: list[QuarantineItem], pseudonyms: Pseudonyms) -> None:
    from cloudmig.cli.wording import table  # noqa: PLC0415

    rows: dict[tuple[str, str, str], int] = {}
    for item in items:
        key = (item.shown_as(pseudonyms), item.source, item.reason.value)
        rows[key] = rows.get(key, 0) + 1
    invocation.console.print(
        table(["study", "source", "reason", "findings"], ([*key, n] for key, n in rows.items()))
    )
    invocation.say()
    invocation.say(f"{waiting_words(items)}. What each reason means:")
    for reason in sorted({item.reason for item in items}, key=lambda reason: reason.value):
        invocation.say(f"  {reason.value}: {reason.explanation}")
    invocation.say("Next: cloudmig quarantine show STUDY, then cloudmig quarantine release STUDY")


def _show_items(
    invocation: Invocation,
    items: list[QuarantineItem],
    lacking: Mapping[str, Sequence[str]],
    pseudonyms: Pseudonyms,
) -> None:
    from cloudmig.model.extra_object import ExtraObject  # noqa: PLC0415
    from cloudmig.model.files import FileGroup  # noqa: PLC0415
    from cloudmig.model.study import UnnamedStudy  # noqa: PLC0415
    from cloudmig.telemetry import clean  # noqa: PLC0415

    first = items[0]
    name = first.shown_as(pseudonyms)
    invocation.say(
        f"{name}, from {first.source or 'no source'}, since {first.at:%Y-%m-%d %H:%M} UTC"
    )
    for item in items:
        instance = item.sop_instance_uid
        where = f" {pseudonyms.of(instance, 'in')}" if instance else ""
        invocation.say(f"  {item.reason.value}{where}: {item.reason.explanation}")
        for key, value in clean(item.detail, pseudonyms).items():
            invocation.say(f"    {key}: {value}")
    for destination, names in lacking.items():
        more = f" and {len(names) - _NAMES_MAX:,} more: --json" if len(names) > _NAMES_MAX else ""
        invocation.say(f"  listed, and not at {destination}: {', '.join(names[:_NAMES_MAX])}{more}")
    match first.study:
        case UnnamedStudy():
            known = "What the PACS lists it under, to look it up there"
            released = "A release leaves the study in the PACS, excluded by name"
        case ExtraObject():
            known = "Where it lies, to look at it there"
            released = "A release leaves the object where it lies"
        case FileGroup():
            known = "Which files these are"
            released = "A release leaves the files where they lie"
        case _:
            known = "The Study Instance UID, to look it up in the PACS"
            released = "A release plans the study again, and the next run pulls it once more"
    if isinstance(first.study, FileGroup):
        command = f"cloudmig files --source {first.source} --kind {first.study.kind}"
    else:
        command = f"cloudmig status --resolve {name}"
    invocation.say(f"{known}: {command}")
    invocation.say(f"{released}: cloudmig quarantine release {name} --note '...'")
