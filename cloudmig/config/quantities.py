"""Sizes, durations and the small texts of the configuration file, checked on birth."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from cloudmig.config.addresses import is_host

__all__ = [
    "ARCHIVE_NAME", "MIB", "AeTitle", "ArchiveName", "Count", "Duration", "FilePath", "Host",
    "Port", "Size", "StorageClass", "bytes_text",
]  # fmt: skip

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40

_SIZE_UNITS = {
    "B": 1, "KiB": KIB, "MiB": MIB, "GiB": GIB, "TiB": TIB,
    "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
}  # fmt: skip
_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
#: A year. Beyond it, and with `inf`, timers of libraries overflow, and a deadline may be past.
_DURATION_MAX_S = 366 * 86400.0
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)")

#: The pattern of `cloudmig.objects.ARCHIVE_NAME`. The two modules are siblings that may not know
#: each other; a test holds the patterns equal.
ARCHIVE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")

_AE_TITLE_CHARS_MAX = 16
_STORAGE_CLASS = re.compile(r"[A-Z][A-Z0-9_]{1,63}")


def bytes_text(size_bytes: float) -> str:
    """Return a size as a person writes it: `256 MiB`."""
    for unit, factor in (("TiB", TIB), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.4g} {unit}"
    return f"{size_bytes:.0f} B"


def _size(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError('must be a size such as "256 MiB"')  # noqa: TRY004 - pydantic wants ValueError
    if isinstance(value, int):
        return value
    found = _QUANTITY.fullmatch(value.strip())
    if found is None or found[2] not in _SIZE_UNITS:
        raise ValueError(f'must be a size such as "256 MiB" (units: {", ".join(_SIZE_UNITS)})')
    size = float(found[1]) * _SIZE_UNITS[found[2]]
    if math.isinf(size):
        raise ValueError("is more than any machine holds")
    return int(size)


def _duration(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError('must be seconds, or a duration such as "30 s"')  # noqa: TRY004 - the same
    if isinstance(value, int | float):
        return float(min(value, 2 * _DURATION_MAX_S))  # More may fit no float, and is refused.
    found = _QUANTITY.fullmatch(value.strip())
    if found is None or found[2] not in _DURATION_UNITS:
        units = ", ".join(_DURATION_UNITS)
        raise ValueError(f'must be seconds, or a duration such as "30 s" (units: {units})')
    return float(found[1]) * _DURATION_UNITS[found[2]]


def _ae_title(text: str) -> str:
    """Check an AE title (PS3.5 6.2, AE): 1-16 printable characters, no backslash, no edge space."""
    if not 1 <= len(text) <= _AE_TITLE_CHARS_MAX:
        raise ValueError(f"must have 1 to {_AE_TITLE_CHARS_MAX} characters, has {len(text)}")
    if not text.isascii() or not text.isprintable() or "\\" in text or text.strip() != text:
        raise ValueError("must be printable ASCII without a backslash or a space at either end")
    return text


def _host(text: str) -> str:
    if not is_host(text):
        raise ValueError("must be a host's name or address, such as 10.0.0.5")
    return text


def _archive_name(text: str) -> str:
    if ARCHIVE_NAME.fullmatch(text) is None:
        raise ValueError(
            "must be 1 to 63 lower-case letters, digits and hyphens, and not start with a hyphen:"
            " it is the first part of every object key"
        )
    return text


def _storage_class(text: str) -> str:
    if _STORAGE_CLASS.fullmatch(text) is None:
        raise ValueError("must be the name of a storage class, such as GLACIER_IR")
    return text


def _path(value: object) -> object:
    if not isinstance(value, str | Path) or not str(value):
        raise ValueError("must be a path in quotes")
    try:
        return Path(value).expanduser()
    except RuntimeError as error:
        raise ValueError("begins with ~ and names no user of this machine") from error


Size = Annotated[int, BeforeValidator(_size), Field(gt=0)]
Duration = Annotated[float, BeforeValidator(_duration), Field(gt=0, le=_DURATION_MAX_S)]
Count = Annotated[int, Field(strict=True, ge=1)]
Port = Annotated[int, Field(strict=True, ge=1, le=65535)]
Host = Annotated[str, AfterValidator(_host)]
AeTitle = Annotated[str, AfterValidator(_ae_title)]
ArchiveName = Annotated[str, AfterValidator(_archive_name)]
StorageClass = Annotated[str, AfterValidator(_storage_class)]
FilePath = Annotated[Path, BeforeValidator(_path)]
