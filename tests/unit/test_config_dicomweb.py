"""A DICOMweb destination in the file: what belongs together, and what means nothing elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cloudmig.bootstrap.web_destination import web_settings
from cloudmig.config import Configuration, parse
from cloudmig.errors import ConfigError

SECRET = "s3cret-in-the-file"


def parsed(
    web: dict[str, Any],
    *,
    bucket: dict[str, Any] | None = None,
    rule: dict[str, Any] | None = None,
) -> Configuration:
    return parse(
        {
            "sources": {"main": {"archive": "main", "host": "pacs", "port": 104, "aet": "PACS"}},
            "destinations": {
                "bucket": {"url": "s3://images", **(bucket or {})},
                "viewer": {"url": "https://viewer/dicom-web", **web},
            },
            "rules": [{"name": "all", "copy_to": ["bucket", "viewer"], **(rule or {})}],
        },
        path=Path("/etc/cloudmig/cloudmig.toml"),
    )


def test_a_dicomweb_store_is_named_by_its_address() -> None:
    web = {
        "profile": "orthanc", "token_url": "https://login/token", "client_id": "agent",
        "client_secret": SECRET, "certificate": "agent.pem", "key": "agent.key",
    }  # fmt: skip
    config = parsed({"evidence": "bucket", "dicomweb": web, "ca": "ca.pem"})

    settings = web_settings(config.destinations["viewer"])

    assert settings.profile == "orthanc"
    assert settings.client_secret == SECRET
    assert settings.certificate_path == Path("/etc/cloudmig/agent.pem")
    assert settings.ca_path == Path("/etc/cloudmig/ca.pem")
    assert SECRET not in repr(config) + repr(settings)


@pytest.mark.parametrize(("web", "said"), [
    ({}, "evidence is missing"),
    ({"evidence": "nowhere"}, "not configured"),
    ({"evidence": "viewer"}, "a DICOMweb store, too"),
    ({"evidence": "bucket", "storage_class": "GLACIER_IR"}, "no storage classes"),
    ({"evidence": "bucket", "dicomweb": {"username": "x"}}, "username and password"),
    ({"evidence": "bucket", "dicomweb": {"client_id": "x"}}, "token_url and client_id"),
    ({"evidence": "bucket", "dicomweb": {"key": "x"}}, "certificate and key"),
    ({"evidence": "bucket", "dicomweb": {"token": "x", "username": "x", "password": "x"}}, "two"),
    ({"evidence": "bucket", "dicomweb": {"profil": "orthanc"}}, "did you mean profile?"),
    ({"evidence": "bucket", "username": "x"}, "it belongs into [destinations.viewer.dicomweb]"),
    ({"evidence": "bucket", "profile": "orthanc"}, "has its own in [destinations.viewer.dicomweb]"),
    ({"evidence": "bucket", "url": "https://user:pw@viewer/dicom-web"}, "must hold nothing but"),
])  # fmt: skip
def test_every_mistake_about_it_is_named(web: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parsed(web)

    assert said in str(caught.value)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize("setting", [{"evidence": "viewer"}, {"dicomweb": {"token": SECRET}}])
def test_a_bucket_has_none_of_it(setting: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="https:// only") as caught:
        parsed({"evidence": "bucket"}, bucket=setting)

    assert SECRET not in str(caught.value)


def test_a_rule_gives_no_storage_class_to_a_store_that_has_none() -> None:
    with pytest.raises(ConfigError, match="which has none"):
        parsed({"evidence": "bucket"}, rule={"storage_class": "GLACIER_IR"})
