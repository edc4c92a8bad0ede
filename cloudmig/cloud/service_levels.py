"""Service levels as JSON, which is how a function is given them; every mistake is named at once."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from cloudmig.model.service_levels import ServiceLevels, TierLevel

__all__ = ["ServiceLevels", "ServiceLevelsWrong", "TierLevel", "from_json", "to_json"]

_COUNTS = ("samples", "reads_at_once")
_TIER_SETTINGS = tuple(each.name for each in fields(TierLevel))
_SETTINGS = tuple(each.name for each in fields(ServiceLevels))


class ServiceLevelsWrong(ValueError):  # noqa: N818 - named for what happened, as in errors.py
    """The text is no service levels; the message names every mistake."""


def to_json(levels: ServiceLevels) -> str:
    """Return the JSON of service levels, the same for equal ones."""
    content = asdict(levels)
    for tier in content["tiers"].values():
        if tier["restore_s"] is None:
            del tier["restore_s"]
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


def from_json(text: str) -> ServiceLevels:
    """Return the levels in a JSON text; what it leaves out has its default."""
    if not text.strip():
        return ServiceLevels()
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ServiceLevelsWrong(f"service levels are no JSON: {type(error).__name__}") from error
    if not isinstance(content, dict):
        raise ServiceLevelsWrong("service levels must be a JSON object")
    mistakes: list[str] = []
    levels = _levels(content, mistakes)
    if not mistakes:
        mistakes += levels.contradictions()
    if mistakes:
        raise ServiceLevelsWrong("service levels: " + "; ".join(mistakes))
    return levels


def _levels(content: Mapping[str, Any], mistakes: list[str]) -> ServiceLevels:
    known: dict[str, Any] = {}
    for name, value in content.items():
        if value is None:
            continue  # How Terraform says that a setting was left out.
        if name not in _SETTINGS:
            mistakes.append(f"unknown setting {name} (known: {', '.join(_SETTINGS)})")
        elif name == "tiers":
            known["tiers"] = _tiers(value, mistakes)
        elif name in _COUNTS:
            if type(value) is not int or value < 1:
                mistakes.append(f"{name} must be a whole number of at least 1")
            known[name] = value
        else:
            if not _is_number(value) or not 0 < value < 1:
                mistakes.append(f"{name} must be a share between 0 and 1")
            known[name] = value
    return ServiceLevels(**known)


def _tiers(content: object, mistakes: list[str]) -> dict[str, TierLevel]:
    if not isinstance(content, dict):
        mistakes.append("tiers must be an object of tiers by name")
        return {}
    found: dict[str, TierLevel] = {}
    for tier, settings in content.items():
        if not isinstance(settings, dict):
            mistakes.append(f"tiers.{tier} must be an object")
            continue
        known: dict[str, Any] = {}
        for name, value in settings.items():
            if value is None:
                continue
            if name not in _TIER_SETTINGS:
                mistakes.append(
                    f"unknown setting tiers.{tier}.{name} (known: {', '.join(_TIER_SETTINGS)})"
                )
            elif not _is_number(value) or value <= 0:
                mistakes.append(f"tiers.{tier}.{name} must be a number above 0")
            else:
                known[name] = float(value)
        found[tier] = TierLevel(**known)
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and type(value) is not bool and math.isfinite(value)
