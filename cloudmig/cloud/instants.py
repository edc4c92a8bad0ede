"""Times in messages and in the table: ISO 8601, UTC, in one form, so that text sorts as time."""

from __future__ import annotations

import datetime as dt

__all__ = ["instant", "read_instant"]


def instant(time: dt.datetime) -> str:
    """Return an aware time as text with microseconds and a `Z`: equal in length, always."""
    assert time.tzinfo is not None, "times are aware"
    utc = time.astimezone(dt.UTC).replace(tzinfo=None)
    return f"{utc.isoformat(timespec='microseconds')}Z"


def read_instant(text: str) -> dt.datetime:
    """Return the time in a text with a zone, whatever its precision. Raises `ValueError`."""
    time = dt.datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError("a time without a zone")
    return time.astimezone(dt.UTC)
