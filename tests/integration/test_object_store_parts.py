"""Large objects: dead attempts leave nothing, memory stays flat, the store's checksum is found."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from cloudmig.destinations.opening import StoreSettings, open_object_store
from cloudmig.destinations.upload_log import MemoryUploadLog
from cloudmig.errors import DestinationUnavailable, SpoolFull
from cloudmig.model.instance import Location, StagedInstance
from cloudmig.model.outcome import Stored, StoreOutcome, Taken
from tests.contract.destination_contract import ARCHIVE, an_instance, key_of, read_all, staged
from tests.contract.faulty_proxy import Fault, FaultyProxy
from tests.contract.moto_bucket import Bucket
from tests.contract.relay import Canned

pytest_plugins = ["tests.contract.store_fixtures"]

MEBIBYTE = 1 << 20


async def test_a_spooled_object_in_parts_arrives_whole(bucket: Bucket, tmp_path: Path) -> None:
    store = open_object_store("s3", bucket.settings, archive=ARCHIVE, large_bytes_min=1)
    item = staged(an_instance(), os.urandom(20 * MEBIBYTE), path=tmp_path / "spooled")

    outcome = await store.store(item)

    assert isinstance(outcome, Stored)
    digest = hashlib.sha256(await read_all(store, outcome.receipt.location)).hexdigest()
    assert digest == item.file_sha256
    assert outcome.receipt.etag.endswith('-3"'), "three parts of 8 MiB or less"
    assert bucket.open_uploads() == 0


async def test_a_large_object_never_replaces_another(bucket: Bucket) -> None:
    store = open_object_store("s3", bucket.settings, archive=ARCHIVE, large_bytes_min=1)
    instance = an_instance()
    await store.store(staged(instance, b"first"))

    outcome = await store.store(staged(instance, b"second"))

    assert isinstance(outcome, Taken)
    assert bucket.open_uploads() == 0


async def test_a_key_taken_before_completion_is_not_overwritten(
    bucket: Bucket, proxy: FaultyProxy
) -> None:
    """Another writer puts the object between our HEAD and our completion."""
    settings = dataclasses.replace(bucket.settings, endpoint=proxy.endpoint)
    slow = open_object_store("s3", settings, archive=ARCHIVE, large_bytes_min=1)
    quick = open_object_store("s3", bucket.settings, archive=ARCHIVE)
    instance = an_instance()
    first = staged(instance, b"first")
    proxy.meanwhile = lambda: quick.store(first)
    proxy.meanwhile_at = "POST /" + bucket.name + "/some/prefix/" + key_of(first) + "?uploadId"

    outcome = await slow.store(staged(instance, b"second"))

    assert proxy.meanwhile is None, "the other writer was there"
    assert isinstance(outcome, Taken)
    assert bucket.versions_of(key_of(first)) == 1
    assert bucket.open_uploads() == 0


async def test_two_uploads_of_one_key_do_not_abort_each_other(
    bucket: Bucket, proxy: FaultyProxy
) -> None:
    settings = dataclasses.replace(bucket.settings, endpoint=proxy.endpoint)
    store = open_object_store("s3", settings, archive=ARCHIVE, large_bytes_min=1)
    item = staged(an_instance())
    others: list[asyncio.Task[StoreOutcome]] = []

    async def second() -> None:
        others.append(asyncio.create_task(store.store(item)))
        await asyncio.wait(others, timeout=0.3)  # It must wait for the first, so this runs out.

    proxy.meanwhile, proxy.meanwhile_at = second, "partNumber"

    outcomes = [await store.store(item), *await asyncio.gather(*others)]

    assert [isinstance(o, Stored) and o.fresh for o in outcomes] == [True, False]


@pytest.mark.parametrize("large_bytes_min", [1, 1 << 30])
async def test_a_repair_never_overwrites_what_came_meanwhile(
    bucket: Bucket, proxy: FaultyProxy, large_bytes_min: int
) -> None:
    settings = dataclasses.replace(bucket.settings, endpoint=proxy.endpoint)
    store = open_object_store("s3", settings, archive=ARCHIVE, large_bytes_min=large_bytes_min)
    instance = an_instance()
    spoilt = await store.store(staged(instance, b"spoilt"))
    assert isinstance(spoilt, Stored)
    key = f"some/prefix/{key_of(staged(instance))}"

    proxy.meanwhile = lambda: asyncio.to_thread(
        bucket.client.put_object, Bucket=bucket.name, Key=key, Body=b"other"
    )
    proxy.meanwhile_at = "PUT"

    with pytest.raises(DestinationUnavailable, match="changed meanwhile"):
        await store.replace(staged(instance, b"good"), spoilt.receipt)

    held = bucket.client.get_object(Bucket=bucket.name, Key=key)
    assert held["Body"].read() == b"other"


async def test_a_failed_part_leaves_no_upload_and_no_line_in_the_log(
    bucket: Bucket, proxy: FaultyProxy
) -> None:
    settings = dataclasses.replace(bucket.settings, endpoint=proxy.endpoint)
    log = MemoryUploadLog()
    store = open_object_store("s3", settings, archive=ARCHIVE, large_bytes_min=1, uploads=log)
    item = staged(an_instance(), bytes(20 * MEBIBYTE))
    proxy.script, proxy.only = [Fault.PASS, Canned(500, "InternalError")], "PUT"

    with pytest.raises(DestinationUnavailable, match="put part"):
        await store.store(item)

    assert bucket.open_uploads() == 0
    assert await log.open_uploads("s3") == []
    assert await store.find(Location(key_of(item))) is None


async def test_a_spool_file_that_changed_is_never_stored(bucket: Bucket, tmp_path: Path) -> None:
    for large_bytes_min in (1, 1 << 30):
        store = open_object_store(
            "s3", bucket.settings, archive=ARCHIVE, large_bytes_min=large_bytes_min
        )
        item = staged(an_instance(), b"as received", path=tmp_path / "spooled")
        (tmp_path / "spooled").write_bytes(b"x" * item.size_bytes)

        with pytest.raises(SpoolFull, match="does not hold"):
            await store.store(item)

        assert await store.find(Location(key_of(item))) is None


async def test_what_the_log_remembers_is_aborted_on_request(bucket: Bucket) -> None:
    log = MemoryUploadLog()
    store = open_object_store("s3", bucket.settings, archive=ARCHIVE, uploads=log)
    key = key_of(staged(an_instance()))
    begun = bucket.client.create_multipart_upload(Bucket=bucket.name, Key=f"some/prefix/{key}")
    await log.remember("s3", key, begun["UploadId"])
    await log.remember("s3", key, "an upload that is gone already")

    assert await store.abort_leftovers() == 2

    assert bucket.open_uploads() == 0
    assert await log.open_uploads("s3") == []


CHILD = """
import asyncio, json, sys
from pathlib import Path
from cloudmig.destinations.opening import StoreSettings, open_object_store
from cloudmig.model.instance import StagedInstance
from cloudmig.model.references import InstanceRef

asked = json.loads(sys.argv[1])
item = StagedInstance(
    InstanceRef(*asked["uids"]), "1.2", "1.2", asked["size_bytes"], asked["file_sha256"],
    "0" * 64, path=Path(asked["path"]),
)
store = open_object_store("s3", StoreSettings(**asked["settings"]), archive="main")

def status(name):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) // 1024

async def main():
    from cloudmig.model.instance import Location
    await store.find(Location("v1/main/warm"))
    before = status("VmHWM")
    outcome = await store.store(item)
    print(json.dumps({"outcome": type(outcome).__name__, "grown_mb": status("VmHWM") - before}))

asyncio.run(main())
"""


def child_arguments(item: StagedInstance, settings: object) -> str:
    assert item.instance is not None
    fields = dataclasses.asdict(settings)  # type: ignore[call-overload]
    return json.dumps(
        {
            "uids": dataclasses.astuple(item.instance),
            "size_bytes": item.size_bytes,
            "file_sha256": item.file_sha256,
            "path": str(item.path),
            "settings": {k: v for k, v in fields.items() if isinstance(v, str | float | int)},
        }
    )


async def test_a_writer_killed_between_two_parts_is_cleaned_up_after(
    bucket: Bucket, proxy: FaultyProxy, tmp_path: Path
) -> None:
    """The kill takes its upload log along: what it left is found in the bucket."""
    item = staged(an_instance(), bytes(70 * MEBIBYTE), path=tmp_path / "spooled")
    settings = dataclasses.replace(bucket.settings, endpoint=proxy.endpoint)
    proxy.script, proxy.only = [Fault.PASS, Fault.PASS, Fault.HANG_BEFORE_COMMIT], "PUT"
    writer = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD, child_arguments(item, settings)
    )
    try:
        await asyncio.wait_for(proxy.hanging.wait(), 30)
        assert bucket.open_uploads() == 1
    finally:
        writer.send_signal(signal.SIGKILL)
        await writer.wait()
    store = open_object_store("s3", bucket.settings, archive=ARCHIVE)

    outcome = await store.store(item)

    assert isinstance(outcome, Stored)
    assert bucket.open_uploads() == 0
    assert bucket.versions_of(key_of(item)) == 1


class DiscardingStore:
    """Answers like S3 and keeps only sizes: a real one in this process would hide the memory."""

    def __init__(self) -> None:
        self.parts_bytes = 0
        self.endpoint = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                method, target, _ = head.split(" ", 2)
                if "100-continue" in head:
                    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                length = 0
                for line in head.split("\r\n"):
                    if line.lower().startswith("content-length:"):
                        length = int(line.split(":")[1])
                await self._discard(reader, length)
                if method == "PUT":
                    self.parts_bytes += length
                writer.write(self._answer(method, target))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # The child is done.
        finally:
            writer.close()

    async def _discard(self, reader: asyncio.StreamReader, length: int) -> None:
        while length:
            length -= len(await reader.read(min(length, MEBIBYTE)))

    def _answer(self, method: str, target: str) -> bytes:
        status, body = "200 OK", b""
        if method == "HEAD":
            status = "404 Not Found"
        elif method == "GET":
            body = b"<ListMultipartUploadsResult></ListMultipartUploadsResult>"
        elif method == "POST" and "uploadId" not in target:
            body = b"<R><UploadId>an-upload</UploadId></R>"
        elif method == "POST":
            body = b"<R><ETag>&quot;whole&quot;</ETag></R>"
        head = f'HTTP/1.1 {status}\r\nETag: "part"\r\nContent-Length: {len(body)}\r\n\r\n'
        return head.encode() + body


@pytest.mark.parametrize("profile", ["moto", "plain"])
async def test_memory_stays_flat_while_a_large_object_passes(tmp_path: Path, profile: str) -> None:
    size = int(os.environ.get("CLOUDMIG_LARGE_OBJECT_MB", "384")) * MEBIBYTE
    path = tmp_path / "spooled"
    with path.open("wb") as file:
        file.truncate(size)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    item = StagedInstance(an_instance(), "1.2", "1.2", size, digest, "0" * 64, path=path)
    sink = DiscardingStore()
    server = await asyncio.start_server(sink.serve, "127.0.0.1", 0, limit=MEBIBYTE)
    async with server:
        port = server.sockets[0].getsockname()[1]
        settings = StoreSettings(
            url="s3://images", endpoint=f"http://127.0.0.1:{port}", region="us-east-1",
            profile=profile, access_key_id="a", secret_access_key="b",
        )  # fmt: skip
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CHILD, child_arguments(item, settings), stdout=-1
        )
        output, _ = await asyncio.wait_for(child.communicate(), 120)

    told = json.loads(output)
    assert told["outcome"] == "Stored"
    assert sink.parts_bytes == size
    assert told["grown_mb"] < 100, told


async def test_the_checksum_the_store_computed_is_told(bucket: Bucket) -> None:
    """moto keeps a checksum only when boto3 put the object; it keeps none of multipart uploads."""
    store = open_object_store("s3", bucket.settings, archive=ARCHIVE)
    item = staged(an_instance())
    bucket.client.put_object(
        Bucket=bucket.name,
        Key=f"some/prefix/{key_of(item)}",
        Body=item.body,
        ChecksumAlgorithm="SHA256",
    )

    assert await store.stored_checksum(Location(key_of(item))) == item.file_sha256

    absent = staged(an_instance())
    assert await store.stored_checksum(Location(key_of(absent))) is None


async def test_a_strangers_object_is_judged_by_its_bytes(bucket: Bucket) -> None:
    store = open_object_store("s3", bucket.settings, archive=ARCHIVE)
    item = staged(an_instance(), b"without metadata")
    bucket.client.put_object(Bucket=bucket.name, Key=f"some/prefix/{key_of(item)}", Body=item.body)

    outcome = await store.store(item)

    assert isinstance(outcome, Stored)
    assert not outcome.fresh
    assert outcome.receipt.file_sha256 == item.file_sha256


async def test_metadata_that_cannot_be_true_is_not_believed(bucket: Bucket) -> None:
    """A truncated object still carries the digests of the whole one."""
    store = open_object_store("s3", bucket.settings, archive=ARCHIVE)
    item = staged(an_instance(), b"the whole data set")
    assert item.body is not None
    bucket.client.put_object(
        Bucket=bucket.name,
        Key=f"some/prefix/{key_of(item)}",
        Body=item.body[:-3],
        Metadata={
            "cloudmig-file-sha256": item.file_sha256,
            "cloudmig-dataset-sha256": item.dataset_sha256,
        },
    )

    outcome = await store.store(item)

    assert isinstance(outcome, Taken)
    assert outcome.held.dataset_sha256 != item.dataset_sha256


async def test_what_travels_beside_an_object(bucket: Bucket) -> None:
    settings = dataclasses.replace(bucket.settings, kms_key_id="alias/images")
    for large_bytes_min in (1, 1 << 30):
        store = open_object_store(
            "s3", settings, archive=ARCHIVE, storage_class="GLACIER_IR",
            large_bytes_min=large_bytes_min,
        )  # fmt: skip
        item = staged(an_instance())
        await store.store(item)

        head = bucket.client.head_object(Bucket=bucket.name, Key=f"some/prefix/{key_of(item)}")

        assert head["ContentType"] == "application/dicom"
        assert head["StorageClass"] == "GLACIER_IR"
        assert head["ServerSideEncryption"] == "aws:kms"
        assert head["SSEKMSKeyId"] == "alias/images"
        assert head["Metadata"]["cloudmig-file-sha256"] == item.file_sha256
        assert head["Metadata"]["cloudmig-dataset-sha256"] == item.dataset_sha256


async def test_the_checksum_travels_in_a_header(bucket: Bucket, proxy: FaultyProxy) -> None:
    settings = dataclasses.replace(bucket.settings, endpoint=proxy.endpoint)
    for large_bytes_min in (1, 1 << 30):
        store = open_object_store("s3", settings, archive=ARCHIVE, large_bytes_min=large_bytes_min)
        await store.store(staged(an_instance()))

    puts = [seen for seen in proxy.seen if seen.method == "PUT"]
    assert len(puts) == 2
    assert all(seen.headers.get("x-amz-checksum-sha256") for seen in puts)


async def test_keys_are_listed_below_a_prefix(bucket: Bucket) -> None:
    store = open_object_store("s3", bucket.settings, archive=ARCHIVE)
    item = staged(an_instance())
    await store.store(item)
    await store.store(staged(an_instance()))
    prefix = key_of(item).rpartition("/")[0] + "/"

    assert [key async for key in store.list_keys(prefix)] == [key_of(item)]
