"""Child processes of the demo: servers that end with us, and cloudmig's own commands."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cloudmig.errors import CloudmigError

__all__ = ["Child", "CommandFailed", "CommandRun", "cloudmig", "cloudmig_killed_when"]

_START_MAX_S = 30.0
_COMMAND_MAX_S = 120.0
_LOOK_EVERY_S = 0.2  # The bucket is asked, and it is slow: more would disturb what is measured.


class CommandFailed(CloudmigError):  # noqa: N818 - as in the tree of errors
    """A child did not do what the story needs; holds the end of what it wrote."""


class Child:
    """A server module that prints one JSON line when it listens and ends when its stdin does."""

    def __init__(self, module: str, *arguments: str) -> None:
        self._command = [sys.executable, "-m", module, *arguments]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Mapping[str, object]:
        """Start and return the line it announces itself with."""
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None, "a pipe was asked for"
        guard = threading.Timer(_START_MAX_S, self._process.kill)
        guard.start()
        line = self._process.stdout.readline()
        guard.cancel()
        if not line:
            self.stop()
            raise CommandFailed(f"{self._command[2]} did not start")
        told: dict[str, object] = json.loads(line)
        return told

    def stop(self) -> None:
        """Close its standard input and wait; kill it when that does not help."""
        if self._process is None:
            return
        assert self._process.stdin is not None, "a pipe was asked for"
        assert self._process.stdout is not None, "a pipe was asked for"
        self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._process = None


@dataclass
class CommandRun:
    """One command of cloudmig, as it went."""

    arguments: Sequence[str]
    exit_code: int = 0
    duration_s: float = 0.0
    killed: bool = False
    ended_at: dt.datetime = dt.datetime.max.replace(tzinfo=dt.UTC)
    stdout: list[str] = field(default_factory=list)
    stderr: list[str] = field(default_factory=list)

    @property
    def tail(self) -> str:
        """Return the last lines of what it wrote, for an error message."""
        return "\n".join([*self.stdout[-5:], *self.stderr[-15:]])


def cloudmig(config: Path, *arguments: str, exit_codes: Sequence[int] = (0, 1)) -> CommandRun:
    """Run a command to its end; any other exit code is an error."""
    run = _run(config, arguments, kill_when=None)
    if run.exit_code not in exit_codes:
        what = " ".join(arguments)
        raise CommandFailed(f"cloudmig {what} ended with exit code {run.exit_code}\n{run.tail}")
    return run


def cloudmig_killed_when(
    config: Path, *arguments: str, kill_when: Callable[[], bool]
) -> CommandRun:
    """Run a command and send it SIGKILL as soon as the condition holds."""
    run = _run(config, arguments, kill_when=kill_when)
    if not run.killed:
        what = " ".join(arguments)
        raise CommandFailed(
            f"cloudmig {what} ended with exit code {run.exit_code} before it was killed\n{run.tail}"
        )
    return run


def _run(
    config: Path, arguments: Sequence[str], *, kill_when: Callable[[], bool] | None
) -> CommandRun:
    command = [sys.executable, "-m", "cloudmig", "--config", str(config), *arguments, "--json"]
    run = CommandRun(arguments)
    began = time.monotonic()
    with subprocess.Popen(  # noqa: S603 - our own package
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        encoding="utf-8", errors="replace",
    ) as process:  # fmt: skip
        assert process.stdout is not None, "a pipe was asked for"
        assert process.stderr is not None, "a pipe was asked for"
        readers = [
            threading.Thread(target=lines.extend, args=(stream,), daemon=True)
            for lines, stream in ((run.stdout, process.stdout), (run.stderr, process.stderr))
        ]
        for reader in readers:
            reader.start()
        try:
            run.killed = _watch(process, kill_when, began)
        finally:
            process.kill()  # Does nothing to a process that has ended.
            run.ended_at = dt.datetime.now(dt.UTC)
            run.exit_code = process.wait()
            for reader in readers:
                reader.join()
    run.duration_s = time.monotonic() - began
    run.stdout = [line.rstrip("\n") for line in run.stdout]
    run.stderr = [line.rstrip("\n") for line in run.stderr]
    return run


def _watch(
    process: subprocess.Popen[str], kill_when: Callable[[], bool] | None, began: float
) -> bool:
    """Wait for the end, or kill; tell which it was."""
    while time.monotonic() - began < _COMMAND_MAX_S:
        try:
            process.wait(timeout=_LOOK_EVERY_S if kill_when else 1.0)
        except subprocess.TimeoutExpired:
            if kill_when is not None and kill_when():
                process.kill()
                return True
        else:
            return False
    raise CommandFailed(f"a command took longer than {_COMMAND_MAX_S:.0f} s")
