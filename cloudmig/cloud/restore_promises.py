"""What a restore from an archive class may take, by class and tier.

Amazon S3 User Guide, "Understanding archive retrieval options": Expedited retrievals are typically
available within 1-5 minutes, Standard ones within 3-5 hours (S3 Glacier Flexible Retrieval) or 12
hours (S3 Glacier Deep Archive), Bulk ones within 5-12 or 48 hours. The upper end is the promise.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

__all__ = ["PROMISES_S", "RestorePromises", "RestorePromisesWrong"]

_MINUTE_S, _HOUR_S = 60.0, 3600.0

#: Seconds by `<storage class>/<tier>`. An object in Intelligent-Tiering may lie in either of its
#: archive tiers and the event does not say in which: the slower one's promise.
PROMISES_S: Mapping[str, float] = {
    "GLACIER/Expedited": 5 * _MINUTE_S,
    "GLACIER/Standard": 5 * _HOUR_S,
    "GLACIER/Bulk": 12 * _HOUR_S,
    "DEEP_ARCHIVE/Standard": 12 * _HOUR_S,
    "DEEP_ARCHIVE/Bulk": 48 * _HOUR_S,
    "INTELLIGENT_TIERING/Expedited": 5 * _MINUTE_S,
    "INTELLIGENT_TIERING/Standard": 12 * _HOUR_S,
    "INTELLIGENT_TIERING/Bulk": 48 * _HOUR_S,
}
_TIERS = frozenset({"Expedited", "Standard", "Bulk"})


class RestorePromisesWrong(ValueError):  # noqa: N818 - named for what happened, as in errors.py
    """A configured promise or tier is none. Says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestorePromises:
    """What is promised, and which tier is asked for: S3's events do not name it."""

    seconds: Mapping[str, float] = field(default_factory=lambda: PROMISES_S)
    tiers: Mapping[str, str] = field(default_factory=dict)  #: By class; others: Standard.

    @classmethod
    def from_json(cls, promises: str, tiers: str) -> Self:
        """Read RESTORE_PROMISES and RESTORE_TIERS; empty means the defaults.

        A configured promise replaces AWS's, the others stay. Raises `RestorePromisesWrong`.
        """
        seconds = dict(PROMISES_S)
        for name, value in _object(promises, "RESTORE_PROMISES").items():
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if name.partition("/")[2] not in _TIERS or not is_number or value <= 0:
                raise RestorePromisesWrong(
                    f"RESTORE_PROMISES: {name} must look like GLACIER/Bulk with seconds above 0"
                )
            seconds[name] = float(value)
        chosen = _object(tiers, "RESTORE_TIERS")
        for name, tier in chosen.items():
            if f"{name}/{tier}" not in seconds:
                raise RestorePromisesWrong(f"RESTORE_TIERS: nothing is promised for {name}/{tier}")
        return cls(seconds=seconds, tiers=chosen)

    def tier_of(self, storage_class: str) -> str:
        """Return the tier in which restores from a class are asked for."""
        return self.tiers.get(storage_class, "Standard")

    def promised_s(self, storage_class: str, tier: str) -> float | None:
        """Return what is promised, or None for a class that needs no restore."""
        return self.seconds.get(f"{storage_class}/{tier}")


def _object(text: str, name: str) -> dict[str, Any]:
    try:
        content = json.loads(text or "{}")
    except ValueError as error:
        raise RestorePromisesWrong(f"{name} is no JSON") from error
    if not isinstance(content, dict):
        raise RestorePromisesWrong(f"{name} is no JSON object")
    return content
