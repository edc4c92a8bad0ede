"""HTTPS, certificates, tokens and signatures towards a DICOMweb source: who is let in, and how."""

from __future__ import annotations

import datetime as dt
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from cloudmig.bootstrap.web_source import web_source
from cloudmig.config import WebSourceSettings, parse
from cloudmig.errors import SourceError, SourceRefused, SourceUnavailable
from cloudmig.model.references import StudyRef
from cloudmig.model.window import StudyQuestion
from cloudmig.sources.dicomweb import WebSource
from tests.contract.source_contract import an_area, expected_of, given_back, pull, whole
from tests.contract.web_archive import CANARY, ScriptedArchive, WebScript
from tests.integration.migration_world import a_study
from tests.integration.test_dicomweb_sigv4 import SECRET, signed_only

STUDY = a_study(1, series=(2, 1))


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an authority of our own, and what it issued to server and agent."""
    folder = tmp_path_factory.mktemp("papers")
    authority = trustme.CA(key_type=trustme.KeyType.RSA)
    authority.cert_pem.write_to_path(folder / "ca.pem")
    for name in ("server", "agent"):
        issued = authority.issue_cert("127.0.0.1", key_type=trustme.KeyType.RSA)
        issued.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
        issued.private_key_pem.write_to_path(folder / f"{name}.key")
    return folder


def at_the_server(papers: Path, *, mutual: bool = False) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=papers / "ca.pem")
    context.load_cert_chain(papers / "server.pem", papers / "server.key")
    if mutual:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@asynccontextmanager
async def a_source(
    folder: Path, archive: ScriptedArchive, **settings: object
) -> AsyncIterator[WebSource]:
    """Open the source that a configuration describes, as a run does."""
    document: dict[str, Any] = {
        "agent": {"state_dir": str(folder)},
        "sources": {"main": {"archive": "main", "url": archive.url, "idle_s": 5, **settings}},
        "destinations": {"store": {"url": f"file://{folder}/store"}},
        "rules": [{"name": "all", "copy_to": ["store"]}],
    }
    told = parse(document).sources["main"]
    assert isinstance(told, WebSourceSettings)
    source = web_source(
        "main", told, an_area(folder), object_bytes_max=1 << 30, patient_key=lambda *_: ""
    )
    try:
        yield source
    finally:
        await source.close()
    assert given_back(source.area)


async def everything(source: WebSource) -> int:
    """Search, list and pull, as a migration does; return how many instances came."""
    found = [each.study async for each in source.find_studies(StudyQuestion())]
    assert found == [StudyRef(STUDY.study_instance_uid)]
    listing = await source.list_instances(found[0])
    assert {each.instance.sop_instance_uid for each in listing.instances} == set(expected_of(STUDY))
    arrived, _, gone = await pull(source, whole(STUDY))
    if gone is not None:
        raise gone
    return len(arrived)


async def refusal(source: WebSource) -> SourceError:
    with pytest.raises(SourceError) as caught:
        await everything(source)
    assert CANARY not in str(caught.value)
    assert SECRET not in f"{caught.value!r}{caught.value.__cause__!r}{caught.value.hint}"
    return caught.value


async def test_an_authority_of_our_own_is_believed_and_no_other(
    papers: Path, tmp_path: Path
) -> None:
    archive = ScriptedArchive([STUDY])
    async with archive.running(at_the_server(papers)):
        assert archive.url.startswith("https://")
        async with a_source(tmp_path, archive, ca=str(papers / "ca.pem")) as known:
            assert await everything(known) == 3
        asked = len(archive.searches)
        async with a_source(tmp_path, archive) as unknown:
            error = await refusal(unknown)

    assert isinstance(error, SourceRefused)
    assert "certificate" in str(error)
    assert "set ca" in error.hint
    assert len(archive.searches) == asked, "nothing is said to a stranger"


@pytest.mark.parametrize(("host", "days", "said"), [
    ("127.0.0.1", -1, "expired"), ("archive.example", 1, "not valid for"),
])  # fmt: skip
async def test_what_is_wrong_with_a_certificate_is_said(
    host: str, days: int, said: str, tmp_path: Path
) -> None:
    authority = trustme.CA(key_type=trustme.KeyType.RSA)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    until = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
    issued = authority.issue_cert(host, not_after=until, key_type=trustme.KeyType.RSA)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    issued.configure_cert(context)
    archive = ScriptedArchive([STUDY])
    async with (
        archive.running(context),
        a_source(tmp_path, archive, ca=str(tmp_path / "ca.pem")) as source,
    ):
        error = await refusal(source)

    assert isinstance(error, SourceRefused)
    assert said in str(error)
    assert "renewed" in error.hint


async def test_mutual_tls_lets_us_in_and_nobody_without_a_certificate(
    papers: Path, tmp_path: Path
) -> None:
    ca = str(papers / "ca.pem")
    ours = {"certificate": str(papers / "agent.pem"), "key": str(papers / "agent.key")}
    archive = ScriptedArchive([STUDY])
    async with archive.running(at_the_server(papers, mutual=True)):
        async with a_source(tmp_path, archive, ca=ca, dicomweb=ours) as known:
            assert await everything(known) == 3
        async with a_source(tmp_path, archive, ca=ca) as nobody:
            error = await refusal(nobody)

    assert isinstance(error, SourceUnavailable), "TLS 1.3 only shows that the server hangs up"


async def test_a_fixed_token_that_has_expired_is_refused_with_a_hint_and_not_tried_again(
    papers: Path, tmp_path: Path
) -> None:
    archive = ScriptedArchive([STUDY], tokens={"of today"})
    async with archive.running(at_the_server(papers)):
        web = {"ca": str(papers / "ca.pem"), "dicomweb": {"token": "of today"}}
        async with a_source(tmp_path, archive, **web) as source:
            assert await everything(source) == 3
            archive.tokens = {"of tomorrow"}
            archive.retrieved.clear()
            _, _, gone = await pull(source, whole(STUDY))
            error = await refusal(source)

    assert isinstance(gone, SourceRefused)
    assert isinstance(error, SourceRefused)
    assert "credentials" in gone.hint
    assert "401" in str(gone)
    assert not archive.retrieved


async def test_a_token_that_expires_is_renewed_over_https_before_anything_is_lost(
    papers: Path, tmp_path: Path
) -> None:
    archive = ScriptedArchive([STUDY], tokens={"unknown to us"})
    async with archive.running(at_the_server(papers)):
        token_url = archive.url.replace("/dicom-web", "/token")
        who = {"token_url": token_url, "client_id": "agent", "client_secret": SECRET}
        async with a_source(tmp_path, archive, ca=str(papers / "ca.pem"), dicomweb=who) as source:
            assert await everything(source) == 3
            archive.tokens = {"whatever was given out is worth nothing now"}
            assert await everything(source) == 3

    assert archive.token_requests == 2


@pytest.mark.parametrize("script", [
    WebScript(), WebScript(page_rows_max=1), WebScript(xml_only=True),
], ids=["JSON", "a row a page", "XML"])  # fmt: skip
@pytest.mark.parametrize("region", ["AWS_REGION", "AWS_DEFAULT_REGION"])
async def test_every_search_and_retrieve_is_signed_for_aws(
    script: WebScript, region: str, papers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server checks each signature with code of its own, `includefield` given twice and all."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    for each in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setenv(region, "eu-west-1")
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    archive = ScriptedArchive([STUDY], script, guards=[signed_only])
    web = {"ca": str(papers / "ca.pem"), "dicomweb": {"sigv4_service": "medical-imaging"}}
    async with archive.running(at_the_server(papers)):
        async with a_source(tmp_path, archive, **web) as source:
            assert await everything(source) == 3
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET + "x")
        async with a_source(tmp_path, archive, **web) as other:
            error = await refusal(other)

    assert isinstance(error, SourceRefused)
    assert "403" in str(error)
