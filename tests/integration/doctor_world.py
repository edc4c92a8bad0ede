"""What the doctor's tests examine: a strict little S3 server and a gate in front of a PACS."""

from __future__ import annotations

import base64
import contextlib
import email.utils
import hashlib
import re
import socket
import threading
import time
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_REJECT_CALLED_AET = bytes.fromhex("03000000000400010107")  # PS3.8 9.3.4


class StrictStore:
    """An S3 server that refuses what a real one refuses, by the access key that asks.

    GOOD may everything; READONLY may not put; BLIND may not get; WRITER may not list; SMALL may not
    list uploads; any other key is unknown. `sloppy` overwrites although it was asked not to, and
    compares no checksum; `listless` knows no list of uploads, as s3rver 3.7.
    """

    def __init__(self, *, sloppy: bool = False, clock_s: float = 0.0) -> None:
        self.buckets = {"images"}
        self.objects: dict[str, bytes] = {}
        self.sloppy = sloppy
        self.listless = False
        self.clock_s = clock_s  #: How far its clock is ahead.
        store = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                store._answer(self)

            do_PUT = do_DELETE = do_HEAD = do_GET  # noqa: N815 - names of http.server

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing."""

            def date_time_string(self, timestamp: float | None = None) -> str:
                return email.utils.formatdate(time.time() + store.clock_s, usegmt=True)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    @contextlib.contextmanager
    def serving(self) -> Iterator[StrictStore]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        status, code, content = self._decide(request, body)
        if code:
            content = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
        request.send_response(status)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(content)

    def _decide(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, str, bytes]:
        url = urllib.parse.urlsplit(request.path)
        bucket, _, key = urllib.parse.unquote(url.path).lstrip("/").partition("/")
        found = re.search(r"Credential=([^/]+)/", request.headers.get("Authorization", ""))
        who = found[1] if found else ""
        if who not in {"GOOD", "READONLY", "BLIND", "WRITER", "SMALL"}:
            return 403, "InvalidAccessKeyId", b""
        if bucket not in self.buckets:
            return 404, "NoSuchBucket", b""
        denied = {("READONLY", "PUT"), ("BLIND", "GET")}
        if key and (who, request.command) in denied:
            return 403, "AccessDenied", b""
        if not key:
            if who == "WRITER" and "list-type" in url.query:
                return 403, "AccessDenied", b""
            if url.query.startswith("uploads") and (who == "SMALL" or self.listless):
                return (501, "NotImplemented", b"") if self.listless else (403, "AccessDenied", b"")
            kind = "VersioningConfiguration" if url.query == "versioning" else "ListBucketResult"
            return 200, "", f"<{kind}></{kind}>".encode()
        return self._on_object(request, key, body)

    def _on_object(
        self, request: BaseHTTPRequestHandler, key: str, body: bytes
    ) -> tuple[int, str, bytes]:
        if request.command == "PUT":
            told = request.headers.get("x-amz-checksum-sha256")
            real = base64.b64encode(hashlib.sha256(body).digest()).decode()
            if told not in {None, real} and not self.sloppy:
                return 400, "BadDigest", b""
            if request.headers.get("If-None-Match") and key in self.objects and not self.sloppy:
                return 412, "PreconditionFailed", b""
            self.objects[key] = body
            return 200, "", b""
        if request.command == "DELETE":
            self.objects.pop(key, None)
            return 204, "", b""
        held = self.objects.get(key)
        return (404, "NoSuchKey", b"") if held is None else (200, "", held)


class Gate:
    """Stands before a PACS and turns away who calls it by another AE title."""

    def __init__(self, aet: str, target: tuple[str, int]) -> None:
        self._aet = aet
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self.visitors = 0
        self.silent_visitors = 0  #: Who connected and left without a word.

    @contextlib.contextmanager
    def serving(self) -> Iterator[Gate]:
        threading.Thread(target=self._accept, daemon=True).start()
        try:
            yield self
        finally:
            for each in [self._listener, *self._open]:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                caller, _ = self._listener.accept()
                self._open.append(caller)
                threading.Thread(target=self._admit, args=(caller,), daemon=True).start()

    def _admit(self, caller: socket.socket) -> None:
        with contextlib.suppress(OSError):
            beginning = caller.recv(26)
            self.visitors += 1
            self.silent_visitors += not beginning
            if beginning and beginning[10:26].decode().strip() != self._aet:
                caller.sendall(_REJECT_CALLED_AET)
                return
            pacs = socket.create_connection(self._target)
            self._open.append(pacs)
            pacs.sendall(beginning)
            threading.Thread(target=_pump, args=(pacs, caller), daemon=True).start()
            _pump(caller, pacs)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
