"""Which addresses can be asked at all, before any client tries."""

from __future__ import annotations

import urllib.parse

__all__ = ["is_web_address"]


def is_web_address(text: str) -> bool:
    """Say whether `text` is http or https, names a host and no credentials, and has a real port."""
    try:
        parts = urllib.parse.urlsplit(text)
        has_port = parts.port != 0
    except ValueError:
        return False  # Its port is none, or its host is half an IPv6 address.
    is_named = bool(parts.hostname) and parts.username is None and parts.password is None
    return parts.scheme in {"http", "https"} and has_port and is_named
