"""Windows split without losing or repeating a day or a second."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudmig.model.study import parse_study_date
from cloudmig.model.window import DateWindow, StudyQuestion, TimeWindow

DAY = dt.date(2026, 2, 28)
ONE_DAY = DateWindow(DAY, DAY)


@st.composite
def date_windows(draw: st.DrawFn) -> DateWindow:
    first, last = sorted((draw(st.dates()), draw(st.dates())))
    return DateWindow(first, last)


@st.composite
def time_windows(draw: st.DrawFn) -> TimeWindow:
    first = draw(st.integers(0, 86_399))
    return TimeWindow(first, draw(st.integers(first + 1, 86_400)))


@given(date_windows())
def test_halves_of_dates_touch_and_cover_the_whole(window: DateWindow) -> None:
    halves = window.halves()

    if window.first == window.last:
        assert halves is None
        return
    assert halves is not None
    left, right = halves
    assert (left.first, right.last) == (window.first, window.last)
    assert left.last + dt.timedelta(days=1) == right.first
    days = [(half.last - half.first).days for half in halves]
    assert abs(days[0] - days[1]) <= 1


@given(date_windows(), st.dates())
def test_a_day_of_a_window_is_in_exactly_one_half(window: DateWindow, day: dt.date) -> None:
    halves = window.halves() or (window,)

    assert sum(day in half for half in halves) == (day in window)


@given(time_windows())
def test_halves_of_times_touch_and_cover_the_whole(window: TimeWindow) -> None:
    halves = window.halves()

    if window.end - window.first == 1:
        assert halves is None
        return
    assert halves is not None
    left, right = halves
    assert (left.first, left.end, right.end) == (window.first, right.first, window.end)


@given(time_windows())
def test_the_times_sent_cover_every_fraction_of_the_last_second(window: TimeWindow) -> None:
    first, last = window.text.split("-")

    assert _seconds(first) == window.first
    assert _seconds(last[:6]) == window.end - 1
    assert last[6:] == ".999999"


def _seconds(text: str) -> int:
    moment = dt.datetime.strptime(text, "%H%M%S").replace(tzinfo=dt.UTC)
    return moment.hour * 3600 + moment.minute * 60 + moment.second


def test_splitting_ends() -> None:
    """From all of time down to a second there are a few dozen steps, not millions."""
    dates, steps = DateWindow(dt.date.min, dt.date.max), 0
    while halves := dates.halves():
        dates, steps = halves[1], steps + 1
    times = TimeWindow()
    while parts := times.halves():
        times, steps = parts[0], steps + 1

    assert dates.text == "99991231"
    assert times.text == "000000-000000.999999"
    assert steps < 45


@pytest.mark.parametrize(
    ("first", "last", "text"),
    [
        (DAY, DAY, "20260228"),
        (DAY, dt.date(2026, 3, 1), "20260228-20260301"),
        (dt.date(1, 1, 1), dt.date(9999, 12, 31), "00010101-99991231"),
    ],
)
def test_a_range_of_dates_has_eight_digits_a_side(first: dt.date, last: dt.date, text: str) -> None:
    assert DateWindow(first, last).text == text


def test_windows_that_are_no_windows_are_refused() -> None:
    with pytest.raises(ValueError, match="ends before it starts"):
        DateWindow(DAY, DAY - dt.timedelta(days=1))
    for first, end in ((0, 0), (-1, 5), (5, 86_401), (7, 6)):
        with pytest.raises(ValueError, match="no part of a day"):
            TimeWindow(first, end)


def test_a_time_window_needs_a_single_day() -> None:
    """Dates and times match independently (PS3.4 C.2.2.2.5): over two days they would cut."""
    with pytest.raises(ValueError, match="single day"):
        StudyQuestion(times=TimeWindow())
    with pytest.raises(ValueError, match="single day"):
        StudyQuestion(DateWindow(DAY, DAY + dt.timedelta(days=1)), TimeWindow())


def test_a_question_has_one_canonical_text() -> None:
    assert StudyQuestion().text == "universal"
    question = StudyQuestion(ONE_DAY, TimeWindow(0, 43_200), "CT", "12")
    assert question.text == "date=20260228 time=000000-115959.999999 modality=CT patient=12*"


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("20260228", DAY),
        (" 20260228 ", DAY),
        ("1993.08.22", dt.date(1993, 8, 22)),
        ("", None),
        ("20260229", None),
        ("00000000", None),
        ("2026022", None),
        ("202602281", None),
        ("2026-2-8", None),
        ("²0260228", None),
        ("abcdefgh", None),
    ],
)
def test_a_study_date_is_a_day_or_nothing(text: str, day: dt.date | None) -> None:
    assert parse_study_date(text) == day


@given(st.text(max_size=12))
def test_no_text_breaks_the_reading_of_a_date(text: str) -> None:
    parse_study_date(text)
