"""Profiles of DICOMweb stores are data: read from a file, added to and corrected by a user."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudmig.destinations.dicomweb_errors import is_final
from cloudmig.destinations.dicomweb_profiles import dicomweb_profile, dicomweb_profile_names
from cloudmig.errors import ConfigError


def test_every_store_of_the_issue_has_a_profile_within_the_limits() -> None:
    names = dicomweb_profile_names()

    assert {"orthanc", "google", "azure", "healthimaging", "dcm4chee"} <= set(names)
    for name in names:
        profile = dicomweb_profile(name)
        assert profile.batch_instances_max <= 100
        assert profile.batch_bytes_max <= 256 << 20


def test_a_file_of_the_user_adds_profiles_and_replaces_ours(tmp_path: Path) -> None:
    extra = tmp_path / "mine.toml"
    extra.write_text('[mine]\nconfirm = "read"\nfinal_reasons = [4711]\n[orthanc]\nrows_max = 7\n')

    mine = dicomweb_profile("mine", {"requests_max": 2}, extra=extra)

    assert (mine.confirm, mine.final_reasons, mine.requests_max) == ("read", (4711,), 2)
    assert dicomweb_profile("orthanc", extra=extra).rows_max == 7
    assert not dicomweb_profile("orthanc", extra=extra).uid_lists


@pytest.mark.parametrize(("overrides", "said"), [
    ({"confirm": "perhaps"}, "confirm"), ({"rows": 1}, "rows is unknown"),
    ({"rows_max": "1"}, "rows_max"), ({"uid_lists": 1}, "uid_lists"),
    ({"requests_max": True}, "requests_max"), ({"final_reasons": ["A900"]}, "final_reasons"),
    ({"batch_bytes_max": -1}, "batch_bytes_max"), ({"name": "x"}, "name is unknown"),
    ({"accept": ""}, "accept"), ({"accept": "application/dicom\r\nX: 1"}, "accept"),
])  # fmt: skip
def test_a_wrong_entry_is_named(overrides: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        dicomweb_profile("plain", overrides)


def test_an_unknown_profile_names_those_there_are() -> None:
    with pytest.raises(ConfigError) as caught:
        dicomweb_profile("ortanc")

    assert "orthanc" in caught.value.hint


@pytest.mark.parametrize(("profile", "reason", "final"), [
    ("plain", 0xA900, True), ("plain", 0xC123, True), ("plain", 0x0122, True),
    ("plain", 0x0110, False), ("plain", 0xA700, False), ("plain", None, False),
    ("azure", 43264, True), ("azure", 43265, True), ("azure", 45070, False),
    ("azure", 45071, False),
])  # fmt: skip
def test_which_reasons_are_final(profile: str, reason: int | None, final: bool) -> None:
    assert is_final(reason, dicomweb_profile(profile)) is final
