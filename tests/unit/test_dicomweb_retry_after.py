"""A server says how long it wants to be left alone, in seconds or as a date."""

from __future__ import annotations

import datetime as dt
import email.utils

import pytest

from cloudmig.dicomweb.retry_after import retry_after_s

DATE = "Wed, 21 Oct 2026 07:28:00 GMT"


@pytest.mark.parametrize(("said", "seconds"), [
    ("", 0), ("7", 7), (" 120 ", 120), ("Wed, 21 Oct 2026 07:28:30 GMT", 30),
    ("Wednesday, 21-Oct-26 07:28:30 GMT", 30), ("Wed Oct 21 07:28:30 2026", 30),
    ("Wed, 21 Oct 2026 09:28:30 +0200", 30), ("Wed, 21 Oct 2026 07:27:00 GMT", 0),
])  # fmt: skip
def test_both_forms_are_read(said: str, seconds: float) -> None:
    assert retry_after_s({"Retry-After": said, "Date": DATE}) == seconds


@pytest.mark.parametrize("said", ["soon", "-1", "1e9", "9" * 400, "²", "Wed, 99 Oct 2026 07:28:30",
    "Wed, 21 Oct 99999 07:28:30 GMT",
    "Wed, 21 Oct 99999999999999999999 07:28:30 GMT", "\udc80"])  # fmt: skip
def test_what_is_neither_asks_for_nothing(said: str) -> None:
    assert retry_after_s({"Retry-After": said, "Date": DATE}) == 0


@pytest.mark.parametrize("date", [None, "today"])
def test_without_the_clock_of_the_server_ours_has_to_do(date: str | None) -> None:
    later = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=100)
    headers = {"Retry-After": email.utils.format_datetime(later, usegmt=True)}
    if date is not None:
        headers["Date"] = date

    assert 90 < retry_after_s(headers) <= 100
