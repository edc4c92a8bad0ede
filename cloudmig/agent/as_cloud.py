"""Runs on site what the cloud's functions run: the same judgement, the same word for it.

For stores beside which nothing runs functions, and for whoever wants their verdict now. The code is
`cloudmig.cloud.verify_study`; its table lives as long as one study, its messages go straight into
the catalog, and the ledger says that it was done on site.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from cloudmig.agent.verdict_reading import checked_verdict
from cloudmig.bootstrap.destinations import open_store_client
from cloudmig.catalog import Catalog
from cloudmig.catalog.cloud_verdicts import Word
from cloudmig.catalog.records import CopyToVerify
from cloudmig.cloud.expectations import Expectations
from cloudmig.cloud.instants import instant
from cloudmig.cloud.verdict_queue import MemoryOutbox
from cloudmig.cloud.verdict_table import MemoryTable
from cloudmig.cloud.verify_object import Desk
from cloudmig.cloud.verify_study import verify_study
from cloudmig.config import DestinationSettings
from cloudmig.destinations.profiles import profile_named
from cloudmig.destinations.s3_control import translated
from cloudmig.errors import ConfigError, DestinationUnavailable
from cloudmig.manifest import ManifestUnreadable
from cloudmig.messages import ObjectFinding, StudyRequest, StudyVerdict
from cloudmig.model.extra_object import ExtraObject
from cloudmig.pipeline.parts import Parts
from cloudmig.pipeline.verification import (
    FINDINGS_MAX,
    VerifySummary,
    found,
    stored_copies,
    verify_each,
)

__all__ = ["verify_as_cloud"]

_COPIES_AT_ONCE = 4
_LOOKS_AT_ONCE = 8
_PAUSE_FIRST_S = 0.2


async def verify_as_cloud(
    opened: Parts, *, part: int = 1, parts: int = 1, again: bool = False
) -> VerifySummary:
    """Judge stored copies as the functions would. Safe to stop and to repeat.

    Raises `ConfigError` where a copy lies in a store that is no `s3://`: functions look through
    S3's own calls. Raises `DestinationError` when a store cannot be asked.
    """
    desks = {
        name: _OnSite.of(opened, name, settings)
        for name, settings in opened.config.destinations.items()
        if settings.scheme == "s3"
    }
    if not desks:
        raise _no_s3(next(iter(opened.config.destinations)))
    summary = VerifySummary()
    named: set[ExtraObject] = set()  # Whatever was found wrong, in which those extra are.

    async def verify(copy: CopyToVerify) -> None:
        if copy.destination not in desks:
            raise _no_s3(copy.destination)
        named.update(await _verify_copy(opened, desks[copy.destination], copy, summary))

    await verify_each(opened, stored_copies(opened, part, parts, again=again), verify, summary)
    # Also those that an earlier look raised: they lie there until a person has decided.
    waiting = await opened.catalog.call(Catalog.extra_objects, released=False)
    summary.extras = len(named & {each.extra for each in waiting})
    return summary


@dataclass(frozen=True, slots=True)
class _OnSite:
    """One destination, looked at as a function would."""

    desk: Desk
    bucket: str
    prefix: str
    attempts_max: int

    @classmethod
    def of(cls, parts: Parts, name: str, settings: DestinationSettings) -> _OnSite:
        profile = profile_named(settings.profile, settings.profile_overrides)
        key = settings.kms_key_id
        expected = Expectations(
            prefix=settings.key_prefix,
            read="checksum" if profile.stored_checksum else "stream",
            # An alias cannot be compared with the ARN that the store answers.
            kms_key_arn=None if key is None else key if key.startswith("arn:") else "",
            later_classes=frozenset(settings.later_classes),
            metadata=profile.metadata,
        )
        client = open_store_client(
            name, settings, connections_max=_COPIES_AT_ONCE * (_LOOKS_AT_ONCE + 1)
        )
        outbox = MemoryOutbox()
        desk = Desk(
            s3=client, table=MemoryTable(), verdicts=outbox, studies=outbox, expected=expected,
            now=parts.now, threads=_LOOKS_AT_ONCE,
        )  # fmt: skip
        return cls(desk, settings.bucket, settings.key_prefix, settings.attempts_max)

    async def judge(self, archive: str, copy: CopyToVerify) -> StudyVerdict | None:
        """Return the verdict on a copy, None for a manifest that only a newer version can read."""
        request = StudyRequest(
            bucket=self.bucket,
            prefix=self.prefix,
            archive=archive,
            study_instance_uid=copy.study.study_instance_uid,
            why="asked",
            at=instant(self.desk.now()),
        )
        pause_s = _PAUSE_FIRST_S
        for attempt in range(1, self.attempts_max + 1):
            try:
                found = await asyncio.to_thread(self._judge_here, request)
            except ManifestUnreadable:
                return None
            except DestinationUnavailable:
                if attempt == self.attempts_max:
                    raise
                await asyncio.sleep(pause_s)
                pause_s *= 2
                continue
            if found is None or found.manifest_revision < copy.manifest_revision:
                # What the functions' table would remember: there was a manifest, or a newer one.
                return _without_manifest(request, copy)
            return found
        raise AssertionError("there is at least one attempt")

    def _judge_here(self, request: StudyRequest) -> StudyVerdict | None:
        outbox = MemoryOutbox()
        desk = replace(self.desk, table=MemoryTable(), verdicts=outbox, studies=outbox)
        with translated("verify as cloud"):
            return verify_study(desk, request)


def _without_manifest(request: StudyRequest, copy: CopyToVerify) -> StudyVerdict:
    return StudyVerdict(
        bucket=request.bucket,
        prefix=request.prefix,
        archive=request.archive,
        study_instance_uid=request.study_instance_uid,
        manifest_key=copy.manifest_key,
        manifest_sha256=copy.manifest_sha256,
        manifest_revision=copy.manifest_revision,
        agreed=False,
        instances=0,
        differing=1,
        how="STREAMED",
        at=request.at,
        findings=(ObjectFinding(finding="manifest missing", key=copy.manifest_key),),
    )


async def _verify_copy(
    parts: Parts, site: _OnSite, copy: CopyToVerify, summary: VerifySummary
) -> set[ExtraObject]:
    """Write down the verdict on a copy; return whatever it names."""
    verdict = await site.judge(parts.archive_of(copy.source), copy)
    summary.copies += 1
    if verdict is None:
        summary.undecided += 1
        return set()
    heard = await parts.catalog.call(
        Catalog.hear_study_verdict,
        copy.destination,
        copy.source,
        checked_verdict(verdict),
        at=parts.now(),
        detail={"on_site": True},
    )
    summary.instances += verdict.instances
    named = {ExtraObject(copy.destination, each.key) for each in verdict.findings}
    if heard.word not in {Word.AGREED, Word.DIFFERS}:
        summary.undecided += 1
        return named
    summary.how["CLOUD"] += 1
    summary.agreed += heard.word is Word.AGREED
    summary.failed += heard.word is Word.DIFFERS
    differences = [found(parts.reporter, copy, each) for each in heard.findings]
    summary.findings += differences[: max(0, FINDINGS_MAX - len(summary.findings))]
    return named


def _no_s3(name: str) -> ConfigError:
    return ConfigError(
        f"destination {name} is no s3:// store: the functions' code cannot look at it",
        hint="run `cloudmig verify` without --as-cloud",
    )
