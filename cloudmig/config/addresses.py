"""Which addresses can be asked at all, before any client tries, and which folder one names."""

from __future__ import annotations

import urllib.parse
from pathlib import Path

__all__ = [
    "folder_of", "folder_url", "is_host", "is_web_address", "plain_address", "prefix_of",
]  # fmt: skip

_PORTS = {"http": 80, "https": 443}


def is_host(text: str) -> bool:
    """Say whether a resolver can be asked for it: `10.0..5` has an empty label (RFC 1035 2.3.4)."""
    try:
        text.encode("idna")  # As the resolver does, whose UnicodeError no caller expects.
    except UnicodeError:
        return False
    return bool(text) and text.isprintable() and " " not in text


def is_web_address(text: str) -> bool:
    """Say whether `text` is http or https, names a host and no credentials, and has a real port."""
    try:
        parts = urllib.parse.urlsplit(text)
        has_port = parts.port != 0
    except ValueError:
        return False  # Its port is none, or its host is half an IPv6 address.
    is_named = is_host(parts.hostname or "") and parts.username is None and parts.password is None
    return parts.scheme in {"http", "https"} and has_port and is_named


def folder_of(url: str) -> Path:
    """Return the folder that a file URL names (RFC 8089); `#` and `?` are letters of its name.

    Raises `ValueError` where it names none. One without a slash in front lies beside the file.
    """
    path = urllib.parse.unquote(url.removeprefix("file://"))
    if not url.startswith("file://") or path.startswith("localhost/") or "\0" in path:
        raise ValueError("must name a folder like file:///srv/images")
    return Path(path)


def folder_url(folder: Path) -> str:
    """Return the file URL of a folder, as legible as it can be."""
    return "file://" + str(folder).replace("%", "%25").replace("#", "%23").replace("?", "%3F")


def plain_address(url: str) -> str:
    """Return a web address as all ways to write it are (RFC 3986 6.2.2.1 and 6.2.3)."""
    parts = urllib.parse.urlsplit(url.rstrip("/"))
    return f"{parts.scheme}://{parts.hostname}:{parts.port or _PORTS[parts.scheme]}{parts.path}"


def prefix_of(url: str) -> str:
    """Return what the URL of a bucket puts before every key, without slashes at either end."""
    return urllib.parse.unquote(urllib.parse.urlsplit(url).path).strip("/")
