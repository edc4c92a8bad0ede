"""What the commands of cloudmig answer with --json, read in this one place."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "EquationAnswer", "QuarantineAnswer", "closing", "inventory_words", "moving_s", "plan_words",
    "quarantine", "run_events", "status_words", "verify_words",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class EquationAnswer:
    """inventory = verified + quarantined + excluded, counted in `unit`."""

    unit: str
    inventory: int
    verified: int
    quarantined: int
    excluded: Mapping[str, int] = field(default_factory=dict)
    unexplained: int = 0

    @property
    def holds(self) -> bool:
        """Tell whether the two sides are equal and nothing is unexplained."""
        explained = self.verified + self.quarantined + sum(self.excluded.values())
        return self.inventory == explained and not self.unexplained

    def __str__(self) -> str:
        kept = ", ".join(f'{count} "{rule}"' for rule, count in self.excluded.items())
        return (
            f"{self.unit}: {self.inventory} = {self.verified} verified + {self.quarantined}"
            f" quarantined + {sum(self.excluded.values())} excluded{f' ({kept})' if kept else ''},"
            f" {self.unexplained} unexplained"
        )


@dataclass(frozen=True, slots=True)
class QuarantineAnswer:
    """One finding: a study under its pseudonym, and why it waits."""

    study: str
    reason: str
    explanation: str


def document(lines: Sequence[str]) -> dict[str, Any]:
    """Read the one JSON document of a command."""
    told: dict[str, Any] = json.loads("\n".join(lines))
    return told


def run_events(lines: Sequence[str]) -> list[dict[str, Any]]:
    """Read the JSON lines of `run`; a line cut by a SIGKILL is left out."""
    events = []
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and "event" in event:
            events.append(event)
    return events


def moving_s(lines: Sequence[str], ended_at: dt.datetime) -> float:
    """Return how long a run moved studies, from `run.started` to its end, start-up left out."""
    for event in run_events(lines):
        if event["event"] == "run.started":
            return (ended_at - dt.datetime.fromisoformat(event["at"])).total_seconds()
    return 0.0


def inventory_words(lines: Sequence[str]) -> tuple[int, str]:
    """Return how many studies were found, and a sentence about it."""
    [taken] = document(lines)["inventories"]
    universal = taken.get("universal")
    told = f"{taken['studies']} studies found with {taken['questions']} narrow questions"
    if universal is not None:
        told += f"; one question for everything showed {universal}"
    return int(taken["studies"]), told


def plan_words(lines: Sequence[str]) -> str:
    """Return how many studies each rule decided."""
    told = document(lines)["rules"]
    return ", ".join(f'{count} by "{rule}"' for rule, count in told.items())


def status_words(lines: Sequence[str]) -> str:
    """Return the transfers by state, without the states nobody is in."""
    counts: dict[str, int] = {}
    for source in document(lines)["sources"].values():
        for state, count in source["transfers"].items():
            counts[state] = counts.get(state, 0) + count
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count)


def verify_words(lines: Sequence[str]) -> str:
    """Return what the verification looked at and how it ended."""
    told = document(lines)
    how = ", ".join(f"{count} by {name}" for name, count in told["how"].items())
    return (
        f"{told['copies']} copies with {told['instances']} instances: {told['agreed']} agree,"
        f" {told['failed']} do not{f' ({how})' if how else ''}"
    )


def quarantine(lines: Sequence[str]) -> list[QuarantineAnswer]:
    """Return the findings of `quarantine list`."""
    return [
        QuarantineAnswer(item["study"], item["reason"], item["explanation"])
        for item in document(lines)["items"]
    ]


def closing(lines: Sequence[str]) -> tuple[list[EquationAnswer], str]:
    """Return both equations and the path of the report page (empty: none was written)."""
    told = document(lines)
    equations = [_equation(unit, told[unit]) for unit in ("studies", "instances")]
    report = told.get("report_html") or told.get("report") or told.get("path") or ""
    return equations, str(report)


def _equation(unit: str, told: Mapping[str, Any]) -> EquationAnswer:
    def total(value: object) -> int:
        return sum(value.values()) if isinstance(value, dict) else int(str(value or 0))

    excluded = told["excluded"]
    return EquationAnswer(
        unit=unit,
        inventory=told["inventory"],
        verified=told["verified"],
        quarantined=total(told["quarantined"]),
        excluded=excluded if isinstance(excluded, dict) else {"excluded": excluded},
        unexplained=total(told.get("unexplained")),
    )
