"""Raw samples of how studies were read: gzipped JSON lines, version 1, kept for exact percentiles.

A line names its schema, so that files of several versions can lie side by side. A study appears by
a keyed pseudonym only.
"""

from __future__ import annotations

import datetime as dt
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any

from cloudmig.messages import RestoreReport

__all__ = [
    "SCHEMA", "RetrievalSample", "SamplesUnreadable", "decode_samples", "encode_samples",
    "put_samples", "samples_key",
]  # fmt: skip

SCHEMA = "cloudmig/retrieval-sample/1"

#: A million samples; no probe writes so many into one file.
_TEXT_BYTES_MAX = 1 << 29

_OUTCOMES = frozenset({"read", "wrong", "failed", "cold", "restored"})
_HOWS = frozenset({"bucket", "dicomweb", "restore"})


class SamplesUnreadable(ValueError):  # noqa: N818 - named for what happened, as in errors.py
    """The bytes are no samples of a version we know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalSample:
    """One study that was read, or not, at one time, one way."""

    at: str  #: ISO 8601, UTC: when the reading began.
    probe: str  #: When its probe began: what belongs together.
    how: str  #: bucket | dicomweb | restore
    tier: str  #: The storage class the store named itself, or DICOMWEB.
    outcome: str  #: read | wrong (bytes differ) | failed | cold (archived, not restored) | restored
    stratum: str = ""  #: `<class>|<year>|<modality>|<size band>`, as it was drawn.
    store: str = ""  #: The destination's name, on site.
    study: str = ""  #: A keyed pseudonym; empty where there is no key.
    instances: int = 0
    size_bytes: int = 0
    first_byte_s: float | None = None
    first_instance_s: float | None = None
    study_s: float | None = None
    query_s: float | None = None
    restore_s: float | None = None  #: What a restore really took.
    promised_s: float | None = None  #: What the restore of an archived study may take.
    cause: str = ""  #: Of what is wrong or failed: a code or the name of an error, never a text.

    def __post_init__(self) -> None:
        assert self.tier, "a sample counts in some tier"

    @classmethod
    def of_restore(cls, report: RestoreReport, *, study: str = "") -> RetrievalSample:
        """Return the sample of a finished restore."""
        assert report.took_s is not None, "it is finished"
        return cls(
            at=report.completed_at,
            probe=report.completed_at,
            how="restore",
            tier=report.storage_class,
            outcome="restored",
            study=study,
            instances=1,
            restore_s=report.took_s,
            promised_s=report.promised_s,
        )


def encode_samples(samples: Iterable[RetrievalSample]) -> bytes:
    """Return gzipped JSON lines, the same for equal samples."""
    lines = (
        json.dumps({"schema": SCHEMA} | _told(each), sort_keys=True, separators=(",", ":")) + "\n"
        for each in samples
    )
    return gzip.compress("".join(lines).encode("ascii"), compresslevel=6, mtime=0)


def _told(sample: RetrievalSample) -> dict[str, Any]:
    return {name: value for name, value in asdict(sample).items() if value not in {None, ""}}


def decode_samples(body: bytes) -> list[RetrievalSample]:
    """Return the samples in gzipped JSON lines. Raises `SamplesUnreadable`."""
    if not body:
        raise SamplesUnreadable("empty: even no samples have a gzip header")
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(body)) as file:
            text = file.read(_TEXT_BYTES_MAX + 1)
        if len(text) > _TEXT_BYTES_MAX:
            raise SamplesUnreadable("larger than the samples of any probe")
        return [_sample(json.loads(line)) for line in text.splitlines() if line.strip()]
    except SamplesUnreadable:
        raise
    except (OSError, EOFError, zlib.error, ValueError, TypeError, RecursionError) as error:
        raise SamplesUnreadable(f"no samples: {type(error).__name__}") from error


_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float | None": (int, float, type(None)),
}


def _sample(content: object) -> RetrievalSample:
    if not isinstance(content, dict) or content.pop("schema", None) != SCHEMA:
        raise SamplesUnreadable("of a version this cloudmig does not know")
    sample = RetrievalSample(**content)
    for each in fields(sample):
        # bool is an int for Python, and would be a time for us.
        if type(getattr(sample, each.name)) not in _TYPES[str(each.type)]:
            raise SamplesUnreadable(f"with a {each.name} that is none")
    if sample.outcome not in _OUTCOMES or sample.how not in _HOWS:
        raise SamplesUnreadable("with an outcome or a way that is none")
    for moment in (sample.at, sample.probe):
        if dt.datetime.fromisoformat(moment).tzinfo is None:
            raise SamplesUnreadable("with a time that has no zone")
    return sample


def samples_key(prefix: str, at: dt.datetime, body: bytes, *, what: str = "probe") -> str:
    """Return where a file of samples lies: by day, and the same bytes always in one place."""
    digest = hashlib.sha256(body).hexdigest()[:8]
    return f"{prefix}{at:%Y/%m/%d}/{at:%H%M%S}-{what}-{digest}.jsonl.gz"


def put_samples(
    s3: Any,  # noqa: ANN401 - a boto3 client, which functions pass in
    bucket: str,
    prefix: str,
    samples: Iterable[RetrievalSample],
    *,
    at: dt.datetime,
    what: str = "probe",
) -> str:
    """Put samples into a bucket and return their key. Repeating it changes nothing."""
    body = encode_samples(samples)
    key = samples_key(prefix, at, body, what=what)
    s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType="application/gzip")
    return key
