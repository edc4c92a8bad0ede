"""An embedded S3 bucket (moto) with versions and storage classes, on a free loopback port.

    with EmbeddedBucket() as bucket: ...         in a thread, for tests
    with BucketProcess() as bucket: ...          a child that outlives a killed agent, for the demo

It takes any credentials. moto checks no checksums, so what lies in it must be compared by a judge.
"""

from __future__ import annotations

import http.client
import json
import logging
import sys
import urllib.parse
import uuid
import xml.etree.ElementTree as ET  # Our own server's answers, over loopback.
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import ClassVar

from cloudmig.demo.children import Child

__all__ = ["BucketProcess", "BucketView", "EmbeddedBucket", "StoredVersion"]

_VERSIONING = (
    b'<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    b"<Status>Enabled</Status></VersioningConfiguration>"
)
_NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """One version of one object."""

    key: str
    version_id: str
    size_bytes: int
    storage_class: str
    is_latest: bool  #: False too when the object was deleted since.


@dataclass(frozen=True, slots=True)
class BucketView:
    """A bucket as plain HTTP shows it: no code of the agent is between it and the onlooker."""

    host: str
    port: int
    name: str

    @property
    def endpoint(self) -> str:
        """Return what goes into `endpoint` of a destination."""
        return f"http://{self.host}:{self.port}"

    def create(self) -> None:
        """Create the bucket and switch its versions on."""
        self._ask("PUT", "")
        self._ask("PUT", "?versioning", _VERSIONING)

    def versions(self, prefix: str = "") -> Iterator[StoredVersion]:
        """List every version of every object, page by page."""
        query = {"versions": "", "prefix": prefix}
        while True:
            page = ET.fromstring(self._ask("GET", "?" + urllib.parse.urlencode(query)))  # noqa: S314
            for version in page.iter(f"{_NAMESPACE}Version"):
                yield StoredVersion(
                    key=version.findtext(f"{_NAMESPACE}Key", ""),
                    version_id=version.findtext(f"{_NAMESPACE}VersionId", ""),
                    size_bytes=int(version.findtext(f"{_NAMESPACE}Size", "0")),
                    storage_class=version.findtext(f"{_NAMESPACE}StorageClass", ""),
                    is_latest=version.findtext(f"{_NAMESPACE}IsLatest", "") == "true",
                )
            if page.findtext(f"{_NAMESPACE}IsTruncated", "false") != "true":
                return
            query["key-marker"] = page.findtext(f"{_NAMESPACE}NextKeyMarker", "")
            query["version-id-marker"] = page.findtext(f"{_NAMESPACE}NextVersionIdMarker", "")

    def read(self, key: str) -> bytes:
        """Read one object."""
        return self._ask("GET", "/" + urllib.parse.quote(key))

    def _ask(self, method: str, rest: str, body: bytes = b"") -> bytes:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=20)
        try:
            # Without a host of AWS's the region is taken from here; the signature is not checked.
            credential = "AWS4-HMAC-SHA256 Credential=demo/20260101/us-east-1/s3/aws4_request"
            connection.request(
                method, f"/{self.name}{rest}", body,
                headers={"Authorization": f"{credential}, SignedHeaders=host, Signature=0"},
            )  # fmt: skip
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        if answer.status >= 300:
            raise ConnectionError(f"the embedded bucket answered {answer.status} to {method}")
        return data


class EmbeddedBucket:
    """A moto server in a thread of this process, with one bucket in it.

    All moto servers of a process share their buckets, so each one here has a name of its own, and
    the last one to go empties them all.
    """

    _open: ClassVar[int] = 0

    def __init__(self, name: str | None = None) -> None:
        from moto.server import ThreadedMotoServer  # noqa: PLC0415 - slow to load, an extra

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        self._name = name or f"archive-{uuid.uuid4().hex[:12]}"

    def __enter__(self) -> BucketView:
        self._server.start()
        EmbeddedBucket._open += 1
        host, port = self._server.get_host_and_port()
        view = BucketView(host, port, self._name)
        view.create()
        return view

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        EmbeddedBucket._open -= 1
        if not EmbeddedBucket._open:
            connection = http.client.HTTPConnection(*self._server.get_host_and_port(), timeout=20)
            connection.request("POST", "/moto-api/reset")
            connection.getresponse().read()
            connection.close()
        self._server.stop()


class BucketProcess:
    """The same as a child process, which ends with its parent."""

    def __init__(self, name: str = "archive") -> None:
        self._child = Child("cloudmig.demo.bucket", "--name", name)
        self._name = name

    def __enter__(self) -> BucketView:
        told = self._child.start()
        return BucketView(str(told["host"]), int(str(told["port"])), self._name)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._child.stop()


def main() -> int:
    """Serve until standard input ends."""
    name = sys.argv[sys.argv.index("--name") + 1] if "--name" in sys.argv else "archive"
    with EmbeddedBucket(name) as bucket:
        told = {"event": "bucket.listening", "host": bucket.host, "port": bucket.port}
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
        sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main())
