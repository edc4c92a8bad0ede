"""A function that reads a large object needs no more memory than for a small one.

The object is one image of 5 GB with CLOUDMIG_ACCEPTANCE=1, else of 300 MB. It is made while it is
sent: nothing of that size is stored.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from cloudmig.dicom.digest import StreamDigests
from cloudmig.dicom.part10 import file_prefix
from cloudmig.model.references import InstanceRef
from cloudmig.objects import instance_key

ACCEPTANCE = os.environ.get("CLOUDMIG_ACCEPTANCE") == "1"
ROOT = Path(__file__).parents[2]
RSS_MAX_BYTES = 128 * 10**6
FRAGMENT_BYTES = 1 << 20
FRAGMENTS = 5_000_000_000 // FRAGMENT_BYTES + 1 if ACCEPTANCE else 300
INSTANCE = InstanceRef("1.2.3", "1.2.3.4", "1.2.3.4.5")
KEY = instance_key("main", INSTANCE)
SOP_CLASS, JPEG = "1.2.840.10008.5.1.4.1.1.77.1.6", "1.2.840.10008.1.2.4.50"


def element(group: int, number: int, vr: str, value: bytes) -> bytes:
    """One element, Explicit VR Little Endian with a short length (PS3.5 section 7.1.2)."""
    value += (b"\0" if vr == "UI" else b" ") * (len(value) % 2)
    return struct.pack("<HH2sH", group, number, vr.encode(), len(value)) + value


def beginning() -> bytes:
    """What stands before the fragments."""
    uid = INSTANCE.sop_instance_uid
    return file_prefix(SOP_CLASS, uid, JPEG) + b"".join(
        [
            element(0x0008, 0x0016, "UI", SOP_CLASS.encode()),
            element(0x0008, 0x0018, "UI", uid.encode()),
            element(0x0008, 0x0020, "DA", b"20190304"),
            element(0x0008, 0x0060, "CS", b"SM"),
            element(0x0020, 0x000D, "UI", INSTANCE.study_instance_uid.encode()),
            element(0x0020, 0x000E, "UI", INSTANCE.series_instance_uid.encode()),
            struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF),
            struct.pack("<HHL", 0xFFFE, 0xE000, 0),
        ]
    )


class Image:
    """The bytes, and what the agent would have said of them.

    Pixel data of more than 4 GiB must be encapsulated (PS3.5 section A.4).
    """

    def __init__(self) -> None:
        self._beginning = beginning()
        noise = os.urandom(4096) * (FRAGMENT_BYTES // 4096)
        item = struct.pack("<HHL", 0xFFFE, 0xE000, FRAGMENT_BYTES - 8)
        self._fragment = item + noise[8:]
        digests = StreamDigests()
        for piece in self:
            digests.update(piece)
        self.digests = digests.result()

    def __iter__(self) -> Iterator[bytes]:
        yield self._beginning
        for _ in range(FRAGMENTS):
            yield self._fragment
        yield struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


class Handler(BaseHTTPRequestHandler):
    """A bucket with one object."""

    image: ClassVar[Image]
    altered: ClassVar[bool]
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()
        for number, piece in enumerate(self.image):
            is_last = self.altered and number == FRAGMENTS
            self.wfile.write(piece[:-1] + bytes([piece[-1] ^ 1]) if is_last else piece)

    def _answer(self) -> None:
        told = self.image.digests
        self.send_response(200)
        for name, value in {
            "Content-Length": str(told.size_bytes),
            "ETag": '"one"',
            "Last-Modified": formatdate(usegmt=True),
            "x-amz-storage-class": "STANDARD_IA",
            "x-amz-server-side-encryption": "AES256",
            "x-amz-meta-cloudmig-file-sha256": told.file_sha256,
            "x-amz-meta-cloudmig-dataset-sha256": told.dataset_sha256,
        }.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving(image: Image, *, altered: bool) -> Iterator[str]:
    handler = type("One", (Handler,), {"image": image, "altered": altered})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


#: What runs in the function, with the client that it has there.
PROGRAM = """
import datetime as dt, json, sys, time
import boto3
from cloudmig.cloud.expectations import Expectations
from cloudmig.cloud.verdict_queue import MemoryOutbox
from cloudmig.cloud.verdict_table import MemoryTable
from cloudmig.cloud.verify_object import Desk, verify_object
s3 = boto3.client("s3", endpoint_url=sys.argv[1], region_name="us-east-1",
                  aws_access_key_id="testing", aws_secret_access_key="testing")
outbox = MemoryOutbox()
desk = Desk(s3=s3, table=MemoryTable(), verdicts=outbox, studies=outbox,
            expected=Expectations(read="checksum", kms_key_arn=""),
            now=lambda: dt.datetime.now(dt.UTC))
started, cpu = time.perf_counter(), time.process_time()
verdict = verify_object(desk, "images", sys.argv[2])
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({
    "finding": verdict.finding, "how": verdict.how, "size_bytes": verdict.size_bytes,
    "dataset_sha256": verdict.dataset_sha256, "peak_bytes": int(status["VmHWM"].split()[0]) * 1024,
    "seconds": time.perf_counter() - started, "cpu_s": time.process_time() - cpu,
}))
"""


def verify(url: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, url, KEY],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
@pytest.mark.timeout(900)
def test_streaming_a_large_object_takes_less_than_128_mb() -> None:
    image = Image()
    with serving(image, altered=False) as url:
        good = verify(url)
    with serving(image, altered=True) as url:
        bad = verify(url)

    print(json.dumps({"good": good, "bad": bad}))
    assert good["size_bytes"] == image.digests.size_bytes > FRAGMENTS * 1_000_000
    assert (good["finding"], good["how"]) == ("", "STREAMED")
    assert good["dataset_sha256"] == image.digests.dataset_sha256
    assert bad["finding"] == "altered", "the last byte of the pixels counts"
    assert good["peak_bytes"] < RSS_MAX_BYTES, good
    assert bad["peak_bytes"] < RSS_MAX_BYTES, bad
