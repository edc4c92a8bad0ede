"""Which tiers breach their service level: kept between probes, and every change said once."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cloudmig.cloud.error_budget import TierStanding
from cloudmig.errors import CatalogError

__all__ = ["AlarmBook", "AlarmChange"]

_SCHEMA = "cloudmig/sla-alarms/1"


@dataclass(frozen=True, slots=True)
class AlarmChange:
    """A tier that breached its level, or keeps it again."""

    destination: str
    tier: str
    breached: bool
    burnt: float


class AlarmBook:
    """The alarms that are raised, in a file of the state folder."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "sla" / "alarms.json"

    def raised(self) -> dict[str, dict[str, str]]:
        """Return since when each alarm is raised, by destination and tier."""
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise self._damaged() from error
        if not isinstance(content, dict) or content.get("schema") != _SCHEMA:
            raise self._damaged()
        raised: dict[str, dict[str, str]] = content["raised"]
        return raised

    def settle(
        self, destination: str, tiers: Mapping[str, TierStanding], at: dt.datetime
    ) -> list[AlarmChange]:
        """Raise and clear what a probe says; return the changes. A tier not sampled stays."""
        raised = self.raised()
        ours = raised.setdefault(destination, {})
        changes = []
        for tier, standing in tiers.items():
            if standing.breached == (tier in ours):
                continue
            if standing.breached:
                ours[tier] = at.isoformat(timespec="seconds")
            else:
                del ours[tier]
            changes.append(AlarmChange(destination, tier, standing.breached, standing.burnt))
        if changes:
            self._write({name: since for name, since in raised.items() if since})
        return changes

    def _write(self, raised: Mapping[str, Mapping[str, str]]) -> None:
        text = json.dumps({"schema": _SCHEMA, "raised": raised}, indent=2, sort_keys=True)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            draft = self._path.with_suffix(".part")
            draft.write_text(text + "\n", encoding="utf-8")
            draft.replace(self._path)
        except OSError as error:
            raise CatalogError(
                f"{self._path} cannot be written: {error.strerror}",
                hint=f"Make {self._path.parent} writable.",
            ) from error

    def _damaged(self) -> CatalogError:
        return CatalogError(
            f"{self._path} cannot be read", hint="Delete it: the next probe raises what is true."
        )
