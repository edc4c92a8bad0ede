"""The agent as its user meets it: a configuration file and the command line, as a process.

What its answers look like as JSON is known to this module only.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from tests.peers.launch import Lane

__all__ = [
    "Answer", "Equations", "Quarantined", "Running", "Source", "equations", "quarantined",
    "run_cloudmig", "write_configuration",
]  # fmt: skip


class Source(Protocol):
    """A PACS to migrate."""

    host: str
    port: int
    ae_title: str
    lanes: tuple[Lane, ...]


class Store(Protocol):
    """Where the bucket is."""

    endpoint: str
    access_key_id: str
    secret_access_key: str


@dataclass(frozen=True, slots=True)
class Answer:
    """How one command ended."""

    command: tuple[str, ...]
    exit_code: int
    document: Any  #: What it printed as JSON; None where it printed none.
    stderr: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Equation:
    """One of the two closing equations."""

    holds: bool
    inventory: int
    verified: int
    quarantined: int
    excluded: int
    unexplained: int

    @property
    def adds_up(self) -> bool:
        """Do the sum ourselves."""
        explained = self.verified + self.quarantined + self.excluded
        return self.holds and self.unexplained == 0 and self.inventory == explained


@dataclass(frozen=True, slots=True)
class Equations:
    """The closing statement."""

    closed: bool
    studies: Equation
    instances: Equation
    quarantine: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Quarantined:
    """One finding that waits for a person."""

    study_instance_uid: str  #: Empty where the PACS lists the study without one.
    reason: str


def quarantined(configuration: Path, *, time_max_s: float) -> list[Quarantined]:
    """Return every finding, its pseudonym resolved as its reader would."""
    listed = run_cloudmig(configuration, "quarantine", "list", time_max_s=time_max_s)
    assert listed.exit_code == 0, listed.stderr
    items = listed.document["items"]
    named = {}
    for pseudonym in {item["study"] for item in items}:
        words = ("status", "--resolve", pseudonym)
        resolved = run_cloudmig(configuration, *words, time_max_s=time_max_s)
        assert resolved.exit_code == 0, resolved.stderr
        named[pseudonym] = resolved.document["study_instance_uid"] or ""
    return [Quarantined(named[item["study"]], item["reason"]) for item in items]


def equations(closing: Answer) -> Equations:
    """Read the closing statement out of `cloudmig close --json`."""
    document = closing.document
    assert document is not None, f"close printed no JSON: {closing.stderr[-2000:]}"
    return Equations(
        closed=document["closed"],
        studies=_equation(document["studies"]),
        instances=_equation(document["instances"]),
        quarantine=document["quarantine"],
    )


def _equation(document: Mapping[str, Any]) -> Equation:
    return Equation(
        holds=document["holds"],
        inventory=document["inventory"],
        verified=document["verified"],
        quarantined=document["quarantined"],
        excluded=sum(document["excluded"].values()),
        unexplained=sum(document["unexplained"].values()),
    )


def write_configuration(
    folder: Path, sources: Mapping[str, Source], retrieve: str, store: Store, bucket: str
) -> Path:
    """Write a cloudmig.toml: every source by its archive name, one destination, one rule."""
    text = ["[agent]", 'name = "matrix"', 'state_dir = "state"', ""]
    (listen,) = {lane.port for source in sources.values() for lane in source.lanes}
    text += ["[listen]", 'host = "127.0.0.1"', f"port = {listen}", ""]
    for archive, source in sources.items():
        titles = ", ".join(f'"{lane.ae_title}"' for lane in source.lanes)
        text += [
            f"[sources.{archive}]",
            f'archive = "{archive}"',
            f'host = "{source.host}"',
            f"port = {source.port}",
            f'aet = "{source.ae_title}"',
            f"ae_titles = [{titles}]",
            f'retrieve = "{retrieve}"',
            "",
        ]
    text += [
        "[destinations.archive]",
        f'url = "s3://{bucket}"',
        f'endpoint = "{store.endpoint}"',
        'region = "us-east-1"',
        'profile = "moto"',
        'storage_class = "STANDARD"',
        f'access_key_id = "{store.access_key_id}"',
        f'secret_access_key = "{store.secret_access_key}"',
        "",
        "[[rules]]",
        'name = "everything"',
        'copy_to = ["archive"]',
    ]
    path = folder / "cloudmig.toml"
    path.write_text("\n".join(text) + "\n", encoding="utf-8")
    return path


def run_cloudmig(configuration: Path, *words: str, time_max_s: float) -> Answer:
    """Run one command with --json to its end."""
    command = (sys.executable, "-m", "cloudmig", "--config", str(configuration), *words, "--json")
    started = time.monotonic()
    done = subprocess.run(
        command,
        cwd=configuration.parent,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=time_max_s,
    )
    return Answer(
        words, done.returncode, _last_document(done.stdout), done.stderr, time.monotonic() - started
    )


class Running:
    """One command with --json that runs while a test does something else. A context manager.

    What it prints goes into a file, line by line; leaving the block kills it.
    """

    def __init__(self, configuration: Path, *words: str) -> None:
        self._command = [sys.executable, "-m", "cloudmig", "--config", str(configuration), *words]
        self._folder = configuration.parent
        self._printed = self._folder / f"{'-'.join(words)}.{time.monotonic_ns()}.jsonl"

    def __enter__(self) -> Self:
        with self._printed.open("wb") as out, self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [*self._command, "--json"],
                cwd=self._folder,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=errors,
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    @property
    def _errors(self) -> Path:
        return self._printed.with_suffix(".stderr")

    def kill(self) -> None:
        """End it with SIGKILL, if it has not ended."""
        self.process.kill()
        self.process.wait(30)

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return what it has told so far under this name."""
        *lines, _ = self._printed.read_text(encoding="utf-8").split("\n")
        told = [json.loads(line) for line in lines if line]
        return [each for each in told if each.get("event") == name]

    def until(self, happened: Callable[[], bool], *, time_max_s: float) -> float:
        """Poll until something has happened while it runs; return how long that took."""
        started = time.monotonic()
        while not happened():
            waited_s = time.monotonic() - started
            assert self.process.poll() is None, f"it has ended: {self._last_words()}"
            assert waited_s < time_max_s, f"not within {time_max_s:.0f} s: {self._last_words()}"
            self.pause()
        return time.monotonic() - started

    def pause(self) -> None:
        """Wait a moment before looking again."""
        time.sleep(0.02)

    def exit_code(self, *, time_max_s: float) -> int:
        """Wait for its own end."""
        return self.process.wait(time_max_s)

    def _last_words(self) -> str:
        return self._printed.read_text()[-2000:] + self._errors.read_text()[-2000:]


def _last_document(printed: str) -> Any:  # noqa: ANN401 - it is JSON
    """Return the JSON document, or the last of several lines of JSON."""
    try:
        return json.loads(printed)
    except ValueError:
        lines = printed.strip().splitlines()
    try:
        return json.loads(lines[-1]) if lines else None
    except ValueError:
        return None


def lanes(titles: Sequence[str], port: int) -> list[Lane]:
    """Return our AE titles, all on one port."""
    return [Lane(title, port) for title in titles]
