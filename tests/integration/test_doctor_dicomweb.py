"""`cloudmig doctor` asks a DICOMweb store before a run does."""

from __future__ import annotations

import asyncio

import pytest

from cloudmig.agent.doctor.store import check_destination
from cloudmig.config import DestinationSettings
from tests.contract.stow_server import CANARY, ScriptedStow


async def found(server: ScriptedStow, **changes: object) -> str:
    settings = DestinationSettings.model_validate(
        {"url": server.url, "evidence": "bucket", **changes}
    )
    findings = await asyncio.to_thread(check_destination, "web", settings, "main", timeout_s=2.0)
    assert len(findings) == 1
    return str(findings[0])


async def test_a_store_that_answers_is_well_and_nothing_is_put_there() -> None:
    async with ScriptedStow().running() as server:
        said = await found(server)

    assert "answers queries" in said
    assert not server.held


@pytest.mark.parametrize(("changes", "word"), [
    ({"dicomweb": {"token": "wrong"}}, "Check the credentials"),
    ({"dicomweb": {"token": "wrong"}}, "[destinations.web.dicomweb]"),
    ({"dicomweb": {"token": "wrong"}}, "/dicom-web: HTTP 401"),
    ({"dicomweb": {"profile": "unheard-of"}}, "unheard-of"),
    ({"dicomweb": {"profile": "unheard-of"}}, "[destinations.web.dicomweb]"),
    ({"url": "http://127.0.0.1:9/dicom-web"}, "Is it running? Check destinations.web.url"),
    ({"url": "http://127.0.0.1:9/dicom-web"}, "127.0.0.1:9/dicom-web: connection refused"),
    ({"url": "http://nowhere.invalid/dicom-web"}, "the host's name is not known"),
])  # fmt: skip
async def test_what_is_wrong_is_said_with_a_way_out(changes: dict[str, object], word: str) -> None:
    async with ScriptedStow(tokens=["right"]).running() as server:
        said = await found(server, **changes)

    assert word in said
    assert CANARY not in said


async def test_https_to_a_server_that_speaks_http_is_said_so() -> None:
    async with ScriptedStow().running() as server:
        said = await found(server, url=server.url.replace("http://", "https://"))

    assert "no TLS is spoken there" in said


async def test_a_wrong_path_is_no_dicomweb_service() -> None:
    async with ScriptedStow().running() as server:
        said = await found(server, url=server.url + "/elsewhere")

    assert "not that of a DICOMweb service" in said
