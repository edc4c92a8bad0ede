"""A DICOMweb store that does what it is told: the statuses, lies and breaks of real ones.

It reads what it is sent with code of its own, so that a client cannot agree with itself.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.peers.part10 import NotPart10, read_file_meta

__all__ = ["Answer", "Reset", "ScriptedStow", "Sent"]

CANARY = "CANARY^NAME"


@dataclass(frozen=True, slots=True)
class Answer:
    """How one store request is answered, after `keeps` of its instances were kept."""

    status: int = 200
    keeps: int | None = None  #: None keeps all, 0 none.
    body: bytes | None = None  #: None makes the answer that belongs to what was kept.
    reason: int = 0x0110  #: Of what was not kept.
    warning: int | None = None  #: Of what was kept.
    alters: bool = False  #: Keeps other bytes than it was sent of the first instance.
    says_stored: bool = False  #: Names everything as stored, whatever was kept.
    says_failed: bool = False  #: Names everything as failed, whatever was kept.
    names_failed: bool = True  #: False: a failure without UID, as for what could not be read.
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Reset:
    """A TCP reset after so many bytes of the body were read."""

    after_bytes: int = 1000
    keeps: int = 0  #: After the whole body, instead: so many are kept, and no answer comes.


@dataclass(frozen=True, slots=True)
class Sent:
    """One store request as it came."""

    study_instance_uid: str
    sop_instance_uids: tuple[str, ...]
    size_bytes: int
    content_length: int | None


@dataclass
class ScriptedStow:
    """Keeps the first content of each instance and reports every further one as stored."""

    script: list[Answer | Reset] = field(default_factory=list)  #: For the next store requests.
    speaks_xml: bool = False
    rows_max: int = 0  #: Rows of a query it gives at most; 0 for all.
    rows_without_limit: int = 0  #: The same where no limit is asked for.
    takes_uid_lists: bool = True
    query_status: int = 200
    says_more: bool = False  #: 206 where there are more rows.
    too_broad: int = 0  #: Answers so to a search for any study.
    lists_late: bool = False  #: What it stores is there to be read, and in no list yet.
    body_bytes_max: int = 1 << 30  #: 413 above.
    rejects: set[str] = field(default_factory=set)  #: SOP Instance UIDs that spoil a request.
    takes_not: set[str] = field(default_factory=set)  #: The same, of a form it does not take.
    #: SOP Instance UIDs that it never keeps, with the status and the reason of its answer.
    refuses: dict[str, tuple[int, int]] = field(default_factory=dict)
    unreadable: set[str] = field(default_factory=set)  #: 500 to whoever wants to read these.
    tokens: list[str] = field(default_factory=list)  #: Accepted; empty asks for nothing.
    token_life_s: float | None = None
    token_status: int = 0  #: Answered instead of a token.
    token_requests: list[dict[str, str]] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)
    retrieved: list[str] = field(default_factory=list)
    held: dict[tuple[str, str], bytes] = field(default_factory=dict)
    #: Study and SOP Instance UID of what is in this series only, and listed with it.
    in_another_series: dict[tuple[str, str], str] = field(default_factory=dict)
    #: Series by SOP Instance UID: it lists by series only then, and hands out bare objects.
    series: dict[str, str] = field(default_factory=dict)
    at_once: int = 0
    at_once_max: int = 0
    hold: asyncio.Event | None = None  #: Store requests wait for it.
    guards: list[Any] = field(default_factory=list)  #: Middlewares of aiohttp.
    port: int = 0  #: 0 takes a free one.
    url: str = ""

    @asynccontextmanager
    async def running(
        self, ssl_context: ssl.SSLContext | None = None
    ) -> AsyncIterator[ScriptedStow]:
        """Listen on a free port of the loopback interface."""
        app = web.Application(client_max_size=1 << 30, middlewares=self.guards)
        app.router.add_post("/dicom-web/studies/{study}", self._store)
        app.router.add_get("/dicom-web/studies", self._any_study)
        within = "/series/{series}" if self.series else ""
        app.router.add_get(f"/dicom-web/studies/{{study}}{within}/instances", self._query)
        app.router.add_get(
            "/dicom-web/studies/{study}/series/{series}/instances/{sop}", self._retrieve
        )
        app.router.add_post("/token", self._token)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port, ssl_context=ssl_context)
        await site.start()
        port = runner.addresses[0][1]
        self.url = f"{'https' if ssl_context else 'http'}://127.0.0.1:{port}/dicom-web"
        try:
            yield self
        finally:
            await runner.cleanup()

    @property
    def token_url(self) -> str:
        return self.url.replace("/dicom-web", "/token")

    async def _store(self, request: web.Request) -> web.StreamResponse:
        self.at_once += 1
        self.at_once_max = max(self.at_once_max, self.at_once)
        try:
            if self.hold is not None:
                await self.hold.wait()
            return await self._store_one(request)
        finally:
            self.at_once -= 1

    async def _store_one(self, request: web.Request) -> web.StreamResponse:
        if (refusal := self._unauthorized(request)) is not None:
            return refusal
        told: Answer | Reset | None = self.script.pop(0) if self.script else None
        if isinstance(told, Reset) and not told.keeps:
            await request.content.readexactly(told.after_bytes)
            return _reset(request)
        body = await request.read()
        study = request.match_info["study"]
        parts = _parts(body, request.headers["Content-Type"])
        uids = [_uid_of(part) for part in parts]
        self.sent.append(Sent(study, tuple(uids), len(body), request.content_length))
        if isinstance(told, Reset):
            self._keep(study, list(zip(uids, parts, strict=True))[: told.keeps], alters=False)
            return _reset(request)
        if len(body) > self.body_bytes_max:
            return web.Response(status=413, text=CANARY)
        if told is None and self.rejects & set(uids):
            return web.Response(status=400, text=CANARY)
        if self.takes_not & set(uids):
            return web.Response(status=415, text=CANARY)
        if told is None and (refused := self.refuses.keys() & set(uids)):
            # What it keeps comes first: an answer names the rest as failed.
            parts.sort(key=lambda part: _uid_of(part) in refused)
            uids = [_uid_of(part) for part in parts]
            status, reason = self.refuses[uids[-1]]
            told = Answer(status, keeps=len(uids) - len(refused), reason=reason)
        told = told or Answer()
        keeps = len(parts) if told.keeps is None else told.keeps
        self._keep(study, list(zip(uids, parts, strict=True))[:keeps], alters=told.alters)
        said = told.body if told.body is not None else self._answer(told, uids, keeps)
        return web.Response(status=told.status, body=said, headers=dict(told.headers))

    def _keep(self, study: str, parts: Sequence[tuple[str, bytes]], *, alters: bool) -> None:
        for number, (uid, part) in enumerate(parts):
            altered = alters and number == 0  # How many a request brings depends on the load.
            self.held.setdefault((study, uid), part + b"\0\0" if altered else part)

    def _answer(self, told: Answer, uids: Sequence[str], keeps: int) -> bytes:
        count = 0 if told.says_failed else len(uids) if told.says_stored else keeps
        stored, failed = uids[:count], uids[count:]
        if self.speaks_xml:
            return _xml(told, stored, failed)
        url = {"vr": "UR", "Value": ["http://127.0.0.1:9/elsewhere"]}  # Never to be followed.
        document: dict[str, object] = {"00081190": url, "00081199": {"vr": "SQ"}}
        if stored:
            items = [_item(uid, "00081196", told.warning) for uid in stored]
            document["00081199"] = {"vr": "SQ", "Value": items}
        if failed:
            names = failed if told.names_failed else [""] * len(failed)
            items = [_item(uid, "00081197", told.reason) for uid in names]
            document["00081198"] = {"vr": "SQ", "Value": items}
        return json.dumps(document).encode()

    async def _query(self, request: web.Request) -> web.Response:
        if (refusal := self._unauthorized(request)) is not None:
            return refusal
        self.queries.append(request.path_qs)
        if self.query_status != 200:
            return web.Response(status=self.query_status, text=CANARY)
        study = request.match_info["study"]
        found = [(uid, "") for of, uid in self.held if of == study and not self.lists_late]
        found += [(uid, it) for (of, uid), it in self.in_another_series.items() if of == study]
        if self.series:
            here = request.match_info["series"]
            found = [(uid, "") for uid, _ in found if self.series.get(uid) == here]
        wanted = request.query.get("SOPInstanceUID", "")
        if wanted and (self.takes_uid_lists or "," not in wanted):
            found = [each for each in found if each[0] in wanted.split(",")]
        elif wanted:
            found = []
        rows_max = self.rows_max or 100_000
        if "limit" not in request.query:
            rows_max = self.rows_without_limit or rows_max
        limit = min(int(request.query.get("limit", "100000")), rows_max)
        offset = int(request.query.get("offset", "0"))
        rows = [
            {"00080018": {"vr": "UI", "Value": [uid]}, "00100010": {"Value": [CANARY]}}
            | ({"0020000E": {"vr": "UI", "Value": [series]}} if series else {})
            for uid, series in found[offset : offset + limit]
        ]
        return web.Response(
            body=json.dumps(rows).encode(),
            status=206 if self.says_more and offset + limit < len(found) else 200,
            content_type="application/dicom+json",
        )

    async def _any_study(self, request: web.Request) -> web.Response:
        if (refusal := self._unauthorized(request)) is not None:
            return refusal
        if self.too_broad and "StudyDate" not in request.query:
            return web.Response(status=self.too_broad, text=CANARY)
        return web.json_response([{"00100010": CANARY}], status=206 if self.says_more else 200)

    async def _retrieve(self, request: web.Request) -> web.Response:
        if (refusal := self._unauthorized(request)) is not None:
            return refusal
        key = request.match_info["study"], request.match_info["sop"]
        self.retrieved.append(key[1])
        if key not in self.held:
            return web.Response(status=404, text=CANARY)
        if key[1] in self.unreadable:
            return web.Response(status=500, text=CANARY)
        if self.series:
            if request.headers["Accept"] != "application/dicom":
                return web.Response(status=406, text=CANARY)
            return web.Response(body=self.held[key], content_type="application/dicom")
        assert "transfer-syntax=*" in request.headers["Accept"]
        part = b"--xyz\r\nContent-Type: application/dicom\r\n\r\n" + self.held[key]
        kind = 'multipart/related; type="application/dicom"; boundary=xyz'
        return web.Response(body=part + b"\r\n--xyz--\r\n", headers={"Content-Type": kind})

    async def _token(self, request: web.Request) -> web.Response:
        if self.token_status:
            return web.Response(status=self.token_status, text=CANARY)
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.token_requests.append(
            form | {"authorization": request.headers.get("Authorization", "")}
        )
        token = f"token-{len(self.token_requests)}"
        self.tokens.append(token)
        life = {} if self.token_life_s is None else {"expires_in": self.token_life_s}
        return web.json_response({"access_token": token, "token_type": "Bearer", **life})

    def _unauthorized(self, request: web.Request) -> web.Response | None:
        if not self.tokens or request.headers.get("Authorization") in {
            f"Bearer {token}" for token in self.tokens
        }:
            return None
        return web.Response(status=401, text=CANARY)


def _reset(request: web.Request) -> web.Response:
    """End the connection with a TCP reset."""
    transport = request.transport
    assert transport is not None
    linger = struct.pack("ii", 1, 0)
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    transport.abort()
    return web.Response()


def _parts(body: bytes, content_type: str) -> list[bytes]:
    """Take a body apart; what does not end with its last delimiter is no body."""
    assert 'type="application/dicom"' in content_type
    delimiter = b"--" + content_type.partition("boundary=")[2].encode()
    pieces = (b"\r\n" + body).split(b"\r\n" + delimiter)
    assert pieces[0] == b""
    assert pieces[-1] == b"--\r\n"
    parts = []
    for piece in pieces[1:-1]:
        head, _, content = piece.partition(b"\r\n\r\n")
        assert head.startswith(b"\r\nContent-Type: application/dicom\r\n")
        parts.append(content)
    return parts


def _uid_of(part: bytes) -> str:
    try:
        return read_file_meta(part).sop_instance_uid
    except NotPart10:
        return ""


def _item(uid: str, tag: str, number: int | None) -> dict[str, object]:
    named: dict[str, object] = {"00081155": {"vr": "UI", "Value": [uid]}} if uid else {}
    return named if number is None else {**named, tag: {"vr": "US", "Value": [number]}}


def _xml(told: Answer, stored: Sequence[str], failed: Sequence[str]) -> bytes:
    def item(uid: str, tag: str, number: int | None) -> str:
        said = _attribute("00081155", "UI", uid)
        if number is not None:
            said += _attribute(tag, "US", number)
        return f"<Item>{said}</Item>"

    done = "".join(item(uid, "00081196", told.warning) for uid in stored)
    left = "".join(item(uid, "00081197", told.reason) for uid in failed)
    return (
        '<?xml version="1.0" encoding="utf-8"?>'
        '<NativeDicomModel xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM">'
        f'<DicomAttribute tag="00081198" vr="SQ">{left}</DicomAttribute>'
        f'<DicomAttribute tag="00081199" vr="SQ">{done}</DicomAttribute></NativeDicomModel>'
    ).encode()


def _attribute(tag: str, vr: str, value: object) -> str:
    return (
        f'<DicomAttribute tag="{tag}" vr="{vr}"><Value number="1">{value}</Value></DicomAttribute>'
    )
