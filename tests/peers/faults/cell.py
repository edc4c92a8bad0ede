"""One cell of the matrix: a migration by the real command line while something goes wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tests.peers.judge import Verdict
from tests.peers.migration import Equations, equations

__all__ = ["Cell", "Migration", "Phase", "in_short", "migrate", "write_toml"]

_ROUNDS_MAX = 5
_ENDED_WELL = (0, 1)
_HALTED = 3


class Phase(Protocol):
    """Hears what the agent is about to do, so that a fault strikes at the right time."""

    def __call__(self, command: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """How one command ended."""

    command: tuple[str, ...]
    exit_code: int
    document: Any  #: The last thing it printed as JSON.
    stderr: str


@dataclass(slots=True)
class Migration:
    """What the commands said."""

    runs: int = 0
    halts: int = 0
    verified_with: list[Any] = field(default_factory=list)  #: What each `verify` answered.
    events: list[dict[str, Any]] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    closing: Equations | None = None

    def count(self, event: str) -> int:
        """Return how often the agent told of an event."""
        return sum(each.get("event") == event for each in self.events)

    @property
    def attempts(self) -> int:
        """Return how many attempts at studies were begun and came to an end."""
        ends = ("study.stored", "study.put_back", "study.quarantined", "study.excluded")
        return sum(self.count(each) for each in ends)


@dataclass(slots=True)
class Cell:
    """One row of the printed table."""

    peer: str
    fault: str
    injected: int = 0
    attempts: int = 0
    stored: int = 0
    quarantined: int = 0
    seconds: float = 0.0
    #: What is not as it must be; empty when the cell is reconciled.
    wrong: list[str] = field(default_factory=list)
    note: str = ""

    @property
    def reconciled(self) -> bool:
        """Say whether everything is accounted for."""
        return not self.wrong

    def expect(self, holds: bool, otherwise: str) -> None:
        """Note what is wrong unless something holds."""
        if not holds:
            self.wrong.append(otherwise)

    def take(self, migration: Migration, verdict: Verdict, injected: int) -> None:
        """Note the numbers, and what every cell must fulfil."""
        self.injected = injected
        self.attempts = migration.attempts
        self.stored = sum(verdict.counts.values())
        self.expect(injected > 0, "the fault was never injected")
        closing = migration.closing
        if closing is None:
            self.wrong.append("no closing statement")
            return
        self.quarantined = closing.studies.quarantined
        self.expect(closing.studies.adds_up, f"studies do not add up: {closing.studies}")
        self.expect(closing.instances.adds_up, f"instances do not add up: {closing.instances}")
        self.expect(closing.closed, "close refused")


def write_toml(folder: Path, sections: Mapping[str, Mapping[str, object]]) -> Path:
    """Write a cloudmig.toml of these sections and the one rule that copies everything."""
    lines: list[str] = []
    for name, settings in sections.items():
        lines.append(f"[{name}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    lines += ["[[rules]]", 'name = "everything"', 'copy_to = ["archive"]']
    path = folder / "cloudmig.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def migrate(
    configuration: Path, about_to: Phase, *, command_max_s: float, told: Callable[[str], None]
) -> Migration:
    """Run inventory and plan, then run and verify until nothing is left, then close."""
    done = Migration()

    def command(*words: str) -> Answer:
        about_to(words[0])
        answer, events = _command(configuration, words, command_max_s)
        done.answers.append(answer)
        done.events += events
        return answer

    for name in ("inventory", "plan"):
        answer = command(name)
        if answer.exit_code != 0:
            told(f"{name} ended with {answer.exit_code}: {answer.stderr[-800:]}")
            return done
    for _ in range(_ROUNDS_MAX):
        done.runs += 1
        answer = command("run")
        if answer.exit_code == _HALTED:
            done.halts += 1
            continue
        if answer.exit_code not in _ENDED_WELL:
            told(f"run ended with {answer.exit_code}: {answer.stderr[-800:]}")
            return done
        answer = command("verify")
        done.verified_with.append(answer.document)
        if answer.exit_code == 0:
            break
        if answer.exit_code not in (*_ENDED_WELL, _HALTED):
            told(f"verify ended with {answer.exit_code}: {answer.stderr[-800:]}")
            return done
    answer = command("close")
    if answer.document is None:
        told(f"close ended with {answer.exit_code}: {answer.stderr[-800:]}")
    else:
        done.closing = equations(answer)
    return done


def _command(
    configuration: Path, words: Sequence[str], time_max_s: float
) -> tuple[Answer, list[dict[str, Any]]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "cloudmig", "--config", str(configuration), *words, "--json"],
        cwd=configuration.parent,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        printed, errors = process.communicate(timeout=time_max_s)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)
        printed, errors = process.communicate(timeout=30)
        errors += f"\nno end after {time_max_s:.0f} s"
    with (configuration.parent / "commands.log").open("a", encoding="utf-8") as log:
        log.write(f"== {' '.join(words)} -> {process.returncode}\n{printed}\n-- stderr\n{errors}\n")
    documents = _documents(printed)
    last = documents[-1] if documents else None
    events = [each for each in documents if isinstance(each, dict) and "event" in each]
    return Answer(tuple(words), process.returncode, last, errors), events


def _documents(printed: str) -> list[Any]:
    """Return one JSON document, or those of each line."""
    try:
        return [json.loads(printed)]
    except ValueError:
        pass  # Several lines of JSON, or none.
    documents = []
    for line in printed.splitlines():
        try:
            documents.append(json.loads(line))
        except ValueError:
            continue  # A line that is not JSON is for people.
    return documents


def in_short(verdict: Verdict) -> str:
    """Return what the judge found, without a line per instance."""
    counts = {finding.value: number for finding, number in verdict.counts.items()}
    return f"the judge found {counts}, problems {verdict.problems[:3]}"
