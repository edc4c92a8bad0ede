"""The dates of HTTP (RFC 9110 5.6.7), as servers write them."""

from __future__ import annotations

import datetime as dt
import email.utils

__all__ = ["http_date"]


def http_date(text: str) -> dt.datetime | None:
    """Return a moment in UTC, None where the text names none. Without a zone it is UTC."""
    try:
        moment = email.utils.parsedate_to_datetime(text)
        if moment.tzinfo is None:
            return moment.replace(tzinfo=dt.UTC)
        return moment.astimezone(dt.UTC)
    except (ValueError, OverflowError):  # The latter for numbers that no clock has.
        return None
