"""Reads the manifests of a study as they lie in the bucket, and says what is wrong with them.

A revision is immutable and names its predecessor's SHA-256, so the newest vouches for all before
it. For the newest itself its metadata vouch, and what an earlier judgement remembers of it.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

from botocore import exceptions as theirs

from cloudmig import manifest
from cloudmig.cloud.expectations import Expectations
from cloudmig.cloud.looking import status_of
from cloudmig.manifest import Manifest, ManifestUnreadable
from cloudmig.messages import ObjectFinding
from cloudmig.model.references import StudyRef
from cloudmig.objects import FILE_DIGEST, manifest_key

__all__ = ["Chain", "HeldManifest", "read_chain"]

#: A gzipped manifest of 300,000 instances; reading more would be reading an attack.
_BODY_BYTES_MAX = 64 << 20
_BEGINNING_BYTES = 256
_SCHEMA = re.compile(rb'\{"schema":"(cloudmig/manifest/[0-9]+)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldManifest:
    """One revision as it lies in the bucket."""

    key: str  #: Relative to the prefix.
    revision: int
    sha256: str  #: Hex, of the gzipped bytes; empty where it could not be read.
    content: Manifest | None  #: None where `findings` say why.
    findings: tuple[ObjectFinding, ...] = ()
    version_id: str | None = None
    etag: str = ""

    def finding(self, text: str) -> ObjectFinding:
        """Return a finding about this revision."""
        return ObjectFinding(finding=text, key=self.key, version_id=self.version_id, etag=self.etag)

    def spoilt(self, text: str) -> HeldManifest:
        """Return this revision as one that says nothing, with the reason."""
        return replace(self, content=None, findings=(self.finding(text),))


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """The newest revision, and the keys that earlier ones named."""

    newest: HeldManifest
    superseded: frozenset[str]  #: Keys that only earlier revisions name.
    findings: tuple[ObjectFinding, ...]
    is_whole: bool  #: Every revision can be believed, back to the first.

    def named(self) -> frozenset[str]:
        """Return every key that a revision names that can be believed."""
        return self.superseded | frozenset(_keys(self.newest))


def read_chain(
    s3: Any,  # noqa: ANN401 - a boto3 client, which functions pass in
    bucket: str,
    expected: Expectations,
    *,
    archive: str,
    study: StudyRef,
    revisions: Collection[int],
) -> Chain:
    """Read all revisions of a study, newest first. Raises botocore's errors, and
    `ManifestUnreadable` for an intact manifest of a version that this reader does not know.
    """
    reading = _Reading(s3, bucket, expected, archive, study)
    newest = reading.held(max(revisions))
    named = _keys(newest)
    superseded: set[str] = set()
    findings = list(newest.findings)
    later, is_whole = newest, newest.content is not None
    for earlier in _earlier(reading, newest, revisions):
        if isinstance(earlier, ObjectFinding):
            findings.append(earlier)
            is_whole = False
            break
        assert later.content is not None, "only what can be read has predecessors"
        if earlier.sha256 != later.content.previous_sha256:
            findings.append(earlier.finding("manifest altered"))
            is_whole = False
            break  # What it names, and what it says of its predecessor, is not to be believed.
        findings += earlier.findings
        is_whole &= earlier.content is not None
        superseded |= _keys(earlier)
        later = earlier
    return Chain(
        newest=newest,
        superseded=frozenset(superseded - named),
        findings=tuple(findings),
        is_whole=is_whole,
    )


def _earlier(
    reading: _Reading, newest: HeldManifest, revisions: Collection[int]
) -> Iterator[HeldManifest | ObjectFinding]:
    held = newest
    while held.content is not None and held.revision > 1:
        number = held.revision - 1
        if number not in revisions:
            key = manifest_key(reading.archive, reading.study, number)
            yield ObjectFinding(finding="manifest missing", key=key)
            return
        held = reading.held(number)
        yield held


def _keys(held: HeldManifest) -> set[str]:
    return {each.location.key for each in held.content.instances} if held.content else set()


@dataclass(frozen=True, slots=True)
class _Reading:
    s3: Any
    bucket: str
    expected: Expectations
    archive: str
    study: StudyRef

    def held(self, revision: int) -> HeldManifest:
        """Read one revision, twice before it is called altered."""
        held = self._read(revision)
        if any(each.finding == "manifest altered" for each in held.findings):
            held = self._read(revision)
        return held

    def _read(self, revision: int) -> HeldManifest:
        key = manifest_key(self.archive, self.study, revision)
        held = HeldManifest(key=key, revision=revision, sha256="", content=None)
        try:
            answer = self.s3.get_object(Bucket=self.bucket, Key=self.expected.prefix + key)
            with answer["Body"] as stream:
                body = stream.read(_BODY_BYTES_MAX + 1)
        except theirs.ClientError as error:
            code = error.response.get("Error", {}).get("Code")
            if status_of(error) == 404:  # Listed a moment ago.
                return held.spoilt("manifest missing")
            if code == "InvalidObjectState":
                # Evidence is always in a class that can be read.
                return held.spoilt("wrong class")
            raise
        version_id = answer.get("VersionId")
        held = HeldManifest(
            key=key,
            revision=revision,
            sha256=hashlib.sha256(body).hexdigest(),
            content=None,
            version_id=None if version_id == "null" else version_id,
            etag=answer.get("ETag", ""),
        )
        claimed = answer.get("Metadata", {}).get(FILE_DIGEST, "")
        if len(body) > _BODY_BYTES_MAX or (
            claimed != held.sha256 and (claimed or self.expected.metadata)
        ):
            return held.spoilt("manifest altered")
        content = self._decode(body, revision)
        if content is None:
            return held.spoilt("manifest altered")
        shelter = self.expected.shelter_of(
            answer.get("ServerSideEncryption", ""),
            answer.get("SSEKMSKeyId", ""),
            answer.get("ObjectLockMode", ""),
        )
        return replace(held, content=content, findings=(held.finding(shelter),) if shelter else ())

    def _decode(self, body: bytes, revision: int) -> Manifest | None:
        """Return the manifest, None where it is not the one that belongs under its key."""
        try:
            content = manifest.decode(body)
        except ManifestUnreadable:
            if _is_of_other_version(body):
                raise
            return None
        named = (content.archive, content.study_instance_uid, content.revision)
        if named != (self.archive, self.study.study_instance_uid, revision):
            return None
        return content


def _is_of_other_version(body: bytes) -> bool:
    """Say whether the bytes begin as a manifest that a newer reader would understand."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(body)) as file:
            beginning = file.read(_BEGINNING_BYTES)  # Never the whole: it may be a bomb.
    except (OSError, EOFError, zlib.error):
        return False
    found = _SCHEMA.match(beginning)
    return found is not None and found[1].decode("ascii") != manifest.SCHEMA
