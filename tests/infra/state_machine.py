"""Looks at a state machine for what cfn-lint lets pass: ends that lead nowhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["loose_ends"]

States = Mapping[str, Mapping[str, Any]]
_FINAL = {"Succeed", "Fail"}


def loose_ends(machine: Mapping[str, Any], where: str = "machine") -> list[str]:
    """Return every state that is missing, cannot be reached, or has no way out."""
    states: States = machine["States"]
    wanted = {machine["StartAt"]} | {
        target for state in states.values() for target in _targets(state)
    }
    found = [f"{where}: there is no state {name}" for name in sorted(wanted - set(states))]
    found += [f"{where}: nothing leads to {name}" for name in sorted(set(states) - wanted)]
    for name, state in states.items():
        ends = state["Type"] in _FINAL or state.get("End") is True
        leads_on = "Next" in state or state["Type"] == "Choice"
        if ends == leads_on:
            found.append(f"{where}: {name} must end or lead on, one of them")
        if "ItemProcessor" in state:
            found += loose_ends(state["ItemProcessor"], f"{where}: {name}")
    return found


def _targets(state: Mapping[str, Any]) -> Iterator[str]:
    for each in (state, *state.get("Catch", []), *state.get("Choices", [])):
        if "Next" in each:
            yield each["Next"]
    if "Default" in state:
        yield state["Default"]
