"""`cloudmig init` writes a file that is read back without a mistake, and never overwrites one."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from cloudmig.cli import main
from cloudmig.config import DirectorySettings, WebSourceSettings, load
from cloudmig.demo.pacs import Script, ScriptedPacs

NOBODY = "127.0.0.1:1"


def init(
    path: Path, *more: str, pacs: str = NOBODY, aet: str = "PACS", bucket: str = "s3://b/p"
) -> int:
    return write(path, "--pacs", pacs, "--aet", aet, "--bucket", bucket, *more)


def write(path: Path, *words: str) -> int:
    with pytest.raises(SystemExit) as leaving:
        main.run(["--config", str(path), "init", *words])
    code = leaving.value.code
    assert isinstance(code, int)
    return code


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cloudmig.toml"


def test_the_file_says_what_the_options_said(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert init(path, "--our-aet", "OUR", "--listen-port", "4242", "--archive", "st-elsewhere") == 0

    config = load(path)
    source = config.sources["st-elsewhere"]
    assert (source.archive, source.host, source.port) == ("st-elsewhere", "127.0.0.1", 1)
    assert (source.aet, source.ae_titles, source.retrieve) == ("PACS", ("OUR",), "auto")
    assert config.listen.port == 4242
    assert config.destinations["archive"].url == "s3://b/p"
    assert [rule.copy_to for rule in config.rules] == [("archive",)]
    out = capfd.readouterr().out
    assert "register the AE title OUR at the PACS: this machine, port 4242" in out
    assert f"cloudmig -c {path} doctor" in out


@pytest.mark.parametrize(("bucket", "words"), [
    ("az://images/p", ("AZURE_STORAGE_ACCOUNT_NAME", "the name of the storage account", "Azure")),
    ("gs://images/p", ("GOOGLE_APPLICATION_CREDENTIALS", "NEARLINE", "Google")),
])  # fmt: skip
@pytest.mark.parametrize("endpoint", [None, "http://127.0.0.1:10000/devstoreaccount1"])
def test_a_store_of_another_cloud_is_told_about_its_own_credentials(
    path: Path,
    bucket: str,
    words: tuple[str, ...],
    endpoint: str | None,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert init(path, *(["--endpoint", endpoint] if endpoint else []), bucket=bucket) == 0

    text = path.read_text()
    assert all(word in text for word in words[: 2 if endpoint else 3])
    assert "AWS" not in text
    assert "region" not in text
    archive = load(path).destinations["archive"]
    assert (archive.url, archive.endpoint) == (bucket, endpoint)
    assert "profile" not in capfd.readouterr().out


@pytest.mark.parametrize(("profile", "offered"), [("aws", True), ("ceph", True), ("minio", False)])
def test_a_storage_class_is_offered_where_the_store_has_some(
    path: Path, profile: str, offered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cloudmig.cli.first_look.kind_of_store", lambda endpoint: profile)
    assert init(path, "--endpoint", "http://127.0.0.1:9000") == 0

    assert ("STANDARD_IA" in path.read_text()) is offered


def test_the_next_commands_read_the_file_that_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    assert init(Path("cloudmig.toml")) == 0
    assert "  cloudmig doctor       names" in capfd.readouterr().out
    assert init(Path("zweite Kopie.toml")) == 0
    assert "  cloudmig -c 'zweite Kopie.toml' doctor       names" in capfd.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ("--folder", "/f\udcff", "--bucket", "s3://b"),
        ("--folder", "/f", "--bucket", "file:///f\udcff"),
    ],
    ids=["folder", "bucket"],
)
def test_a_name_that_is_not_utf_8_is_refused_and_nothing_is_written(
    words: tuple[str, ...], path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert write(path, *words) == 2

    shown = capfd.readouterr().err
    assert 'this is not: url = "file:///f\\udcff"' in shown
    assert "ln -s" in shown
    assert not path.exists()


def test_an_existing_file_is_left_alone(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path.write_text("# mine")

    assert init(path) == 2
    assert path.read_text() == "# mine"
    assert "is there already" in capfd.readouterr().err


def test_a_folder_that_is_not_there_is_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert init(tmp_path / "not made yet" / "cloudmig.toml") == 2

    shown = capfd.readouterr().err
    assert "there is no folder" in shown
    assert "Make the folder" in shown


def test_wrong_options_write_nothing_and_are_named_together(
    path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert init(path, "--archive", 'A "b', aet="A_TITLE_LONGER_THAN_16", bucket="s3://") == 2

    shown = capfd.readouterr().err
    assert "lower-case letters" in shown
    assert "1 to 16 characters" in shown
    assert "names no bucket" in shown
    assert not path.exists()


@pytest.mark.parametrize("aet", ["", "SEVENTEEN_LETTERS", "B\u00dcRO"])
def test_a_name_that_no_request_can_carry_is_refused_before_the_pacs_is_asked(
    path: Path, aet: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with ScriptedPacs([], Script(), destinations={}, aet="PACS") as pacs:
        assert init(path, pacs=f"127.0.0.1:{pacs.port}", aet=aet) == 2

    assert "sources.main.aet must" in capfd.readouterr().err
    assert not path.exists()


def test_a_file_where_a_folder_is_wanted_is_told_as_such(
    path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    export = tmp_path / "export.zip"
    export.touch()

    assert write(path, "--folder", str(export), "--bucket", "s3://b/p") == 0

    assert f"{export} is no folder." in capfd.readouterr().out


@pytest.mark.parametrize("pacs", ["pacs.example", ":104", "host:", "host:x"])
def test_a_pacs_without_host_or_port_is_a_usage_error(
    path: Path, pacs: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert init(path, pacs=pacs) == 2
    assert "HOST:PORT" in capfd.readouterr().err


def test_json_names_the_file(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert init(path, "--json") == 0

    assert json.loads(capfd.readouterr().out) == {
        "written": str(path), "source_answers": False, "retrieve": "auto", "profile": "aws",
        "stow_profile": None,
    }  # fmt: skip


def test_a_pacs_without_a_place_has_answered_and_is_quoted(
    path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with ScriptedPacs([], Script(associations_max=0), destinations={}, aet="PACS") as pacs:
        assert init(path, pacs=f"127.0.0.1:{pacs.port}") == 0

    shown = capfd.readouterr().out
    assert "The PACS did not let us in when the file was written" in shown
    assert "Local limit exceeded" in shown
    assert "It has no place for one more association: try again in a minute" in shown
    assert "did not answer" not in shown
    assert load(path).sources["main"].retrieve == "auto"
    assert "Local limit exceeded" in path.read_text()


def test_a_pacs_that_does_not_know_us_has_answered_too(
    path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    strict = Script(callers=frozenset({"SOMEBODY"}))
    with ScriptedPacs([], strict, destinations={}, aet="PACS") as pacs:
        assert init(path, "--json", pacs=f"127.0.0.1:{pacs.port}") == 0

    told = json.loads(capfd.readouterr().out)
    assert (told["source_answers"], told["retrieve"]) == (True, "auto")
    assert "Calling AE title not recognised" in path.read_text()


def test_a_folder_is_offered_nothing_that_only_a_store_has(
    path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert init(path, bucket="file:///srv/images") == 0

    assert load(path).destinations["archive"].profile == "file"
    text = path.read_text()
    for word in ("endpoint", "region", "profile", "storage_class", "access_key_id", "AWS"):
        assert word not in text, word
    assert "profile" not in capfd.readouterr().out


@pytest.fixture(
    params=[
        ({"Server": "MinIO"}, "minio"),
        ({"Server": "Werkzeug/3.1 Python/3.11", "server": "amazon.com"}, "moto"),
        ({"X-Trans-Id": "tx1"}, "swift"),
        ({"x-amz-request-id": "tx00-1-default-rgw"}, "ceph"),
        ({}, "aws"),
    ]
)
def endpoint(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    headers, profile = request.param

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response_only(403)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", profile
        server.shutdown()
        thread.join()


def test_the_store_is_known_by_the_headers_of_its_refusal(
    path: Path, endpoint: tuple[str, str]
) -> None:
    url, profile = endpoint

    assert init(path, "--endpoint", url) == 0
    assert load(path).destinations["archive"].profile == profile


class AsOrthanc(BaseHTTPRequestHandler):
    """Answers as Orthanc does to a path that it does not know, behind a password or not."""

    realm = ""
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        body = b"" if self.realm else b'{\n\t"OrthancError" : "Unknown resource"\n}\n'
        self.send_response_only(401 if self.realm else 404)
        if self.realm:
            self.send_header("WWW-Authenticate", f'Basic realm="{self.realm}"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@pytest.fixture(params=["", "Orthanc Secure Area"], ids=["open", "password"])
def orthanc(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(AsOrthanc, "realm", request.param)
    monkeypatch.setattr(AsOrthanc, "asked", [])
    with HTTPServer(("127.0.0.1", 0), AsOrthanc) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/dicom-web"
        server.shutdown()
        thread.join()


def test_a_dicomweb_archive_is_written_as_one(
    path: Path, orthanc: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert write(path, "--dicomweb", orthanc, "--bucket", "s3://b", "--archive", "web") == 0

    source = load(path).sources["web"]
    assert isinstance(source, WebSourceSettings)
    assert source.url == orthanc
    shown = capfd.readouterr().out
    assert AsOrthanc.asked == ["/dicom-web/cloudmig"], "nothing that a patient could be in"
    assert ("fill in the credentials" in shown) is bool(AsOrthanc.realm)
    assert "[listen]" not in path.read_text()


def test_the_lines_of_credentials_are_right_once_they_are_no_comment(
    path: Path, orthanc: str
) -> None:
    words = ["--dicomweb", orthanc, "--bucket", "s3://b", "--stow", f"{orthanc}/other"]
    assert write(path, *words) == 0
    lines = path.read_text().splitlines()
    for wanted in ('# username = "..."', '# password = "..."'):
        lines = [line.removeprefix("# ") if line.startswith(wanted) else line for line in lines]
    path.write_text("\n".join(lines))

    config = load(path)
    source, viewer = config.sources["main"], config.destinations["viewer"].dicomweb
    assert isinstance(source, WebSourceSettings)
    assert viewer is not None
    assert (source.dicomweb.username, viewer.username) == ("...", "...")


def test_a_dicomweb_store_is_filled_beside_the_bucket(path: Path, orthanc: str) -> None:
    assert init(path, "--stow", orthanc) == 0

    config = load(path)
    viewer = config.destinations["viewer"]
    assert (viewer.url, viewer.evidence) == (orthanc, "archive")
    assert viewer.dicomweb is not None
    assert viewer.dicomweb.profile == "orthanc"
    assert [rule.copy_to for rule in config.rules] == [("archive", "viewer")]


@pytest.mark.parametrize(
    ("host", "profile"),
    [
        ("healthcare.googleapis.com", "google"),
        ("hospital-images.dicom.azurehealthcareapis.com", "azure"),
        ("dicom-medical-imaging.us-east-1.amazonaws.com", "healthimaging"),
        ("viewer.example", "plain"),
    ],
)
def test_a_service_is_known_by_its_host(
    path: Path, host: str, profile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cloudmig.cli.first_look._ask", lambda *_: None)  # Nothing goes out.

    assert (
        write(path, "--folder", "f", "--bucket", "s3://b", "--stow", f"https://{host}/dicom") == 0
    )
    viewer = load(path).destinations["viewer"].dicomweb
    assert viewer is not None
    assert viewer.profile == profile


def test_a_folder_is_written_as_one(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "an export").mkdir()
    monkeypatch.chdir(tmp_path)

    assert write(path, "--folder", "an export", "--bucket", "file:///srv/images", "--json") == 0

    source = load(path).sources["main"]
    assert isinstance(source, DirectorySettings)
    assert source.directory == tmp_path / "an export"
    assert json.loads(capfd.readouterr().out)["source_answers"] is True


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--bucket", "s3://b"], "--pacs, --dicomweb or --folder"),
        (["--bucket", "s3://b", "--folder", "f", "--dicomweb", "https://h/d"], "name one source"),
        (["--bucket", "s3://b", "--pacs", NOBODY], "--aet"),
        (["--bucket", "s3://b", "--folder", "f", "--aet", "PACS"], "--pacs and --aet"),
        (["--bucket", "https://h/dicom-web", "--folder", "f"], "--stow"),
        (["--bucket", "s3://b", "--dicomweb", "ftp://h"], "https://host/dicom-web"),
        (["--bucket", "s3://b", "--dicomweb", "http://[::1"], "https://host/dicom-web"),
        (["--bucket", "s3://b", "--folder", "f", "--stow", "https://[::1"], "destinations.viewer"),
    ],
)
def test_options_that_do_not_fit_write_nothing(
    path: Path, words: list[str], told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert write(path, *words) == 2
    assert told in " ".join(capfd.readouterr().err.split())
    assert not path.exists()
