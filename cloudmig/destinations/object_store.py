"""The object store destination: S3, Google, Azure, a local directory or memory.

One instance is one object under `cloudmig.objects.object_key`. Both digests travel as metadata, so
that a HEAD tells identity; where there is no metadata they are computed by reading. A PUT to S3 is
`S3Put`'s, from 64 MiB on `LargeObjects`', in parts; reading, lists, other stores are obstore's.
A location's key is relative to the destination's URL: a prefix there is added on the wire only.

Nothing here retries: `RetryingDestination` does, and every call is safe to repeat.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Any

import obstore
from obstore.exceptions import AlreadyExistsError, PreconditionError
from obstore.store import ObjectStore

from cloudmig.destinations.answers import ConditionFailed, Unacceptable
from cloudmig.destinations.attributes import ObjectAttributes, PutAnswer, digests_told
from cloudmig.destinations.bodies import StagedBody, map_spooled
from cloudmig.destinations.local_files import LocalFiles
from cloudmig.destinations.obstore_errors import OBSTORE_ERRORS, lacks_bucket, translate
from cloudmig.destinations.profiles import StoreProfile
from cloudmig.dicom.digest import StreamDigests
from cloudmig.errors import ConfigError, DestinationUnavailable, ObjectMissing
from cloudmig.model.instance import ARCHIVE_CLASSES, Location, Receipt, Slot, StagedInstance
from cloudmig.model.outcome import Refused, Stored, StoreOutcome, Taken
from cloudmig.objects import object_key, repair_key

if TYPE_CHECKING:
    from obstore import PutMode  # Exists for type checkers only.

    from cloudmig.destinations.multipart import LargeObjects
    from cloudmig.destinations.s3_control import S3Control
    from cloudmig.destinations.s3_put import S3Put

__all__ = ["Backend", "ObjectStoreDestination"]

_REPAIRS_MAX = 99
_READ_CHUNK_BYTES = 1 << 20
#: How many spooled objects are mapped at once; what is in memory already needs no place here.
_SPOOLED_AT_ONCE = 2
_IF_ABSENT = {"if-none-match": "*"}
_REPAIR = re.compile(r"(?P<key>.*)~r(?P<number>[0-9]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """The concrete store behind a destination: what `open_destination` puts together."""

    store: ObjectStore
    profile: StoreProfile
    reading: ObjectStore | None = None  #: The same store with the time-outs of a long download.
    sending: Callable[[int], ObjectStore] | None = None  #: With those of an upload, by its size.
    control: S3Control | None = None  #: S3 only: what obstore cannot ask.
    direct: S3Put | None = None  #: S3 only, and no proxy in between: cheaper, see ADR 0008.
    large: LargeObjects | None = None  #: S3 only.
    files: LocalFiles | None = None  #: Local directory only: obstore calls no fsync.


class ObjectStoreDestination:
    """Keeps the promises of `cloudmig.ports.Destination` on an object store."""

    def __init__(
        self,
        name: str,
        backend: Backend,
        *,
        archive: str,
        storage_class: str = "",
        large_bytes_min: int = 64 << 20,
    ) -> None:
        self._name = name
        self._backend = backend
        self._store = backend.store
        self._reading = backend.reading or backend.store
        self._profile = backend.profile
        self._archive = archive
        self._storage_class = self._known_class(storage_class)
        self._large_bytes_min = large_bytes_min
        self._spooled = asyncio.Semaphore(_SPOOLED_AT_ONCE)

    @property
    def name(self) -> str:
        return self._name

    async def store(
        self, staged: StagedInstance, *, slot: Slot = Slot.PRIMARY, storage_class: str = ""
    ) -> StoreOutcome:
        key = object_key(self._archive, staged, slot)
        attributes = self._attributes(staged, storage_class)
        try:
            receipt = await self._create(key, staged, attributes)
        except Unacceptable as error:
            return Refused(str(error))
        if receipt is not None:
            return Stored(receipt, fresh=True)
        return await self._judge_held(key, staged)

    async def find(self, location: Location) -> Receipt | None:
        if self._backend.control is not None:
            receipt = await self._backend.control.find(location)
        else:
            receipt = await self._find_by_obstore(location)
        if receipt is None or receipt.file_sha256 or receipt.storage_class in ARCHIVE_CLASSES:
            return receipt  # What is archived cannot be read to find out more.
        return await self._read_digests(receipt)

    async def read(self, location: Location) -> AsyncIterator[bytes]:
        options: Any = {}
        if location.version_id is not None:
            options["version"] = location.version_id
        if location.length is not None:
            options["range"] = (location.offset, location.offset + location.length)
        elif location.offset:
            options["range"] = {"offset": location.offset}
        try:
            result = await obstore.get_async(self._reading, location.key, options=options)
            async for chunk in result.stream(min_chunk_size=_READ_CHUNK_BYTES):
                yield bytes(chunk)
        except FileNotFoundError as error:
            await self._see_root(error, doing="get")
            raise ObjectMissing("get: the object is not there") from error
        except OBSTORE_ERRORS as error:
            raise translate(error, doing="get") from error

    async def replace(self, staged: StagedInstance, bad: Receipt) -> Receipt:
        attributes = self._attributes(staged, bad.storage_class)
        held = await self.find(Location(bad.location.key))
        if held is None:
            receipt = await self._create(bad.location.key, staged, attributes)
            if receipt is None:
                raise DestinationUnavailable("replace: the key was taken in the same moment")
            return receipt
        if bad.location.version_id is None or not bad.etag or not self._profile.put_if_match:
            return await self._create_repair(staged, bad, attributes)
        if (held.etag, held.location.version_id) != (bad.etag, bad.location.version_id):
            # Replaced before: by an attempt that died before it could say so. Where only its class
            # or its encryption was wrong, the version alone tells that.
            if _same_file(held, staged):
                return held
            raise DestinationUnavailable("replace: the object has changed since it was judged")
        return await self._overwrite(bad, staged, attributes)

    async def put_evidence(self, key: str, body: bytes) -> bool:
        attributes = ObjectAttributes.of_evidence(key, body, self._default_class())
        if await self._create(key, StagedBody.of_evidence(body), attributes) is not None:
            return True
        if await self.find(Location(key)) is None:
            raise DestinationUnavailable("put evidence: taken, and yet not there")
        return False

    async def get_evidence(self, key: str) -> bytes | None:
        try:
            result = await obstore.get_async(self._reading, key)
            return bytes(await result.bytes_async())
        except FileNotFoundError as error:
            await self._see_root(error, doing="get evidence")
            return None
        except OBSTORE_ERRORS as error:
            raise translate(error, doing="get evidence") from error

    async def stored_checksum(self, location: Location) -> str | None:
        """Return the hex SHA-256 that the store computed itself, or None where it has none."""
        if self._backend.control is None or not self._profile.stored_checksum:
            return None
        return await self._backend.control.stored_checksum(location)

    async def list_keys(self, prefix: str) -> AsyncIterator[str]:
        """Yield every key below a prefix that ends in a slash."""
        assert prefix.endswith("/"), "stores list by path segment"
        try:
            async for page in obstore.list(self._reading, prefix, chunk_size=1000):
                for item in page:
                    yield item["path"]
        except OBSTORE_ERRORS as error:
            raise translate(error, doing="list") from error

    async def abort_leftovers(self) -> int:
        """Abort the multipart uploads that dead attempts left open; return how many."""
        if self._backend.large is None:
            return 0
        return await self._backend.large.abort_leftovers()

    def close(self) -> None:
        """Drop idle connections and threads. Nothing is called any more."""
        if self._backend.files is not None:
            self._backend.files.close()
        if self._backend.direct is not None:
            self._backend.direct.close()

    # ------------------------------------------------------------------------------- writing

    async def _create(
        self, key: str, staged: StagedInstance | StagedBody, attributes: ObjectAttributes
    ) -> Receipt | None:
        """Put under a free key; return None when it is taken."""
        body = staged if isinstance(staged, StagedBody) else StagedBody.of(staged)
        if self._backend.files is not None:
            etag = await self._backend.files.create(key, body)
            if etag is None:
                return None
            return self._receipt(key, body, ObjectAttributes(), PutAnswer.of(etag, None))
        looks = not self._profile.put_if_absent and self._profile.look_before_put
        if looks and await self.find(Location(key)) is not None:
            return None
        try:
            if body.size_bytes >= self._large_bytes_min and self._backend.large is not None:
                answer = await self._backend.large.create(key, body, attributes)
            else:
                condition = _IF_ABSENT if self._profile.put_if_absent else {}
                answer = await self._put(key, body, attributes, condition)
        except ConditionFailed:
            return None
        if answer is None:
            return None
        if looks:
            held = await self.find(Location(key))
            if held is None or held.file_sha256 != body.file_sha256:
                raise DestinationUnavailable("put: another writer was there in the same moment")
        return self._receipt(key, body, attributes, answer)

    async def _put(
        self,
        key: str,
        body: StagedBody,
        attributes: ObjectAttributes,
        condition: Mapping[str, str],
    ) -> PutAnswer:
        """Send one PUT. Raises `ConditionFailed` where the condition does not hold."""
        async with self._in_memory(body) as data:
            if self._backend.direct is not None:
                return await self._backend.direct.put(
                    key, data, attributes, file_sha256=body.file_sha256, condition=condition
                )
            return await self._put_by_obstore(key, data, attributes, condition)

    async def _put_by_obstore(
        self,
        key: str,
        data: Any,  # noqa: ANN401 - a buffer
        attributes: ObjectAttributes,
        condition: Mapping[str, str],
    ) -> PutAnswer:
        mode: PutMode = "create" if condition == _IF_ABSENT else "overwrite"
        if "if-match" in condition:
            mode = {"e_tag": condition["if-match"]}
        store = self._backend.sending(len(data)) if self._backend.sending else self._store
        headers: Any = {}
        if self._profile.metadata:
            headers = attributes.for_obstore(dashes=self._profile.metadata_dashes)
        try:
            answer = await obstore.put_async(
                store, key, data, attributes=headers, mode=mode, use_multipart=False
            )
        except (AlreadyExistsError, PreconditionError) as error:
            if condition:
                raise ConditionFailed(type(error).__name__) from error
            # Nobody asked for a condition: a proxy or a store in trouble made it up.
            raise translate(error, doing="put") from error
        except OBSTORE_ERRORS as error:
            raise translate(error, doing="put") from error
        return PutAnswer.of(answer["e_tag"], answer["version"])

    @asynccontextmanager
    async def _in_memory(self, body: StagedBody) -> AsyncIterator[Any]:
        if body.body is not None:
            yield body.body
            return
        async with self._spooled:
            yield await asyncio.to_thread(map_spooled, body)

    async def _overwrite(
        self, bad: Receipt, staged: StagedInstance, attributes: ObjectAttributes
    ) -> Receipt:
        key, body = bad.location.key, StagedBody.of(staged)
        try:
            if body.size_bytes >= self._large_bytes_min and self._backend.large is not None:
                answer = await self._backend.large.overwrite(key, body, attributes, etag=bad.etag)
            else:
                answer = await self._put(key, body, attributes, {"if-match": bad.etag})
        except ConditionFailed as error:
            # 412, or 409 while somebody else writes: look at it again.
            raise DestinationUnavailable("replace: the object has changed meanwhile") from error
        return self._receipt(key, body, attributes, answer)

    async def _create_repair(
        self, staged: StagedInstance, bad: Receipt, attributes: ObjectAttributes
    ) -> Receipt:
        """Put under the smallest free `~r<n>` after the bad one's."""
        parts = _REPAIR.fullmatch(bad.location.key)
        key, first = (parts["key"], int(parts["number"]) + 1) if parts else (bad.location.key, 1)
        for number in count(first):
            if number > _REPAIRS_MAX:
                break
            location = Location(repair_key(key, number))
            receipt = await self._create(location.key, staged, attributes)
            if receipt is None:
                receipt = await self.find(location)
            if receipt is not None and _same_file(receipt, staged):
                return receipt
        raise DestinationUnavailable("replace: no free repair key")

    # ------------------------------------------------------------------------------- judging

    async def _judge_held(self, key: str, staged: StagedInstance) -> StoreOutcome:
        """Look at what has the key. The answer of a PUT says only that something has it."""
        held = await self.find(Location(key))
        if held is None:
            # 409 means "being written" as often as "exists", and both become AlreadyExists.
            raise DestinationUnavailable("put: the key was busy, and nothing is there")
        if held.file_sha256 == staged.file_sha256 and held.size_bytes != staged.size_bytes:
            held = await self._read_digests(held)  # Its metadata cannot be true: look inside.
        if held.dataset_sha256 == staged.dataset_sha256:
            return Stored(held, fresh=False)
        return Taken(held)

    async def _find_by_obstore(self, location: Location) -> Receipt | None:
        options: Any = {"head": True}
        if location.version_id is not None:
            options["version"] = location.version_id
        try:
            result = await obstore.get_async(self._store, location.key, options=options)
        except FileNotFoundError as error:
            await self._see_root(error, doing="head")
            return None
        except OBSTORE_ERRORS as error:
            raise translate(error, doing="head") from error
        attributes: Any = result.attributes
        file_sha256, dataset_sha256 = digests_told(attributes)
        return Receipt(
            location=Location(location.key, result.meta["version"]),
            size_bytes=result.meta["size"],
            file_sha256=file_sha256,
            dataset_sha256=dataset_sha256,
            etag=result.meta["e_tag"] or "",
            storage_class=attributes.get("Storage-Class", self._default_class()),
        )

    async def _see_root(self, error: FileNotFoundError, *, doing: str) -> None:
        """Raise where nothing is there because its disk or its bucket is not."""
        if lacks_bucket(error):
            raise translate(error, doing=doing) from error
        if self._backend.files is not None:
            await self._backend.files.see_root()

    async def _read_digests(self, receipt: Receipt) -> Receipt:
        """Compute the digests that no metadata tells, by reading the object."""
        digests = StreamDigests()
        async for piece in self.read(receipt.location):
            digests.update(piece)
        found = digests.result()
        return replace(
            receipt,
            size_bytes=found.size_bytes,
            file_sha256=found.file_sha256,
            dataset_sha256=found.dataset_sha256,
        )

    def _receipt(
        self, key: str, body: StagedBody, attributes: ObjectAttributes, answer: PutAnswer
    ) -> Receipt:
        return Receipt(
            location=Location(key, answer.version_id),
            size_bytes=body.size_bytes,
            file_sha256=body.file_sha256,
            dataset_sha256=body.dataset_sha256,
            etag=answer.etag,
            storage_class=attributes.storage_class or self._default_class(),
        )

    # ------------------------------------------------------------------------------- classes

    def _attributes(self, staged: StagedInstance, storage_class: str) -> ObjectAttributes:
        wanted = self._known_class(storage_class) or self._storage_class
        return ObjectAttributes.of(staged, wanted if self._profile.storage_classes else "")

    def _default_class(self) -> str:
        return "STANDARD" if self._profile.storage_classes else ""

    def _known_class(self, storage_class: str) -> str:
        if self._profile.storage_classes or storage_class in {"", "STANDARD"}:
            return storage_class
        raise ConfigError(
            f"destination {self._name} has no storage class {storage_class}",
            hint=f"the profile {self._profile.name} has none: remove storage_class,"
            " also of rules, then `cloudmig plan`",
        )


def _same_file(receipt: Receipt, staged: StagedInstance) -> bool:
    return receipt.file_sha256 == staged.file_sha256 and receipt.size_bytes == staged.size_bytes
