"""Finding one study of the catalog by what a person typed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudmig.cli.choosing import study_named, study_not_known
from cloudmig.errors import ConfigError

if TYPE_CHECKING:
    from cloudmig.bootstrap import Parts
    from cloudmig.catalog.records import (
        CatalogedStudy,
        ExtraObjectRow,
        FileTallyRow,
        UnnamedStudyRow,
    )

__all__ = [
    "look_up_extra", "look_up_files", "look_up_instance", "look_up_study", "look_up_unnamed",
]  # fmt: skip

_PAGE = 5000


async def look_up_study(parts: Parts, text: str) -> CatalogedStudy:
    """Return the study with that UID or pseudonym; raises `ConfigError` where there is none."""
    from cloudmig.catalog.catalog import Catalog  # noqa: PLC0415 - `--help` shall be quick

    wanted = study_named(text)
    for source in parts.config.sources:
        if wanted is not None:
            found = await parts.catalog.call(Catalog.study, source, wanted)
            if found is not None:
                return found
            continue
        after: int | None = None
        # Pseudonyms are one-way: every study is tried. A million take a few seconds.
        while page := await parts.catalog.call(Catalog.studies, source, after, _PAGE):
            for study in page:
                if parts.pseudonyms.is_of(text, study.study.study_instance_uid):
                    return study
            after = page[-1].study_id
    raise study_not_known()


async def look_up_unnamed(parts: Parts, text: str) -> UnnamedStudyRow | None:
    """Return the study without a usable UID that has this pseudonym (`un-...`), if there is one."""
    from cloudmig.catalog.catalog import Catalog  # noqa: PLC0415

    if not text.startswith("un-"):
        return None
    rows = await parts.catalog.call(Catalog.unnamed_studies)
    return next(
        (row for row in rows if parts.pseudonyms.is_of(text, row.study.answer_sha256)), None
    )


async def look_up_extra(parts: Parts, text: str) -> ExtraObjectRow | None:
    """Return the object in no manifest that has this pseudonym (`ob-...`), if there is one."""
    from cloudmig.catalog.catalog import Catalog  # noqa: PLC0415

    if not text.startswith("ob-"):
        return None
    rows = await parts.catalog.call(Catalog.extra_objects)
    return next((row for row in rows if parts.pseudonyms.is_of(text, row.extra.known_by)), None)


async def look_up_files(parts: Parts, text: str) -> FileTallyRow | None:
    """Return the kind of files that has this pseudonym (`fi-...`), if there is one."""
    from cloudmig.catalog.catalog import Catalog  # noqa: PLC0415
    from cloudmig.model.files import FileGroup  # noqa: PLC0415

    if not text.startswith("fi-"):
        return None
    for row in await parts.catalog.call(Catalog.file_tallies):
        group = FileGroup(row.source, row.tally.account.value, row.tally.kind)
        if parts.pseudonyms.is_of(text, group.known_by):
            return row
    return None


async def look_up_instance(parts: Parts, text: str) -> tuple[str, str] | None:
    """Return the study's and the instance's UID behind a pseudonym (`in-...`).

    Instances of a closed study are in its manifest alone, so only those that something was said
    about can be found: what arrived and was set aside, what a verdict named, what a study in
    quarantine lacks.
    """
    from cloudmig.catalog.catalog import Catalog  # noqa: PLC0415
    from cloudmig.model.references import StudyRef  # noqa: PLC0415

    if not text.startswith("in-"):
        return None
    after = 0
    while page := await parts.catalog.call(Catalog.instances_named, after, _PAGE):
        for event in page:
            named = event.detail.get("named")  # By a verdict: UID and finding.
            told = [uid for uid, _ in named] if isinstance(named, list) else []
            for uid in (event.sop_instance_uid, *told):
                if uid and parts.pseudonyms.is_of(text, uid):
                    return event.study_instance_uid, uid
        after = page[-1].event_id
    items = await parts.catalog.call(Catalog.quarantine_items)
    waiting = {(item.source, item.study) for item in items if isinstance(item.study, StudyRef)}
    for source, study in waiting:
        lacking = await parts.catalog.call(Catalog.lacking, source, study)
        for uid in {uid for uids in lacking.values() for uid in uids}:
            if parts.pseudonyms.is_of(text, uid):
                return study.study_instance_uid, uid
    raise ConfigError(
        "nothing that the catalog says of an instance has that pseudonym",
        hint="Pseudonyms belong to one installation (one state_dir). Resolve the study's (st-...)"
        " beside it: its manifest in the bucket names the instances.",
    )
