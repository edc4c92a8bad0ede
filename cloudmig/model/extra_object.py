"""An object that lies in a bucket and in no manifest."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ExtraObject"]


@dataclass(frozen=True, slots=True, order=True)
class ExtraObject:
    """What somebody put among our objects, or a worker that died left behind.

    It is no part of the inventory, so no term of the closing equation counts it. The agent may not
    delete; a person decides.
    """

    destination: str
    key: str  #: Relative to the destination's prefix. It may hold UIDs: shown by pseudonym only.

    @property
    def known_by(self) -> str:
        """What its pseudonym is made of."""
        return f"{self.destination}/{self.key}"
