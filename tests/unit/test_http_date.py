"""A date that a server writes is a moment in UTC, or none; it is never a crash."""

from __future__ import annotations

import datetime as dt

import pytest

from cloudmig.http_date import http_date

MOMENT = dt.datetime(2026, 10, 21, 7, 28, tzinfo=dt.UTC)


@pytest.mark.parametrize("text", [
    "Wed, 21 Oct 2026 07:28:00 GMT", "Wednesday, 21-Oct-26 07:28:00 GMT",
    "Wed Oct 21 07:28:00 2026", "Wed, 21 Oct 2026 07:28:00 -0000", "Wed, 21 Oct 2026 09:28 +0200",
])  # fmt: skip
def test_every_form_is_the_same_moment(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")  # Nothing may be taken for the time here.

    assert http_date(text) == MOMENT


@pytest.mark.parametrize("text", [
    "", "soon", "Wed, 99 Oct 2026 07:28:00 GMT", "Wed, 21 Oct 99999 07:28:00 GMT", "\udc80",
])  # fmt: skip
def test_what_names_no_moment_is_none(text: str) -> None:
    assert http_date(text) is None
