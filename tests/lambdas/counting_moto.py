"""A moto server with every service as a child process, which counts the requests it gets.

    with CountingMoto() as moto:
        boto3.client("s3", endpoint_url=moto.endpoint)
        moto.counts()["verify_object"]["s3:HeadObject"]

A caller names itself by botocore's application ID (AWS_SDK_UA_APP_ID), which goes into the user
agent; who names nothing is `other`.
"""

from __future__ import annotations

import http.client
import json
import logging
import re
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs

from cloudmig.demo.children import Child

__all__ = ["CountingMoto"]

_COUNTS_PATH = "/cloudmig-counts"
#: What is asked for by a word in the query.
_GETS = {
    "list-type": "ListObjectsV2",
    "versions": "ListObjectVersions",
    "attributes": "GetObjectAttributes",
    "retention": "GetObjectRetention",
}


class CountingMoto:
    """The child, as its parent sees it."""

    def __init__(self) -> None:
        self._child = Child("tests.lambdas.counting_moto")
        self.endpoint = ""

    def __enter__(self) -> Self:
        told = self._child.start()
        self.endpoint = f"http://127.0.0.1:{told['port']}"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._child.stop()

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the requests so far, by caller and by `service:Operation`."""
        connection = http.client.HTTPConnection(self.endpoint.removeprefix("http://"), timeout=20)
        try:
            connection.request("GET", _COUNTS_PATH)
            found: dict[str, dict[str, int]] = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        return found


class _Counting:
    """Counts, and hands on."""

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self._application = application
        self._lock = threading.Lock()
        self._counts: defaultdict[str, defaultdict[str, int]] = defaultdict(
            lambda: defaultdict(int)
        )

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == _COUNTS_PATH:
            start("200 OK", [("Content-Type", "application/json")])
            with self._lock:
                return [json.dumps(self._counts).encode()]
        named = re.search(r"\bapp/([\w-]+)", environ.get("HTTP_USER_AGENT", ""))
        with self._lock:
            self._counts[named[1] if named else "other"][_operation(environ)] += 1
        return self._application(environ, start)


def _operation(environ: Mapping[str, Any]) -> str:
    """Return `service:Operation` as AWS calls it."""
    if target := environ.get("HTTP_X_AMZ_TARGET"):
        service, _, operation = target.partition(".")
        plain = {"AmazonSQS": "sqs", "DynamoDB_20120810": "dynamodb", "AWSEvents": "events"}
        return f"{plain.get(service, service)}:{operation}"
    method, query = environ["REQUEST_METHOD"], parse_qs(environ["QUERY_STRING"], True)
    in_bucket = bool(environ["PATH_INFO"].strip("/").partition("/")[2])
    if method == "GET":
        found = next((_GETS[each] for each in _GETS if each in query), "")
        return f"s3:{found or ('GetObject' if in_bucket else 'GetBucket')}"
    if method == "HEAD":
        return "s3:HeadObject" if in_bucket else "s3:HeadBucket"
    if method == "PUT" and in_bucket:
        return "s3:CopyObject" if environ.get("HTTP_X_AMZ_COPY_SOURCE") else "s3:PutObject"
    return f"s3:{method.title()}{'Object' if in_bucket else 'Bucket'}"


def main() -> int:
    """Serve until standard input ends."""
    from moto import server as moto  # noqa: PLC0415 - slow to load
    from werkzeug.serving import make_server  # noqa: PLC0415 - the same

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    application = _Counting(moto.DomainDispatcherApplication(moto.create_backend_app))
    server = make_server(
        "127.0.0.1", 0, application, threaded=True, request_handler=moto.MotoRequestHandler
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(json.dumps({"event": "moto.listening", "port": server.port}) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main())
