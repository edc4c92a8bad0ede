"""What the file says about a store reaches it: run and doctor read it in one place."""

from __future__ import annotations

from pathlib import Path

from cloudmig.bootstrap.destinations import store_settings
from cloudmig.config import DestinationSettings


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
