"""Watches restores from archive classes: what one really took, against what its tier promises.

S3 says when a restore was asked for and when the object was there again (`s3:ObjectRestore:Post`,
`:Completed`, `:Delete`; with EventBridge "Object Restore Initiated", "Completed", "Expired"). Both
times come from the events, so a duplicate or a late event leads to the same report once more: who
reads it keeps one per object version and `asked_at`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from cloudmig.cloud.events import EventKind, ObjectEvent, read_event
from cloudmig.cloud.instants import instant, read_instant
from cloudmig.cloud.places import read_place
from cloudmig.cloud.restore_promises import RestorePromises
from cloudmig.cloud.restore_table import ASKED, COMPLETED, EXPIRED, Restores
from cloudmig.cloud.retrieval_samples import RetrievalSample, put_samples
from cloudmig.messages import RestoreReport

__all__ = ["RestoreSettings", "keep_sample", "watch_restore"]

_KINDS = {
    EventKind.RESTORE_ASKED: ASKED,
    EventKind.RESTORED: COMPLETED,
    EventKind.RESTORE_EXPIRED: EXPIRED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreSettings:
    """What is fixed for one installation."""

    bucket: str
    prefix: str  #: Of the destination in its bucket: what stands before `v1/`.
    samples_bucket: str = ""  #: Empty: no samples are kept.
    samples_prefix: str = ""
    promises: RestorePromises = field(default_factory=RestorePromises)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read a function's environment. Raises `RestorePromisesWrong`."""
        return cls(
            bucket=environment["BUCKET"],
            prefix=environment.get("PREFIX", ""),
            samples_bucket=environment.get("SAMPLES_BUCKET", ""),
            samples_prefix=environment.get("SAMPLES_PREFIX", ""),
            promises=RestorePromises.from_json(
                environment.get("RESTORE_PROMISES", ""), environment.get("RESTORE_TIERS", "")
            ),
        )


def watch_restore(
    event: Mapping[str, Any],
    *,
    restores: Restores,
    s3: Any,  # noqa: ANN401 - a boto3 client, which functions pass in
    settings: RestoreSettings,
) -> RestoreReport | None:
    """Note one event; return what is known of the restore it belongs to.

    `event` is one record of an S3 notification or one event of EventBridge. None: not below the
    destination's prefix, no restore, expired, or completed without having been seen asked for.
    Raises `EventUnreadable`.
    """
    seen = read_event(event)
    kind = _KINDS.get(seen.kind)
    place = read_place(seen.key, settings.prefix)
    if kind is None or place is None or seen.bucket != settings.bucket:
        return None
    at = instant(seen.at)
    pk = f"restores/{place.partition_key(seen.bucket, settings.prefix)}"
    sk = f"{place.rest}#{seen.version_id or ''}"
    item = restores.add(pk, sk, kind, at, _class_in(event))
    cycle = None if kind == EXPIRED else item.cycle_of(kind, at)
    if cycle is None:
        return None
    storage_class = item.storage_class or _class_of(s3, seen)
    tier = settings.promises.tier_of(storage_class)
    promised_s = settings.promises.promised_s(storage_class, tier)
    if promised_s is None:
        return None  # Gone, or in a class that is read without a restore.
    asked_at, completed_at = cycle
    took = read_instant(completed_at) - read_instant(asked_at) if completed_at else None
    return RestoreReport(
        bucket=seen.bucket,
        prefix=settings.prefix,
        key=place.key,
        storage_class=storage_class,
        tier=tier,
        asked_at=asked_at,
        completed_at=completed_at,
        promised_s=promised_s,
        took_s=None if took is None else took.total_seconds(),
        version_id=seen.version_id,
    )


def keep_sample(
    report: RestoreReport,
    *,
    s3: Any,  # noqa: ANN401 - a boto3 client, which functions pass in
    settings: RestoreSettings,
    name: Callable[[str], str] = lambda _: "",
) -> str | None:
    """Keep a finished restore as a raw sample of the SLA report; return its key.

    `name` makes a study's pseudonym. The same report always makes the same object.
    """
    if report.took_s is None or not settings.samples_bucket:
        return None
    place = read_place(report.prefix + report.key, report.prefix)
    study = name(place.study_instance_uid) if place and place.study_instance_uid else ""
    return put_samples(
        s3,
        settings.samples_bucket,
        settings.samples_prefix,
        [RetrievalSample.of_restore(report, study=study)],
        at=read_instant(report.completed_at),
        what="restore",
    )


def _class_in(event: Mapping[str, Any]) -> str:
    """Return the class that was restored from, where the event names it."""
    detail = event.get("detail", {})
    told = event.get("glacierEventData", {}).get("restoreEventData", {})
    return str(detail.get("source-storage-class") or told.get("lifecycleRestoreStorageClass") or "")


def _class_of(s3: Any, seen: ObjectEvent) -> str:  # noqa: ANN401 - a boto3 client
    version = {"VersionId": seen.version_id} if seen.version_id else {}
    try:
        head = s3.head_object(Bucket=seen.bucket, Key=seen.key, **version)
    except s3.exceptions.ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] in {404, 405}:
            return ""
        raise
    return str(head.get("StorageClass", ""))
