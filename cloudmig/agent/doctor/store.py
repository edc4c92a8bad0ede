"""An S3 destination: can it be reached, may we use it, and does it keep the promises we build on?

A few small objects are put under `v1/<archive>/doctor/` and deleted again with their versions.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from cloudmig.agent.doctor.cloud_store import check_cloud_store
from cloudmig.agent.doctor.findings import Finding, ok, problem, warning
from cloudmig.agent.doctor.web_store import check_web_store
from cloudmig.bootstrap.destinations import store_settings
from cloudmig.config import DestinationSettings
from cloudmig.destinations.local_files import create_durably
from cloudmig.destinations.opening import open_control
from cloudmig.destinations.s3_control import S3Control, translate
from cloudmig.errors import CloudmigError, DestinationRefused
from cloudmig.http_date import http_date

__all__ = ["check_destination"]

_BODY = b"cloudmig doctor: this object may be deleted\n"
_SKEW_WARNING_S = 60.0
_SKEW_MAX_S = 15 * 60.0  #: What a signature of S3 bears.
_DENIED = frozenset({"AccessDenied", "Forbidden", "403", "AllAccessDisabled"})
_UNKNOWN = frozenset(
    {
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "InvalidToken",
        "ExpiredToken",
        "InvalidSecurity",
        "401",
        "Unauthorized",
    }
)
_DAMAGED = frozenset(
    {
        "BadDigest",
        "InvalidDigest",
        "XAmzContentSHA256Mismatch",
        "InvalidRequest",
        "XAmzContentChecksumMismatch",
    }
)
_TAKEN = frozenset({"PreconditionFailed", "412"})


def check_destination(
    name: str, destination: DestinationSettings, archive: str, *, timeout_s: float
) -> list[Finding]:
    """Examine one destination; blocks, so it runs in a thread."""
    subject = f"destination {name}"
    if destination.directory is not None:
        return [_check_directory(subject, destination.directory)]
    if destination.is_dicomweb:
        return check_web_store(subject, name, destination, archive, timeout_s=timeout_s)
    connect_s = min(destination.connect_s, timeout_s)
    settings = replace(
        store_settings(destination), connect_timeout_s=connect_s, timeout_s=timeout_s
    )
    if destination.scheme in {"gs", "az"}:
        return check_cloud_store(subject, name, destination, settings, archive)
    try:
        control = open_control(name, settings)
    except CloudmigError as error:
        words = str(error).removeprefix(f"{subject}: ")
        hint = _sentence(error.hint or "correct the setting")
        return [problem("credentials", subject, words, hint)]
    if control is None:
        words = f"{destination.scheme}:// is not examined further: the first run shows the rest"
        return [ok("store", subject, words)]
    return list(_Examination(subject, name, destination, control, archive).findings())


def _check_directory(subject: str, folder: Path) -> Finding:
    try:
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        probe = folder / f"cloudmig-doctor#{os.getpid()}"  # Nothing lists such names.
        create_durably(probe, [b"x"])
        probe.unlink()
        return ok("store", subject, f"{folder} can be written")
    except DestinationRefused as error:
        return problem("store", subject, f"{folder}: {error}", _sentence(error.hint))
    except OSError as error:
        return problem(
            "store",
            subject,
            f"{folder} cannot be written: {error.strerror}",
            f"Make {folder} writable for this user, or set another url.",
        )


class _Stop(Exception):  # noqa: N818 - no error: what follows would only repeat the finding
    """Nothing further can be found out about this store."""


@dataclass
class _Examination:
    """One pass over one bucket."""

    subject: str
    name: str
    destination: DestinationSettings
    control: S3Control
    archive: str
    left: list[tuple[str, str | None]] = field(default_factory=list)  #: Keys and versions put.
    date: str = ""  #: The last Date header.

    def findings(self) -> Iterator[Finding]:
        try:
            yield from self._list()
            yield from self._put_damaged()
            yield from self._put_twice()
            yield from self._uploads()
            yield from self._versioning()
        except _Stop as stop:
            yield stop.args[0]
        finally:
            leftovers = self._clean_up()
        yield from self._clock()
        yield from leftovers

    def _list(self) -> Iterator[Finding]:
        prefix = self.control.full_key(self._folder)
        code, _ = self._try("list_objects_v2", Prefix=prefix, MaxKeys=1)
        if code in _DENIED:
            yield self._denied("list", "s3:ListBucket on the bucket")
        else:
            yield ok("bucket", self.subject, f"{self.destination.url} is there and can be listed")

    def _put_damaged(self) -> Iterator[Finding]:
        if not self.control.profile.checksum_header:
            return
        wrong = base64.b64encode(hashlib.sha256(b"another body").digest()).decode()
        key = self._key("damaged")
        code, _ = self._put(key, ChecksumSHA256=wrong)
        if code in _DENIED:
            raise _Stop(self._denied("put", "s3:PutObject on its objects"))
        if code in _DAMAGED:
            yield ok("checksum", self.subject, "a damaged body is refused")
        elif code == "":
            yield warning(
                "checksum",
                self.subject,
                "the store accepts a damaged body: it does not compare SHA-256",
                "Copies are still compared by `cloudmig verify`; run it soon after every wave.",
            )
        else:
            yield warning("checksum", self.subject, f"a damaged body was answered with {code}")

    def _put_twice(self) -> Iterator[Finding]:
        key = self._key("probe")
        conditional = {"IfNoneMatch": "*"} if self.control.profile.put_if_absent else {}
        code, _ = self._put(key, **conditional)
        if code in _DENIED:
            raise _Stop(self._denied("put", "s3:PutObject on its objects"))
        if code:
            raise _Stop(
                problem(
                    "put",
                    self.subject,
                    f"a small object is refused: {code}",
                    f"Set destinations.{self.name}.profile to what the store is, or override the"
                    " feature it lacks in profile_overrides.",
                )
            )
        yield ok("put", self.subject, "objects can be put")
        code, _ = self._try("get_object", Key=self.control.full_key(key))
        if code in _DENIED:
            yield self._denied("read", "s3:GetObject on its objects")
        else:
            yield ok("read", self.subject, "objects can be read")
        if not conditional:
            yield warning(
                "put_if_absent",
                self.subject,
                f"the profile {self.destination.profile} has no put-if-absent: two agents that"
                " write one object at once may both write it",
                "Nothing to do for one agent. Let several share one catalog on PostgreSQL: it gives"
                " each study to one of them.",
            )
            return
        code, _ = self._put(key, **conditional)
        if code in _TAKEN:
            yield ok("put_if_absent", self.subject, "an object that is there is not overwritten")
        else:
            yield problem(
                "put_if_absent",
                self.subject,
                "the store overwrites an object although it was asked not to (If-None-Match)",
                f"Set destinations.{self.name}.profile_overrides = {{ put_if_absent = false }},"
                " or update the store.",
            )

    def _uploads(self) -> Iterator[Finding]:
        """Ask what is asked before an object of 64 MiB goes up in parts: what a dead run left."""
        if not self.control.profile.multipart:
            return
        prefix = self.control.full_key(self._folder)
        code, _ = self._try("list_multipart_uploads", Prefix=prefix)
        if code in _DENIED:
            yield self._denied("list_uploads", "s3:ListBucketMultipartUploads on the bucket")
        elif code:
            yield problem(
                "multipart",
                self.subject,
                f"uploads in parts cannot be listed ({code}): no object of 64 MiB could be put",
                f"Set destinations.{self.name}.profile_overrides = {{ multipart = false }}: such an"
                " object is one PUT then.",
            )

    def _versioning(self) -> Iterator[Finding]:
        code, answer = self._try("get_bucket_versioning")
        if code:
            yield warning("versioning", self.subject, f"versioning cannot be seen ({code})")
        elif answer.get("Status") == "Enabled":
            yield ok("versioning", self.subject, "the bucket is versioned")
        else:
            yield warning(
                "versioning",
                self.subject,
                "versioning is off: a repair is put beside the damaged object instead of over it",
                f"aws s3api put-bucket-versioning --bucket {self.destination.bucket}"
                f" --versioning-configuration Status=Enabled{self._endpoint}",
            )

    def _clock(self) -> Iterator[Finding]:
        theirs = http_date(self.date)
        if theirs is None:
            return
        skew_s = abs((dt.datetime.now(dt.UTC) - theirs).total_seconds())
        hint = "Set the clock of this machine: timedatectl set-ntp true, or chrony."
        words = f"clock and store differ by {skew_s:.0f} s"
        if skew_s > _SKEW_MAX_S:
            yield problem("clock", self.subject, f"{words}: signatures are refused", hint)
        elif skew_s > _SKEW_WARNING_S:
            yield warning("clock", self.subject, words, hint)
        else:
            yield ok("clock", self.subject, "clock and store agree")

    def _clean_up(self) -> list[Finding]:
        kept = []
        for key, version_id in self.left:
            version = {"VersionId": version_id} if version_id else {}
            try:
                self.control.call_here("delete_object", Key=key, **version)
            except (ClientError, BotoCoreError, OSError):
                kept.append(key)
        if not kept:
            return []
        return [
            warning(
                "clean_up",
                self.subject,
                f"{len(kept)} probe objects could not be deleted: {', '.join(kept)}",
                "A run never deletes and needs no such right; delete them by hand.",
            )
        ]

    @property
    def _folder(self) -> str:
        return f"v1/{self.archive}/doctor/"

    @property
    def _endpoint(self) -> str:
        endpoint = self.destination.endpoint
        return f" --endpoint-url {endpoint}" if endpoint else ""

    def _key(self, what: str) -> str:
        return f"{self._folder}{what}-{secrets.token_hex(6)}"

    def _put(self, key: str, **arguments: object) -> tuple[str, Mapping[str, Any]]:
        full_key = self.control.full_key(key)
        code, answer = self._try(
            "put_object", Key=full_key, Body=_BODY, **self.control.encryption, **arguments
        )
        if not code:
            self.left.append((full_key, answer.get("VersionId")))
        return code, answer

    def _denied(self, right: str, action: str) -> Finding:
        return problem(
            f"right_{right}",
            self.subject,
            f"these credentials may not {right.replace('_', ' ')} in {self.destination.url}",
            f"Allow {action} for them in the bucket policy or the role.",
        )

    def _try(self, operation: str, **arguments: object) -> tuple[str, Mapping[str, Any]]:
        """Return the store's error code, empty for success. Raises `_Stop` where no call can work.

        Values of an error never pass: they hold keys and signatures.
        """
        try:
            answer = self.control.call_here(operation, **arguments)
        except ClientError as error:
            said = error.response
            code = str(said.get("Error", {}).get("Code", ""))
            status = said.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            self._note_date(said)
            if finding := self._hopeless(code, int(status)):
                raise _Stop(finding) from error
            return code or str(status), {}
        except (BotoCoreError, OSError) as error:
            ours = translate(error, doing="the store")
            where = self.destination.endpoint or f"AWS in {self.destination.region}"
            raise _Stop(
                problem(
                    "reachable",
                    self.subject,
                    f"{where} cannot be used: {ours}",
                    f"Check destinations.{self.name}.endpoint, name resolution, proxy and"
                    f" firewall. {_sentence(ours.hint)}".strip(),
                )
            ) from error
        self._note_date(answer)
        return "", answer

    def _note_date(self, answer: Mapping[str, Any]) -> None:
        headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        self.date = headers.get("date", self.date)

    def _hopeless(self, code: str, status: int) -> Finding | None:
        bucket, region = self.destination.bucket, self.destination.region
        if code == "NoSuchBucket" or (status == 404 and code in {"404", "NotFound", ""}):
            return problem(
                "bucket",
                self.subject,
                f"there is no bucket {bucket}",
                f"Create it: aws s3 mb s3://{bucket} --region {region}{self._endpoint}; or correct"
                f" destinations.{self.name}.url.",
            )
        if code in _UNKNOWN or status == 401:
            return problem(
                "credentials",
                self.subject,
                f"the store does not know these credentials ({code})",
                f"Set destinations.{self.name}.access_key_id and secret_access_key, or"
                " AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment, to valid ones.",
            )
        if code in {"PermanentRedirect", "AuthorizationHeaderMalformed", "301"}:
            return problem(
                "bucket",
                self.subject,
                f"the bucket {bucket} lives in another region",
                f"Set destinations.{self.name}.region to the bucket's region.",
            )
        if code == "RequestTimeTooSkewed":
            return problem(
                "clock",
                self.subject,
                "the store refuses requests: this machine's clock is wrong",
                "Set the clock of this machine: timedatectl set-ntp true, or chrony.",
            )
        return None


def _sentence(hint: str) -> str:
    return f"{hint[:1].upper()}{hint[1:]}{'' if hint.endswith('?') else '.'}" if hint else ""
