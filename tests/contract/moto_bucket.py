"""A moto server on a free port, with buckets: real HTTP, no cloud."""

from __future__ import annotations

import http.client
import logging
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

import boto3
from moto.s3.responses import S3Response
from moto.server import ThreadedMotoServer

from cloudmig.destinations.opening import StoreSettings

__all__ = ["Bucket", "moto_endpoint"]


#: moto looks for the key and then puts it, in two steps: two put-if-absents at once may both
#: succeed. No store does that.
_PUT = threading.RLock()

#: All servers of a process share what they hold; the last one to go empties them all, so that no
#: test finds what another one left, whatever their order.
_open: list[ThreadedMotoServer] = []


def _put_as_stores_do(put: Callable[[S3Response], object]) -> Callable[[S3Response], object]:
    def put_object(response: S3Response) -> object:
        with _PUT:
            return put(response)

    return put_object


@contextmanager
def moto_endpoint() -> Iterator[str]:
    put = _put_as_stores_do(S3Response.put_object)
    with mock.patch.object(S3Response, "put_object", put), _served() as endpoint:
        yield endpoint


@contextmanager
def _served() -> Iterator[str]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _open.append(server)
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        _open.remove(server)
        if not _open:
            connection = http.client.HTTPConnection(host, port, timeout=20)
            connection.request("POST", "/moto-api/reset")
            connection.getresponse().read()
            connection.close()
        server.stop()


@dataclass(frozen=True)
class Bucket:
    """One bucket, and a client that looks at it behind the destination's back."""

    settings: StoreSettings
    name: str
    client: Any

    @classmethod
    def create(cls, endpoint: str, *, versioned: bool = True) -> Bucket:
        name = f"images-{uuid.uuid4().hex[:12]}"
        client = boto3.client(
            "s3", endpoint_url=endpoint, region_name="us-east-1",
            aws_access_key_id="testing", aws_secret_access_key="testing",
        )  # fmt: skip
        client.create_bucket(Bucket=name)
        if versioned:
            client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        settings = StoreSettings(
            url=f"s3://{name}/some/prefix", endpoint=endpoint, region="us-east-1", profile="moto",
            access_key_id="testing", secret_access_key="testing", timeout_s=20,
        )  # fmt: skip
        return cls(settings, name, client)

    def through(self, endpoint: str) -> StoreSettings:
        """Return the settings of the same bucket behind another address."""
        return replace(self.settings, endpoint=endpoint)

    def versions_of(self, key: str) -> int:
        answer = self.client.list_object_versions(Bucket=self.name, Prefix=f"some/prefix/{key}")
        return len(answer.get("Versions", []))

    def counter(self) -> Callable[[str], int]:
        return self.versions_of

    def open_uploads(self) -> int:
        return len(self.client.list_multipart_uploads(Bucket=self.name).get("Uploads", []))
