"""`cloudmig doctor` takes every step towards a DICOMweb archive before a run does."""

from __future__ import annotations

import datetime as dt
import email.utils
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cloudmig.agent.doctor.examining import examine
from cloudmig.agent.doctor.findings import Finding, Verdict
from cloudmig.agent.doctor.web_source import check_web_source
from cloudmig.config import parse
from tests.contract.web_archive import CANARY, ScriptedArchive, WebScript
from tests.integration.migration_world import a_study, free_port

STUDIES = [a_study(1), a_study(2)]


async def found(
    folder: Path,
    archive: ScriptedArchive,
    *,
    url: str = "",
    **changes: Any,  # noqa: ANN401
) -> dict[str, Finding]:
    document = {
        "agent": {"state_dir": str(folder)},
        "sources": {"main": {"archive": "main", "url": url or archive.url, **changes}},
        "destinations": {"store": {"url": f"file://{folder}/store"}},
        "rules": [{"name": "all", "copy_to": ["store"]}],
    }
    findings = await check_web_source(parse(document), "main", wait_max_s=2.0)
    assert all(each.hint for each in findings if each.verdict is not Verdict.OK)
    assert CANARY not in str(findings)
    return {each.check: each for each in findings}


async def test_an_archive_that_is_well_is_asked_for_one_instance(tmp_path: Path) -> None:
    archive = ScriptedArchive(STUDIES)
    async with archive.running():
        said = await found(tmp_path, archive)

    assert {each.verdict for each in said.values()} == {Verdict.OK}
    assert set(said) == {"reachable", "search", "retrieve"}
    assert sum(archive.sent.values()) == 1


@pytest.mark.parametrize(("script", "check", "verdict", "word"), [
    (WebScript(takes_any_syntax=False), "retrieve", Verdict.PROBLEM, "as_stored"),
    (WebScript(missing=frozenset(each.sop_instance_uid for study in STUDIES
                                 for each in study.instances())),
     "retrieve", Verdict.PROBLEM, "log of the archive"),
    (WebScript(tells_syntaxes=True,
               converts=frozenset(each.sop_instance_uid for study in STUDIES
                                  for each in study.instances())),
     "retrieve", Verdict.PROBLEM, "Switch conversion off"),
    (WebScript(wrong_series_rows=True), "search", Verdict.WARNING, "two pulls"),
    (WebScript(too_broad_at=1), "search", Verdict.OK, ""),
], ids=["406", "404", "converted", "a list that contradicts itself", "too broad"])  # fmt: skip
async def test_what_is_wrong_is_said_with_a_way_out(
    script: WebScript, check: str, verdict: Verdict, word: str, tmp_path: Path
) -> None:
    a_month_ago = dt.datetime.now().astimezone().date() - dt.timedelta(days=30)
    studies = [replace(STUDIES[0], study_date=f"{a_month_ago:%Y%m%d}"), STUDIES[1]]
    archive = ScriptedArchive(studies, script)
    async with archive.running():
        said = await found(tmp_path, archive)

    assert said[check].verdict is verdict
    assert word in said[check].hint


async def test_who_we_are_and_where_it_is_come_first(tmp_path: Path) -> None:
    archive = ScriptedArchive(STUDIES, tokens={"right"})
    async with archive.running():
        stranger = await found(tmp_path, archive, dicomweb={"token": "wrong"})
        known = await found(tmp_path, archive, dicomweb={"token": "right"})
        elsewhere = await found(tmp_path, archive, url=archive.url + "/x",
                                dicomweb={"token": "right"})  # fmt: skip
    nobody = await found(tmp_path, archive, url=f"http://127.0.0.1:{free_port()}/dicom-web")
    badly = await found(tmp_path, archive, url="https://127.0.0.1:1/d", ca=str(tmp_path / "no"))

    assert "credentials" in stranger["reachable"].hint
    assert known["retrieve"].verdict is Verdict.OK
    assert "not that of a DICOMweb service" in elsewhere["reachable"].hint
    assert "sources.main.url" in nobody["reachable"].hint
    assert badly["tls_files"].verdict is Verdict.PROBLEM


async def test_a_clock_that_is_off_is_told(tmp_path: Path) -> None:
    late = email.utils.formatdate(time.time() - 3600, usegmt=True)
    archive = ScriptedArchive(STUDIES, headers={"Date": late})
    async with archive.running():
        said = await found(tmp_path, archive)

    assert said["clock"].verdict is Verdict.WARNING
    assert said["retrieve"].verdict is Verdict.OK


@pytest.mark.parametrize("date", [
    "Wed, 21 Oct 99999999999999999999 07:28:30 GMT", "Fri, 31 Dec 9999 23:59:59 -2300", "today",
])  # fmt: skip
async def test_a_date_that_is_none_is_not_told(date: str, tmp_path: Path) -> None:
    archive = ScriptedArchive(STUDIES, headers={"Date": date})
    async with archive.running():
        said = await found(tmp_path, archive)

    assert "clock" not in said
    assert said["retrieve"].verdict is Verdict.OK


@pytest.mark.parametrize("tells", [True, False])
async def test_only_an_archive_that_says_what_it_holds_can_prove_it(
    tells: bool, tmp_path: Path
) -> None:
    archive = ScriptedArchive(STUDIES, WebScript(tells_syntaxes=tells))
    async with archive.running():
        said = await found(tmp_path, archive)

    assert said["retrieve"].verdict is Verdict.OK
    assert ("might not show" in said["retrieve"].message) is not tells


async def test_a_copy_that_may_be_converted_is_worth_a_warning(tmp_path: Path) -> None:
    archive = ScriptedArchive(STUDIES, WebScript(takes_any_syntax=False))
    async with archive.running():
        said = await found(tmp_path, archive, as_stored=False)

    assert said["retrieve"].verdict is Verdict.WARNING
    assert "converted" in said["retrieve"].message


async def test_the_whole_examination_looks_at_it_too(tmp_path: Path) -> None:
    archive = ScriptedArchive(STUDIES)
    async with archive.running():
        document = {
            "agent": {"state_dir": str(tmp_path)},
            "sources": {"main": {"archive": "main", "url": archive.url}},
            "destinations": {"store": {"url": f"file://{tmp_path}/store"}},
            "rules": [{"name": "all", "copy_to": ["store"]}],
        }
        findings = await examine(parse(document))

    ours = [each for each in findings if each.subject == "source main"]
    assert {"reachable", "search", "retrieve"} <= {each.check for each in ours}
    assert not [each for each in findings if each.verdict is Verdict.PROBLEM]
