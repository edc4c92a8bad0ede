"""The doctor tries a container at Azure and a bucket at Google as a run would."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from cloudmig.agent.doctor import Finding, Verdict
from cloudmig.agent.doctor.store import check_destination
from cloudmig.config import DestinationSettings
from tests.contract.scripted_clouds import (
    ACCOUNT,
    ACCOUNT_KEY,
    Answer,
    ScriptedAzure,
    ScriptedCloud,
    ScriptedGoogle,
)

_NO_OAUTH = {"disable_oauth": True, "client_email": "", "private_key": "", "private_key_id": ""}


@pytest.fixture(params=[ScriptedAzure, ScriptedGoogle])
def cloud(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ScriptedCloud]:
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", json.dumps(_NO_OAUTH))
    cloud: ScriptedCloud = request.param()
    with cloud.serving():
        yield cloud


def examined(cloud: ScriptedCloud, bucket: str = "images") -> list[Finding]:
    told: dict[str, object] = {"url": f"gs://{bucket}/p", "endpoint": cloud.endpoint}
    if isinstance(cloud, ScriptedAzure):
        told |= {
            "url": f"az://{bucket}/p", "access_key_id": ACCOUNT, "secret_access_key": ACCOUNT_KEY,
        }  # fmt: skip
    settings = DestinationSettings.model_validate(told)
    return check_destination("archive", settings, "main", timeout_s=5)


def test_a_store_that_works_is_healthy_and_left_as_it_was(cloud: ScriptedCloud) -> None:
    findings = examined(cloud)

    assert [found.check for found in findings] == ["bucket", "put", "put_if_absent", "read"]
    assert {found.verdict for found in findings} == {Verdict.OK}
    assert cloud.objects == {}
    assert "PUT" in {method for method, _ in cloud.asked}


@pytest.mark.parametrize(("answer", "words"), [
    (Answer(403, "AuthenticationFailed"), "account key"),
    (Answer(403), "credentials"),
    (Answer(503), "try again later"),
])  # fmt: skip
def test_a_store_that_does_not_let_us_in_is_a_problem(
    cloud: ScriptedCloud, answer: Answer, words: str
) -> None:
    cloud.always = answer

    [found] = examined(cloud)

    assert found.verdict is Verdict.PROBLEM
    assert words in f"{found.message} {found.hint}".lower()
    assert ACCOUNT_KEY not in f"{found.message} {found.hint}"


def test_a_missing_bucket_is_a_problem(cloud: ScriptedCloud) -> None:
    [found] = examined(cloud, "elsewhere")

    assert found.verdict is Verdict.PROBLEM
    assert found.hint.startswith("Create the ")


def test_a_store_that_overwrites_is_a_problem(
    cloud: ScriptedCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cloud, "refuse", lambda headers, held: None)

    [found] = [each for each in examined(cloud) if each.verdict is not Verdict.OK]

    assert found.check == "put_if_absent"
    assert cloud.objects == {}


def test_a_container_without_credentials_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_USE_EMULATOR"):
        monkeypatch.delenv(name, raising=False)
    settings = DestinationSettings.model_validate({"url": "az://images"})

    [found] = check_destination("archive", settings, "main", timeout_s=5)

    assert found.verdict is Verdict.PROBLEM
    assert "AZURE_STORAGE_ACCOUNT_NAME" in found.hint
