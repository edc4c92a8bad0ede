"""Reading through a DICOMweb endpoint: what it sends is compared, and nothing it says is obeyed."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from cloudmig.cloud.multipart_body import MultipartWrong, single_part
from cloudmig.cloud.reading import DicomWebReader, ReadFailed
from cloudmig.cloud.sampling import SampledStudy
from cloudmig.demo.studies import Study
from cloudmig.dicom.digest import FileDigests, StreamDigests
from cloudmig.manifest import InstanceRecord
from cloudmig.model.instance import Location
from tests.integration.migration_world import a_study

STUDY: Study = a_study(1, series=(1,))
UID = STUDY.study_instance_uid
SAMPLED = SampledStudy(UID, "STANDARD|2020|CT|S", "key", "")
IMAGE = b"\x00" * 128 + b"DICM" + b"\x02\x00\x00\x00UL\x04\x00\x00\x00\x00\x00" + b"data" * 50
RECORD = InstanceRecord(
    series_instance_uid="1.2.3", sop_instance_uid="1.2.3.4", sop_class_uid="1.2",
    transfer_syntax_uid="1.2", size_bytes=len(IMAGE), file_sha256="", dataset_sha256="",
    location=Location("key"),
)  # fmt: skip
PATH = f"/dicom-web/studies/{UID}/series/1.2.3/instances/1.2.3.4"


class Endpoint(BaseHTTPRequestHandler):
    """Answers as told, and remembers what it was asked."""

    status = 200
    kind = 'multipart/related; type="application/dicom"; boundary=xyz'
    body = b"--xyz\r\nContent-Type: application/dicom\r\n\r\n" + IMAGE + b"\r\n--xyz--\r\n"
    asked: list[tuple[str, dict[str, str]]]

    def do_GET(self) -> None:
        self.asked.append((self.path, dict(self.headers)))
        self.send_response(self.status)
        self.send_header("Content-Type", self.kind)
        self.send_header("Content-Length", str(len(self.body)))
        if self.status == 302:
            self.send_header("Location", "http://127.0.0.1:9/elsewhere")
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def endpoint(**told: object) -> Iterator[tuple[str, list[tuple[str, dict[str, str]]]]]:
    asked: list[tuple[str, dict[str, str]]] = []
    handler = type("Told", (Endpoint,), {"asked": asked, **told})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/dicom-web/", asked
        finally:
            server.shutdown()
            thread.join()


def read(url: str, **settings: str) -> FileDigests:
    digests = StreamDigests()
    with DicomWebReader(url, **settings).open(UID, RECORD) as image:  # type: ignore[arg-type]
        for piece in image.pieces:
            digests.update(piece)
    return digests.result()


def test_the_one_part_is_read_in_whatever_syntax_it_is_stored() -> None:
    with endpoint() as (url, asked):
        found = read(url, authorization="Bearer token")

    assert found.file_sha256 == hashlib.sha256(IMAGE).hexdigest()
    [(path, headers)] = asked
    assert path == PATH
    assert headers["Accept"].endswith("transfer-syntax=*")
    assert headers["Authorization"] == "Bearer token"


def test_a_part_that_is_no_multipart_is_read_too() -> None:
    with endpoint(kind="application/dicom", body=IMAGE) as (url, _):
        assert read(url).size_bytes == len(IMAGE)


@pytest.mark.parametrize("boundary", ["xyz", "a--b", "-" * 40])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 10_000])
def test_a_part_arrives_whole_however_it_is_cut(boundary: str, size: int) -> None:
    content = b"\r\n--xy\r\n--\r\n" + bytes(range(256)) + b"\r\n"
    body = f"preamble\r\n--{boundary}\r\nA: b\r\n\r\n".encode() + content
    body += f"\r\n--{boundary}--\r\nepilogue".encode()
    pieces = (body[begin : begin + size] for begin in range(0, len(body), size))

    assert b"".join(single_part(pieces, boundary)) == content


@pytest.mark.parametrize(
    "body", [b"", b"--xyz", b"--xyz\r\nA: b\r\n\r\ncut off", b"nothing", b"x" * 100_000]
)
def test_a_body_that_ends_early_is_no_part(body: bytes) -> None:
    with pytest.raises(MultipartWrong):
        b"".join(single_part(iter([body]), "xyz"))


@pytest.mark.parametrize(
    ("told", "cause"),
    [
        ({"status": 404}, "HTTP404"),
        ({"status": 302}, "HTTP302"),
        ({"kind": "text/html"}, "no DICOM in the answer"),
    ],
)
def test_an_answer_that_is_no_image_is_a_failure(told: dict[str, object], cause: str) -> None:
    with endpoint(**told) as (url, asked), pytest.raises(ReadFailed, match=cause):
        read(url)

    assert len(asked) == 1, "a redirect is not followed"


def test_the_data_set_decides_and_not_who_wrote_the_file() -> None:
    reader = DicomWebReader("http://x/")
    found = FileDigests(5, "theirs", "the same")

    assert reader.agrees(found, RECORD.__class__(**{
        **{name: getattr(RECORD, name) for name in RECORD.__slots__}, "dataset_sha256": "the same",
    }))  # fmt: skip
    assert not reader.agrees(found, RECORD)


def answer(*uids: str) -> bytes:
    return json.dumps([{"0020000D": {"vr": "UI", "Value": [uid]}} for uid in uids]).encode()


def test_a_year_of_one_modality_is_searched_and_the_study_must_be_found() -> None:
    with endpoint(kind="application/dicom+json", body=answer("1.2", UID)) as (url, asked):
        assert DicomWebReader(url).search(SAMPLED)

    query = parse_qs(urlsplit(asked[0][0]).query)
    assert query["StudyDate"] == ["20200101-20201231"]
    assert query["ModalitiesInStudy"] == ["CT"]
    assert UID not in asked[0][0]


@pytest.mark.parametrize(
    ("body", "status"),
    [(answer("1.2"), 200), (b"", 204), (b"<html>", 200), (b"{}", 200), (b"[3]", 200), (b"", 500)],
)
def test_a_search_that_does_not_find_the_study_has_failed(body: bytes, status: int) -> None:
    with endpoint(body=body, status=status) as (url, _), pytest.raises(ReadFailed):
        DicomWebReader(url).search(SAMPLED)


def test_a_full_page_without_the_study_says_nothing_against_it() -> None:
    page = answer(*(f"1.2.{number}" for number in range(100)))
    with endpoint(body=page) as (url, _):
        assert DicomWebReader(url).search(SAMPLED)


def test_a_study_without_a_date_is_searched_by_its_uid() -> None:
    undated = SampledStudy(UID, "STANDARD|unknown|unknown|S", "key", "")
    with endpoint(body=answer(UID)) as (url, asked):
        DicomWebReader(url).search(undated)

    assert f"StudyInstanceUID={UID}" in asked[0][0]
