"""How one store ended. A problem with one instance is a value; a broken connection is an error."""

from __future__ import annotations

from dataclasses import dataclass

from cloudmig.model.instance import Receipt

__all__ = ["Refused", "StoreOutcome", "Stored", "Taken"]


@dataclass(frozen=True, slots=True)
class Stored:
    """The destination holds these bytes' data set under the key."""

    receipt: Receipt
    fresh: bool  #: False when an equal data set was there already.


@dataclass(frozen=True, slots=True)
class Taken:
    """The key holds other bytes: a variant or a conflict, which a comparison decides."""

    held: Receipt


@dataclass(frozen=True, slots=True)
class Refused:
    """The destination will never take this instance (too large, invalid for it)."""

    reason: str


StoreOutcome = Stored | Taken | Refused
