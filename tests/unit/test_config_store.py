"""What the file says about a store reaches it: run and doctor read it in one place."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudmig.bootstrap.destinations import store_settings
from cloudmig.config import DestinationSettings
from cloudmig.destinations.opening import open_control


def test_every_setting_of_a_store_reaches_it() -> None:
    settings = DestinationSettings.model_validate(
        {
            "url": "s3://bucket/prefix", "endpoint": "https://store.example", "profile": "minio",
            "profile_overrides": {"put_if_absent": False}, "path_style": False, "ca": "/ca.pem",
            "access_key_id": "a", "secret_access_key": "b", "session_token": "c",
            "kms_key_id": "k", "connect_s": 3, "timeout_s": "7 s", "region": "eu-west-1",
        }
    )  # fmt: skip

    opened = store_settings(settings)

    assert opened.profile_overrides == {"put_if_absent": False}
    assert (opened.profile, opened.region, opened.path_style) == ("minio", "eu-west-1", False)
    assert (opened.ca_path, opened.kms_key_id) == (Path("/ca.pem"), "k")
    assert (opened.connect_timeout_s, opened.timeout_s) == (3, 7)
    assert (opened.access_key_id, opened.secret_access_key, opened.session_token) == ("a", "b", "c")
    assert "secret_access_key='b'" not in repr(opened)


@pytest.mark.parametrize(("url", "prefix"), [
    ("s3://b", ""), ("s3://b/", ""), ("s3://b/p/q/", "p/q"), ("s3://b//p", "p"),
    ("s3://b/my%20images", "my images"), ("s3://b/my images", "my images"),
    ("s3://b/B%C3%BCro", "B\u00fcro"), ("s3://b/100%25", "100%"),
])  # fmt: skip
def test_what_knows_a_copy_by_its_place_and_what_stores_it_read_one_prefix(
    url: str, prefix: str
) -> None:
    settings = DestinationSettings.model_validate(
        {"url": url, "access_key_id": "a", "secret_access_key": "b"}
    )

    control = open_control("store", store_settings(settings))

    assert control is not None
    assert control.full_key("k") == f"{settings.key_prefix}k"
    assert settings.prefix == prefix


@pytest.mark.parametrize("url", [
    "s3://b/p//q", "s3://b/./p", "s3://b/p/../q", "s3://b/p%2F%2Fq", "s3://b/p%00", "gs://b/p//q",
])  # fmt: skip
def test_a_prefix_that_stores_do_not_keep_is_a_mistake(url: str) -> None:
    with pytest.raises(ValueError, match="must have a prefix of plain names"):
        DestinationSettings.model_validate({"url": url})
