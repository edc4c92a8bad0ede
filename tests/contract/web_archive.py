"""A DICOMweb archive that does what it is told: searches (QIDO-RS) and retrieves (WADO-RS) only.

    async with ScriptedArchive(studies, WebScript(page_rows_max=3)).running() as archive: ...

What it holds and how keys match is the scripted PACS's; how it says so over HTTP is its own.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from aiohttp import web
from pydicom.uid import DeflatedExplicitVRLittleEndian

from cloudmig.demo.pacs.holdings import Holdings
from cloudmig.demo.pacs.matching import answers
from cloudmig.demo.pacs.script import Script
from cloudmig.demo.studies import Instance, Study
from tests.contract.web_rows import json_row, xml_answer

__all__ = ["CANARY", "Broken", "ScriptedArchive", "WebScript"]

CANARY = "CANARY^NAME"
BOUNDARY = "a-boundary"
_OFTEN_RETURNED = frozenset(
    {"StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "StudyDate", "StudyTime",
     "AccessionNumber", "ModalitiesInStudy", "PatientName", "PatientID", "PatientBirthDate",
     "PatientSex", "StudyID", "Modality", "SeriesNumber", "InstanceNumber",
     "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Broken:
    """One retrieve that goes wrong, after so many whole objects."""

    status: int = 0  #: Answered at once, instead of anything else.
    after: int = 1
    how: str = "reset"  #: reset, ends (no last delimiter), half (an object), silent, redirect
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class WebScript:
    """The habits of one archive. The default is a well-behaved one. Sets name SOP Instance UIDs."""

    # Searches
    page_rows_max: int = 0  #: Gives no more at once, whatever limit was asked for.
    ignores_offset: bool = False
    offset_max: int = 0  #: 400 to whoever asks for rows further on.
    says_more: str = ""  #: "206" or "warning", where there is more.
    xml_only: bool = False
    takes_included: bool = True  #: False: 400 for any includefield.
    included_counts: bool = True  #: False: no numbers of instances, no modalities in study.
    study_rows_max: int = 0  #: A search for studies ends here without a word.
    too_broad_at: int = 0  #: 413 for a search that finds more studies.
    nothing_is_404: bool = False
    ignores_dates: bool = False
    takes_prefixes: bool = True  #: False: 400 for a search with a wildcard.
    repeats_last_row: bool = False  #: Each page begins with the last row of the one before it.
    hidden: frozenset[str] = frozenset()  #: Studies left out of a page after it was counted out.
    reorders: bool = False  #: Cuts each second page from a list the other way round.
    not_listed: frozenset[str] = frozenset()
    knows_path_of: frozenset[str] | None = None  #: Studies that have a list of series; None: all.
    unknown_is_empty: bool = False  #: No 404 for the series of a study it has not, as Orthanc.
    wrong_series_rows: bool = False  #: The list of a series holds all instances of the study.
    tells_syntaxes: bool = False  #: Lists each instance with the transfer syntax it holds it in.

    # Retrieves
    missing: frozenset[str] = frozenset()  #: 404, and not among the objects of its study.
    deadly: frozenset[str] = frozenset()  #: The connection breaks off in the middle of it.
    fails: frozenset[str] = frozenset()  #: 500 for it alone, and for its whole study.
    swapped: Mapping[str, str] = field(default_factory=dict)  #: Sent in the place of another.
    strays: int = 0  #: Objects of another study in each answer for a study.
    no_part10: frozenset[str] = frozenset()  #: Sent as text.
    takes_any_syntax: bool = True  #: False: 406 for transfer-syntax=*.
    bare_instances: bool = False  #: A single instance comes without multipart around it.
    boundary_told: str = BOUNDARY
    empty_answers: bool = False  #: 200 with nothing in it.
    login_page: bool = False  #: 200 with a page for a person in it.
    part_pause_s: float = 0.0
    converts: frozenset[str] = frozenset()  #: Sent deflated, whatever it was asked for.
    labels_parts: bool = False  #: Names the transfer syntax it holds beside each object it sends.


@dataclass
class ScriptedArchive:
    """Holds studies and gives them out, as its script has it."""

    studies: Sequence[Study]
    script: WebScript = WebScript()
    breaks: list[Broken] = field(default_factory=list)  #: For the next retrieves, one each.
    search_statuses: list[int] = field(default_factory=list)  #: For the next searches, 0: well.
    tokens: set[str] = field(default_factory=set)  #: Accepted; empty asks for nothing.
    token_requests: int = 0
    replaced: dict[str, bytes] = field(default_factory=dict)  #: SOP UID -> the file it sends.
    searches: list[str] = field(default_factory=list)
    retrieved: Counter[str] = field(default_factory=Counter)  #: Paths below the service root.
    sent: Counter[str] = field(default_factory=Counter)  #: Whole objects, by SOP Instance UID.
    accepts: set[str] = field(default_factory=set)
    at_once: int = 0
    at_once_max: int = 0
    hold: asyncio.Event | None = None  #: Retrieves wait for it.
    headers: dict[str, str] = field(default_factory=dict)  #: Of every answer.
    guards: list[Any] = field(default_factory=list)  #: Middlewares of aiohttp, before all else.
    port: int = 0
    url: str = ""
    holdings: Holdings = field(init=False)

    def __post_init__(self) -> None:
        self.holdings = Holdings(self.studies)

    @asynccontextmanager
    async def running(
        self, ssl_context: ssl.SSLContext | None = None
    ) -> AsyncIterator[ScriptedArchive]:
        """Listen on a port of the loopback interface."""
        app = web.Application(middlewares=[*self.guards, self._guard])
        root = "/dicom-web/studies"
        app.router.add_get(root, self._search_studies)
        app.router.add_get(f"{root}/{{study}}/series", self._search_series)
        app.router.add_get(f"{root}/{{study}}/series/{{series}}/instances", self._search_images)
        app.router.add_get(f"{root}/{{study}}", self._retrieve)
        app.router.add_get(f"{root}/{{study}}/series/{{series}}/instances/{{sop}}", self._retrieve)
        app.router.add_post("/token", self._token)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port, ssl_context=ssl_context).start()
        self.port = runner.addresses[0][1]
        self.url = f"{'https' if ssl_context else 'http'}://127.0.0.1:{self.port}/dicom-web"
        try:
            yield self
        finally:
            await runner.cleanup()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:  # noqa: ANN401
        known = {f"Bearer {token}" for token in self.tokens}
        if request.path != "/token" and known and request.headers.get("Authorization") not in known:
            return web.Response(status=401, text=CANARY)
        answer: web.StreamResponse = await handler(request)
        if not answer.prepared:
            answer.headers.update(self.headers)
        return answer

    async def _token(self, request: web.Request) -> web.Response:
        self.token_requests += 1
        self.tokens = {f"token-{self.token_requests}"}
        return web.json_response({"access_token": next(iter(self.tokens))})

    # Searches

    async def _search_studies(self, request: web.Request) -> web.Response:
        return self._search(request, "STUDY", {})

    async def _search_series(self, request: web.Request) -> web.Response:
        study = request.match_info["study"]
        known = self.script.knows_path_of
        is_there = self.holdings.under(study) or self.script.unknown_is_empty
        if not is_there or (known is not None and study not in known):
            return web.Response(status=404, text=CANARY)
        return self._search(request, "SERIES", {"StudyInstanceUID": study})

    async def _search_images(self, request: web.Request) -> web.Response:
        keys = {"StudyInstanceUID": request.match_info["study"]}
        if not self.script.wrong_series_rows:
            keys["SeriesInstanceUID"] = request.match_info["series"]
        return self._search(request, "IMAGE", keys)

    def _search(self, request: web.Request, level: str, keys: dict[str, str]) -> web.Response:
        script = self.script
        self.searches.append(request.path_qs)
        status = self.search_statuses.pop(0) if self.search_statuses else 0
        included = request.query.getall("includefield", [])
        if not status and included and not script.takes_included:
            status = 400
        if not status and not script.takes_prefixes and "*" in str(request.query.values()):
            status = 400
        if not status and script.xml_only and "xml" not in request.headers["Accept"]:
            status = 406
        if status:
            return web.Response(status=status, text=CANARY, headers={"Retry-After": "0"})
        matching = {
            name: text for name, text in request.query.items()
            if name not in {"limit", "offset", "includefield"}
        }  # fmt: skip
        habits = Script(ignores_dates=script.ignores_dates)
        asked = {"QueryRetrieveLevel": level, **keys, **matching}
        rows = [
            row for row in answers(self.holdings, habits, asked)
            if row.get("SOPInstanceUID") not in script.not_listed
        ]  # fmt: skip
        if level == "STUDY":
            if script.too_broad_at and len(rows) > script.too_broad_at:
                return web.Response(status=413, text=CANARY)
            rows = rows[: script.study_rows_max or None]
        return self._page(request, rows, included)

    def _page(self, request: web.Request, rows: list[Any], included: Sequence[str]) -> web.Response:
        script = self.script
        limit = min(int(request.query["limit"]), script.page_rows_max or 1_000_000)
        offset = 0 if script.ignores_offset else int(request.query.get("offset", "0"))
        if script.offset_max and offset > script.offset_max:
            return web.Response(status=400, text=CANARY)
        if script.reorders and offset % 2:
            rows.reverse()
        page = rows[max(0, offset - (script.repeats_last_row and offset > 0)) : offset + limit]
        page = [row for row in page if row["StudyInstanceUID"] not in script.hidden]
        if not page and script.nothing_is_404:
            return web.Response(status=404, text=CANARY)
        if not page:
            return web.Response(status=204)
        more = offset + limit < len(rows)
        status = 206 if more and script.says_more == "206" else 200
        headers = {}
        if more and script.says_more == "warning":
            left = len(rows) - offset - limit
            headers["Warning"] = (
                f"299 archive: There are {left} additional results that can be requested"
            )
        shown = _OFTEN_RETURNED | set(included)
        if not script.included_counts:
            shown -= {"NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances",
                      "NumberOfSeriesRelatedInstances", "ModalitiesInStudy"}  # fmt: skip
        told = [{name: row[name] for name in row if name in shown} for row in page]
        if script.tells_syntaxes and "AvailableTransferSyntaxUID" in included:
            told = [row | self._syntax_of(row) for row in told]
        if script.xml_only:
            return xml_answer(told, status, headers)
        body = json.dumps([json_row(row) for row in told]).encode()
        return web.Response(
            status=status, headers=headers, body=body, content_type="application/dicom+json"
        )

    def _syntax_of(self, row: Mapping[str, Any]) -> dict[str, str]:
        held = self.holdings.instances([row["StudyInstanceUID"]], (), [row["SOPInstanceUID"]])
        return {"AvailableTransferSyntaxUID": held[0].transfer_syntax_uid}

    # Retrieves

    async def _retrieve(self, request: web.Request) -> web.StreamResponse:
        self.at_once += 1
        self.at_once_max = max(self.at_once_max, self.at_once)
        try:
            return await self._retrieve_one(request)
        finally:
            self.at_once -= 1

    async def _retrieve_one(self, request: web.Request) -> web.StreamResponse:
        script = self.script
        accept = request.headers["Accept"]
        self.accepts.add(accept)
        self.retrieved[request.path.removeprefix("/dicom-web")] += 1
        if self.hold is not None:
            await self.hold.wait()
        broken = self.breaks.pop(0) if self.breaks else None
        if broken is not None and broken.status:
            return web.Response(status=broken.status, text=CANARY, headers=dict(broken.headers))
        if not script.takes_any_syntax and "transfer-syntax=*" in accept:
            return web.Response(status=406, text=CANARY)
        study, sop = request.match_info["study"], request.match_info.get("sop")
        instances = list(self._held(study, sop))
        if not instances:
            return web.Response(status=404, text=CANARY)
        if any(each.sop_instance_uid in script.fails for each in instances):
            return web.Response(status=500, text=CANARY)
        if script.empty_answers:
            return web.Response(content_type="multipart/related")
        if script.login_page:
            return web.Response(text=f"<html>{CANARY}</html>", content_type="text/html")
        if script.bare_instances and sop:
            return web.Response(body=self._file(instances[0]), content_type="application/dicom")
        if sop is None:
            instances += self._strangers(study)[: script.strays]
        return await self._send(request, instances, broken)

    def _held(self, study: str, sop: str | None) -> Iterator[Instance]:
        for each in self.holdings.instances([study], (), [sop] if sop else []):
            if each.sop_instance_uid not in self.script.missing:
                yield each

    def _strangers(self, study: str) -> list[Instance]:
        other = self.holdings.another_than(study)
        return [] if other is None else self.holdings.instances_of(other)

    def _file(self, instance: Instance) -> bytes:
        script, uid = self.script, instance.sop_instance_uid
        if uid in script.no_part10:
            return b"the image could not be read from tape " + CANARY.encode()
        if uid in script.swapped:
            return self.holdings.instances([instance.study_instance_uid], (), [
                script.swapped[uid]])[0].part10()  # fmt: skip
        if uid in script.converts:
            return _deflated(instance)
        return self.replaced.get(uid) or instance.part10()

    async def _send(
        self, request: web.Request, instances: Iterable[Instance], broken: Broken | None
    ) -> web.StreamResponse:
        boundary = self.script.boundary_told
        kind = f'multipart/related; type="application/dicom"; boundary="{boundary}"'
        answer = web.StreamResponse(headers={"Content-Type": kind, **self.headers})
        await answer.prepare(request)
        for number, instance in enumerate(instances):
            label = f"; transfer-syntax={instance.transfer_syntax_uid}"
            head = (
                f"--{BOUNDARY}\r\n"
                f"Content-Type: application/dicom{label if self.script.labels_parts else ''}\r\n"
                f"Content-Location: http://127.0.0.1:9/{instance.sop_instance_uid}\r\n\r\n"
            )
            body = self._file(instance)
            deadly = instance.sop_instance_uid in self.script.deadly
            if deadly or (broken is not None and number == broken.after):
                how = "reset" if broken is None else broken.how
                if how in {"reset", "half", "silent"}:
                    await answer.write(head.encode() + body[: len(body) // 2])
                if how == "silent":
                    await asyncio.sleep(3600)
                if how != "reset":
                    return answer  # Ends in good order, as far as HTTP is concerned.
                await asyncio.sleep(0.05)  # What was written arrives before the reset does.
                return _reset(request)
            await answer.write(head.encode() + body + b"\r\n")
            self.sent[instance.sop_instance_uid] += 1
            await asyncio.sleep(self.script.part_pause_s)
        await answer.write(f"--{BOUNDARY}--\r\n".encode())
        return answer


def _reset(request: web.Request) -> web.Response:
    """End the connection with a TCP reset."""
    transport = request.transport
    assert transport is not None
    linger = struct.pack("ii", 1, 0)
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    transport.abort()
    return web.Response()


def _deflated(instance: Instance) -> bytes:
    """Write an instance in Deflated Explicit VR Little Endian (PS3.5 A.5)."""
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)

    def data_set() -> bytes:
        return deflate.compress(instance.data_set()) + deflate.flush()

    return replace(
        instance, transfer_syntax_uid=DeflatedExplicitVRLittleEndian, data_set=data_set
    ).part10()
