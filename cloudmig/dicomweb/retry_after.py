"""How long a server wants to be left alone: Retry-After (RFC 9110 10.2.3)."""

from __future__ import annotations

import datetime as dt
import email.utils
from collections.abc import Mapping

__all__ = ["retry_after_s"]


def retry_after_s(headers: Mapping[str, str]) -> float:
    """Return the wait in seconds that an answer asks for, 0 where it asks for none.

    A date is taken by the server's own clock, where its answer tells that. Whoever waits has a
    limit of his own.
    """
    said = headers.get("Retry-After", "").strip()
    if said.isascii() and said.isdigit():
        return float(said) if len(said) < 7 else 0.0
    until = _moment(said)
    if until is None:
        return 0.0
    now = _moment(headers.get("Date", "")) or dt.datetime.now(dt.UTC)
    return max(0.0, (until - now).total_seconds())


def _moment(text: str) -> dt.datetime | None:
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # The latter for numbers that no clock has.
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=dt.UTC)
