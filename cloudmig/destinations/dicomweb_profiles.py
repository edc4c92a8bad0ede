"""What each kind of DICOMweb store allows and does: data, so that a user can correct and add."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from cloudmig.dicomweb import AS_STORED
from cloudmig.errors import ConfigError

__all__ = ["Confirm", "DicomWebProfile", "dicomweb_profile", "dicomweb_profile_names"]

Confirm = Literal["answer", "look", "read"]
_CONFIRM = ("answer", "look", "read")


@dataclass(frozen=True, slots=True, kw_only=True)
class DicomWebProfile:
    """The limits and habits of a DICOMweb store. The defaults suit a server nobody knows."""

    name: str
    batch_instances_max: int = 100  #: Of one store request.
    batch_bytes_max: int = 256 << 20
    requests_max: int = 4  #: Store requests at once.
    #: What makes a copy of an instance that an answer names as stored: the `answer`, a `look` for
    #: it by query, or to `read` it back and compare the data set.
    confirm: Confirm = "look"
    lists_by_series: bool = False  #: It lists instances of one series at a time only.
    uid_lists: bool = False  #: A query may name several UIDs (PS3.18 8.3.4.1).
    rows_max: int = 0  #: Rows of one page of a query; 0 asks until nothing new comes.
    accept: str = AS_STORED  #: The form in which an instance is asked for (PS3.18 8.7.3).
    keepalive_s: float = 5.0
    passing_reasons: tuple[int, ...] = ()  #: Failure Reasons that may pass, beside the standard's.
    final_reasons: tuple[int, ...] = ()  #: Failure Reasons that no further try changes.


def dicomweb_profile_names(extra: Path | None = None) -> tuple[str, ...]:
    """Return the names a configuration may use."""
    return tuple(_known(extra))


def dicomweb_profile(
    name: str, overrides: Mapping[str, Any] | None = None, *, extra: Path | None = None
) -> DicomWebProfile:
    """Return the profile of that name, with the user's corrections. `extra` is his own file."""
    known = _known(extra)
    if name not in known:
        raise ConfigError(
            f"no DICOMweb profile is called {name!r}", hint=f"use one of {', '.join(known)}"
        )
    return _changed(known[name], overrides or {})


def _known(extra: Path | None) -> dict[str, DicomWebProfile]:
    text = (files("cloudmig.destinations") / "dicomweb_profiles.toml").read_text(encoding="utf-8")
    known = _read(text)
    if extra is not None:
        try:
            known |= _read(extra.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"the file of DICOMweb profiles cannot be read: {error}") from error
    return known


def _read(text: str) -> dict[str, DicomWebProfile]:
    return {
        name: _changed(DicomWebProfile(name=name), table)
        for name, table in tomllib.loads(text).items()
    }


def _changed(profile: DicomWebProfile, table: Mapping[str, Any]) -> DicomWebProfile:
    known = {field.name: getattr(profile, field.name) for field in fields(profile)}
    del known["name"]
    mistakes: list[str] = []
    changes: dict[str, Any] = {}
    for entry, value in table.items():
        if entry not in known:
            mistakes.append(f"{entry} is unknown")
        elif not _fits(known[entry], value) or not _is_known_word(entry, value):
            mistakes.append(f"{entry} cannot be {value!r}")
        else:
            changes[entry] = tuple(value) if isinstance(value, list) else value
    if mistakes:
        raise ConfigError(
            f"DICOMweb profile {profile.name}: {', '.join(mistakes)}",
            hint=f"entries are {', '.join(sorted(known))}",
        )
    return replace(profile, **changes)


def _is_known_word(entry: str, value: Any) -> bool:  # noqa: ANN401
    if entry == "confirm":
        return value in _CONFIRM
    return entry != "accept" or (value.isascii() and value.isprintable() and bool(value.strip()))


def _fits(default: object, value: object) -> bool:
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, tuple):
        return isinstance(value, list) and all(type(each) is int for each in value)
    if isinstance(default, int | float):
        number = isinstance(value, int) or (isinstance(default, float) and isinstance(value, float))
        return number and value >= 0  # type: ignore[operator]
    return isinstance(value, str)
