"""How long a server wants to be left alone: Retry-After (RFC 9110 10.2.3)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

from cloudmig.http_date import http_date

__all__ = ["retry_after_s"]


def retry_after_s(headers: Mapping[str, str]) -> float:
    """Return the wait in seconds that an answer asks for, 0 where it asks for none.

    A date is taken by the server's own clock, where its answer tells that. Whoever waits has a
    limit of his own.
    """
    said = headers.get("Retry-After", "").strip()
    if said.isascii() and said.isdigit():
        return float(said) if len(said) < 7 else 0.0
    until = http_date(said)
    if until is None:
        return 0.0
    now = http_date(headers.get("Date", "")) or dt.datetime.now(dt.UTC)
    return max(0.0, (until - now).total_seconds())
