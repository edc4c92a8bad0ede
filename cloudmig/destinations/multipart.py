"""Large objects go up in parts, through boto3: put-if-absent on completion, parts hashed.

The upload ID is written down before the first part, so that whoever comes after a dead attempt can
abort what it left. A leftover is aborted rather than resumed: it may hold parts of other bytes.

    abort leftovers -> HEAD -> create -> remember -> parts -> complete -> forget
                        |                     any failure: abort, forget
                        +-> taken: nothing is sent

Memory is bounded by the parts in flight, over all objects: each part is read when its turn comes.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

from botocore import exceptions as theirs

from cloudmig.destinations.attributes import PARTS_DIGEST, ObjectAttributes, PutAnswer
from cloudmig.destinations.bodies import (
    PartPlan,
    PartReader,
    StagedBody,
    digest_parts,
    open_part_reader,
)
from cloudmig.destinations.s3_control import S3Control, translate
from cloudmig.destinations.upload_log import OpenUpload, UploadLog
from cloudmig.errors import DestinationUnavailable
from cloudmig.model.instance import Location

__all__ = ["LargeObjects"]

_BOTO_ERRORS = (theirs.ClientError, theirs.BotoCoreError, OSError)


class LargeObjects:
    """Puts large objects into one bucket."""

    def __init__(
        self,
        control: S3Control,
        uploads: UploadLog,
        *,
        destination: str,
        part_bytes_min: int = 8 << 20,
        parts_in_flight: int = 4,
    ) -> None:
        self._control = control
        self._uploads = uploads
        self._destination = destination
        self._part_bytes_min = part_bytes_min
        self._threads = ThreadPoolExecutor(parts_in_flight, thread_name_prefix="s3-part")
        self._busy: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def create(
        self, key: str, body: StagedBody, attributes: ObjectAttributes
    ) -> PutAnswer | None:
        """Put under a free key; return ETag and version, or None when it is taken."""
        async with self._alone(key):
            await self.abort_leftovers(key)
            if await self._control.head(Location(key)) is not None:
                return None
            return await self._put(key, body, attributes, {"IfNoneMatch": "*"})

    async def overwrite(
        self, key: str, body: StagedBody, attributes: ObjectAttributes, *, etag: str
    ) -> PutAnswer:
        """Put over the object with that ETag, in a versioned bucket."""
        async with self._alone(key):
            await self.abort_leftovers(key)
            answer = await self._put(key, body, attributes, {"IfMatch": etag})
        if answer is None:
            raise DestinationUnavailable("replace: the object has changed meanwhile")
        return answer

    async def abort_leftovers(self, key: str | None = None) -> int:
        """Abort what dead attempts left open, under one key or everywhere; return how many.

        Whoever calls this holds the lease of the study, so nobody alive owns these uploads. The
        bucket is asked too where one key is meant: a process killed between the creation of an
        upload and its line in the log leaves one that only the bucket knows.
        """
        left = set(await self._uploads.open_uploads(self._destination, key))
        if key is not None and self._control.profile.multipart:
            left |= await self._listed(key)
        for upload in left:
            await self._abort(upload)
        return len(left)

    async def _listed(self, key: str) -> set[OpenUpload]:
        job = partial(
            self._control.call_here, "list_multipart_uploads", Prefix=self._control.full_key(key)
        )
        try:
            answer = await asyncio.to_thread(job)
        except _BOTO_ERRORS as error:
            raise translate(error, doing="list uploads") from error
        wanted = self._control.full_key(key)
        return {
            OpenUpload(key, found["UploadId"])
            for found in answer.get("Uploads", [])
            if found["Key"] == wanted
        }

    async def _abort(self, upload: OpenUpload) -> None:
        try:
            await self._control.call(
                "abort_multipart_upload", upload.key, UploadId=upload.upload_id
            )
        except _BOTO_ERRORS as error:
            if not _is(error, "NoSuchUpload", 404):
                raise translate(error, doing="abort upload") from error
        await self._uploads.forget(self._destination, upload.key, upload.upload_id)

    async def _put(
        self, key: str, body: StagedBody, attributes: ObjectAttributes, condition: dict[str, str]
    ) -> PutAnswer | None:
        profile = self._control.profile
        if not profile.multipart:
            return await self._put_whole(key, body, attributes, condition)
        plan = PartPlan.of(body.size_bytes, self._part_bytes_min)
        digests = await asyncio.to_thread(digest_parts, body, plan)
        composite = hashlib.sha256(b"".join(digests))
        attributes = attributes.with_metadata(
            **{PARTS_DIGEST: f"{composite.hexdigest()}-{len(digests)}"}
        )
        upload = await self._begin(key, attributes)
        try:
            await self._uploads.remember(self._destination, key, upload.upload_id)
            parts = await self._send_parts(upload, body, plan, digests)
            if await self._is_overtaken(key, condition):
                answer = None
            else:
                sent = condition if profile.multipart_put_if_absent else {}
                answer = await self._complete(upload, parts, sent)
        except BaseException:
            await asyncio.shield(self._abort(upload))
            raise
        if answer is None:
            await self._abort(upload)
            return None
        await self._uploads.forget(self._destination, key, upload.upload_id)
        return answer

    async def _is_overtaken(self, key: str, condition: dict[str, str]) -> bool:
        """Look before completing, where the store may not look itself.

        Few stores honour If-Match there. What slips in between is a version of its own: nothing
        is replaced in a bucket without versions.
        """
        etag = condition.get("IfMatch")
        if etag is None and self._control.profile.multipart_put_if_absent:
            return False
        held = await self._control.head(Location(key))
        return held is not None if etag is None else held is None or held.get("ETag") != etag

    async def _put_whole(
        self, key: str, body: StagedBody, attributes: ObjectAttributes, condition: dict[str, str]
    ) -> PutAnswer | None:
        """Stream one PUT, for a store without multipart uploads."""
        profile = self._control.profile
        arguments = attributes.for_boto3() if profile.metadata else {}
        if profile.checksum_header:
            arguments["ChecksumSHA256"] = _base64(bytes.fromhex(body.file_sha256))
        if profile.put_if_absent:
            arguments |= condition
        with open_part_reader(body) as reader:
            stream = reader.stream(body.size_bytes)
            try:
                answer = await self._control.call(
                    "put_object", key, executor=self._threads, Body=stream, **arguments
                )
            except _BOTO_ERRORS as error:
                if _is(error, "PreconditionFailed", 412):
                    return None
                raise translate(error, doing="put") from error
        return PutAnswer.of(answer.get("ETag"), answer.get("VersionId"))

    async def _begin(self, key: str, attributes: ObjectAttributes) -> OpenUpload:
        arguments = attributes.for_boto3()
        if self._control.profile.checksum_header:
            arguments["ChecksumAlgorithm"] = "SHA256"
        arguments |= self._control.encryption
        try:
            answer = await self._control.call("create_multipart_upload", key, **arguments)
        except _BOTO_ERRORS as error:
            raise translate(error, doing="begin upload") from error
        return OpenUpload(key, _needed(answer, "UploadId", doing="begin upload"))

    async def _send_parts(
        self, upload: OpenUpload, body: StagedBody, plan: PartPlan, digests: list[bytes]
    ) -> list[dict[str, Any]]:
        with open_part_reader(body) as reader:
            ranges = zip(plan.ranges(), digests, strict=True)
            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [
                        group.create_task(self._send_part(upload, reader, number, span, digest))
                        for number, (span, digest) in enumerate(ranges, 1)
                    ]
            except ExceptionGroup as several:
                raise several.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _send_part(
        self,
        upload: OpenUpload,
        reader: PartReader,
        number: int,
        span: tuple[int, int],
        digest: bytes,
    ) -> dict[str, Any]:
        checksum = (
            {"ChecksumSHA256": _base64(digest)} if self._control.profile.checksum_header else {}
        )

        def send() -> dict[str, Any]:
            return self._control.call_here(
                "upload_part",
                Key=self._control.full_key(upload.key),
                UploadId=upload.upload_id,
                PartNumber=number,
                Body=reader.read(*span),
                **checksum,
            )

        try:
            answer = await asyncio.get_running_loop().run_in_executor(self._threads, send)
        except _BOTO_ERRORS as error:
            raise translate(error, doing="put part") from error
        etag = _needed(answer, "ETag", doing="put part")
        return {"PartNumber": number, "ETag": etag, **checksum}

    async def _complete(
        self, upload: OpenUpload, parts: list[dict[str, Any]], condition: dict[str, str]
    ) -> PutAnswer | None:
        conditions: dict[str, Any] = dict(condition)
        try:
            answer = await self._control.call(
                "complete_multipart_upload",
                upload.key,
                UploadId=upload.upload_id,
                MultipartUpload={"Parts": parts},
                **conditions,
            )
        except _BOTO_ERRORS as error:
            if _is(error, "PreconditionFailed", 412):
                return None
            raise translate(error, doing="complete upload") from error
        etag, version_id = answer.get("ETag", ""), answer.get("VersionId")
        if not etag.strip('"'):
            # Ceph answers with an empty one.
            held = await self._control.find(Location(upload.key, version_id))
            if held is None:
                raise DestinationUnavailable("complete upload: done, and yet nothing is there")
            etag, version_id = held.etag, held.location.version_id
        return PutAnswer.of(etag, version_id)

    @asynccontextmanager
    async def _alone(self, key: str) -> AsyncIterator[None]:
        """Let one upload per key go on in this process, or each would abort the other's."""
        lock = self._busy.setdefault(key, asyncio.Lock())
        async with lock:
            yield


def _needed(answer: dict[str, Any], name: str, *, doing: str) -> str:
    """Return a part of an answer. A proxy that dies may leave an empty 200."""
    if not answer.get(name):
        raise DestinationUnavailable(f"{doing}: the answer was empty or cut")
    return str(answer[name])


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode("ascii")


def _is(error: BaseException, code: str, status: int) -> bool:
    if not isinstance(error, theirs.ClientError):
        return False
    answered = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return answered == status or error.response.get("Error", {}).get("Code") == code
