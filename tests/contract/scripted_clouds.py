"""Azure Blob Storage and Google Cloud Storage as far as they are asked, with what they refuse.

Azure is scripted after what Azurite 3.37 answered, and its documentation: names of metadata are C#
identifiers, access tiers are Azure's own. Google (XML API): every object has a generation, which an
overwrite replaces.
"""

from __future__ import annotations

import contextlib
import email.utils
import itertools
import re
import threading
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

__all__ = ["ACCOUNT", "ACCOUNT_KEY", "Answer", "ScriptedAzure", "ScriptedCloud", "ScriptedGoogle"]

ACCOUNT = "hospital"
ACCOUNT_KEY = "c2VjcmV0IG9mIHRoZSBhY2NvdW50"
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TIERS = {"Hot", "Cool", "Cold", "Archive"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said to one request."""

    status: int
    code: str = ""
    headers: Mapping[str, str] | None = None
    body: bytes = b""

    def content(self) -> bytes:
        return f"<Error><Code>{self.code}</Code></Error>".encode() if self.code else self.body


@dataclass(frozen=True, slots=True)
class Held:
    """One object as it is kept."""

    body: bytes
    headers: Mapping[str, str]


class ScriptedCloud:
    """What both have in common: objects in one bucket `images`, and lists of them."""

    metadata = ""  #: What the header of an entry of metadata begins with.

    def __init__(self) -> None:
        self.objects: dict[str, Held] = {}
        self.always: Answer | None = None  #: Said to every request, where set.
        self.asked: list[tuple[str, str]] = []  #: Methods and paths.
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        cloud = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                announced = int(self.headers.get("content-length") or 0)
                body = self.rfile.read(announced)
                if len(body) != announced:
                    self.close_connection = True  # Whoever sent it has died: nothing is kept.
                    return
                with cloud._lock:
                    answer = cloud.always or cloud._answer(self, body)
                content = answer.content()
                self.send_response(answer.status)
                for name, value in (answer.headers or {}).items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_PUT = do_POST = do_DELETE = do_HEAD = do_GET  # noqa: N815 - names of http.server

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def _answer(self, request: BaseHTTPRequestHandler, body: bytes) -> Answer:
        parts = urllib.parse.urlsplit(request.path)
        query = {key: values[0] for key, values in urllib.parse.parse_qs(parts.query).items()}
        path = parts.path.removeprefix(f"/{ACCOUNT}")
        self.asked.append((request.command, path))
        bucket, _, key = urllib.parse.unquote(path.lstrip("/")).partition("/")
        if bucket != "images":
            return Answer(404, self.no_bucket)
        headers = {name.lower(): value for name, value in request.headers.items()}
        if request.command == "POST":
            return self.batch(body)
        if not key:
            return Answer(200, body=self.list(query.get("prefix", "")).encode())
        if request.command == "PUT":
            return self.refuse(headers, self.objects.get(key)) or self._keep(key, body, headers)
        held = self.objects.get(key)
        if (
            held is None
            or query.get("generation", held.headers["x-goog-generation"])
            != (held.headers["x-goog-generation"])
        ):
            return Answer(404, self.no_object)
        if request.command == "DELETE":
            del self.objects[key]
            return Answer(202)
        return self._part(held, headers.get("range", ""))

    def _keep(self, key: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        number = str(next(self._numbers))
        kept = {name: text for name, text in headers.items() if name.startswith(self.metadata)}
        kept |= {
            "etag": f'"0x{number}"',
            "x-goog-generation": number,
            "last-modified": email.utils.formatdate(usegmt=True),
            "content-type": headers.get("content-type", "application/octet-stream"),
        }
        self.objects[key] = Held(body, kept)
        return Answer(201, headers=kept)

    def _part(self, held: Held, wanted: str) -> Answer:
        if not wanted:
            return Answer(200, headers=held.headers, body=held.body)
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        end = min(int(last or len(held.body)) + 1, len(held.body))
        told = {"content-range": f"bytes {first}-{end - 1}/{len(held.body)}"}
        return Answer(206, headers={**held.headers, **told}, body=held.body[int(first) : end])

    no_bucket, no_object = "NoSuchBucket", "NoSuchKey"

    def refuse(self, headers: Mapping[str, str], held: Held | None) -> Answer | None:
        """Return why something is not kept."""
        raise NotImplementedError

    def batch(self, body: bytes) -> Answer:
        """Delete several at once."""
        raise NotImplementedError

    def list(self, prefix: str) -> str:
        """Return what lies below a prefix, as XML."""
        raise NotImplementedError


class ScriptedAzure(ScriptedCloud):
    """A storage account with the container `images`, without versions."""

    metadata = "x-ms-meta-"
    no_bucket, no_object = "ContainerNotFound", "BlobNotFound"

    def __init__(self) -> None:
        super().__init__()
        self.endpoint += f"/{ACCOUNT}"

    def refuse(self, headers: Mapping[str, str], held: Held | None) -> Answer | None:
        names = [name[len(self.metadata) :] for name in headers if name.startswith(self.metadata)]
        if not all(_IDENTIFIER.fullmatch(name) for name in names):
            return Answer(400, "InvalidMetadata")
        if headers.get("x-ms-access-tier", "Hot") not in _TIERS:
            return Answer(400, "InvalidHeaderValue")
        if headers.get("if-none-match") == "*" and held is not None:
            return Answer(409, "BlobAlreadyExists")
        if "if-match" in headers and (held is None or held.headers["etag"] != headers["if-match"]):
            return Answer(412, "ConditionNotMet")
        return None

    def batch(self, body: bytes) -> Answer:
        answers = b""
        for number, path in enumerate(re.findall(rb"DELETE (\S+) HTTP", body)):
            key = urllib.parse.unquote(path.decode()).partition("/images/")[2]
            status = b"404 Not Found" if self.objects.pop(key, None) is None else b"202 Accepted"
            answers += b"--b\r\nContent-Type: application/http\r\nContent-ID: %d\r\n\r\n" % number
            answers += b"HTTP/1.1 %s\r\n\r\n" % status
        told = {"content-type": "multipart/mixed; boundary=b"}
        return Answer(202, headers=told, body=answers + b"--b--\r\n")

    def list(self, prefix: str) -> str:
        blobs = "".join(
            f"<Blob><Name>{key}</Name><Properties><Last-Modified>{held.headers['last-modified']}"
            f"</Last-Modified><Content-Length>{len(held.body)}</Content-Length>"
            f"<Content-Type>application/dicom</Content-Type><Etag>{held.headers['etag']}</Etag>"
            "</Properties></Blob>"
            for key, held in self.objects.items()
            if key.startswith(prefix)
        )
        return f"<EnumerationResults><Blobs>{blobs}</Blobs><NextMarker/></EnumerationResults>"


class ScriptedGoogle(ScriptedCloud):
    """A bucket `images`; nothing is asked about tokens."""

    metadata = "x-goog-meta-"

    def refuse(self, headers: Mapping[str, str], held: Held | None) -> Answer | None:
        wanted = headers.get("x-goog-if-generation-match")
        if wanted not in {None, "0" if held is None else held.headers["x-goog-generation"]}:
            return Answer(412, "PreconditionFailed")
        return None

    def list(self, prefix: str) -> str:
        contents = "".join(
            f"<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00Z</LastModified>"
            f"<ETag>{held.headers['etag']}</ETag><Size>{len(held.body)}</Size></Contents>"
            for key, held in self.objects.items()
            if key.startswith(prefix)
        )
        return f"<ListBucketResult>{contents}</ListBucketResult>"
