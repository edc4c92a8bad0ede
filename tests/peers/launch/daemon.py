"""A program of somebody else, running: started, polled until it answers, killed, restarted."""

from __future__ import annotations

import atexit
import contextlib
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = [
    "TEMPLATES",
    "Daemon",
    "Lane",
    "Peer",
    "PeerMissing",
    "PeerSilent",
    "free_ports",
    "render",
]  # fmt: skip

TEMPLATES = Path(__file__).parents[1] / "conf"

#: Below the range from which the kernel hands out ports to outgoing connections.
_PORTS = range(15000, 32000)


class PeerMissing(Exception):  # noqa: N818 - reads as what happened
    """A program is not installed; tests/peers/install.sh installs it."""


class PeerSilent(Exception):  # noqa: N818 - the same
    """A program was started and did not answer in time, or ended at once."""


@dataclass(frozen=True, slots=True)
class Lane:
    """One of our own AE titles and the port where we listen for it."""

    ae_title: str
    port: int
    host: str = "127.0.0.1"


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on now, on any address."""
    found: list[int] = []
    while len(found) < count:
        port = random.choice(_PORTS)
        if port in found:
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("0.0.0.0", port))
            found.append(port)
    return found


def render(template: str, values: Mapping[str, object]) -> str:
    """Return a template of conf/ with every @NAME@ replaced."""
    text = (TEMPLATES / template).read_text(encoding="utf-8")
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    assert "@" not in text, f"{template} has a place that was not filled"
    return text


class Daemon:
    """One process with a log file, in a process group of its own."""

    def __init__(
        self,
        command: Sequence[object],
        *,
        folder: Path,
        name: str,
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
    ) -> None:
        self.command = [str(word) for word in command]
        self.folder = folder
        self.name = name
        self.log = folder / f"{name}.log"
        self._environment = {**os.environ, **(environment or {})}
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process_id(self) -> int:
        """Return the number of the running process."""
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    def running(self) -> bool:
        """Say whether the process is alive."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the program; its output is appended to the log."""
        assert not self.running(), f"{self.name} runs already"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=self._user,
                group=pwd.getpwnam(self._user).pw_gid if self._user else None,
            )

    def kill(self) -> None:
        """End the whole process group at once, as a power cut would."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(30)

    def stop(self, patience_s: float = 10) -> None:
        """Ask the program to end, then insist."""
        if self._process is None:
            return
        self._signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(patience_s)
        self.kill()

    def _signal(self, number: signal.Signals) -> None:
        # The group outlives its first process where that forked; so it is asked even after its end.
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def last_words(self, characters: int = 2000) -> str:
        """Return the end of the log."""
        if not self.log.exists():
            return ""
        return self.log.read_text(encoding="utf-8", errors="replace")[-characters:]


class Peer:
    """A peer of one or more daemons in a scratch folder of its own. A context manager.

    `kill()` ends it without warning and `start()` brings it back with its data. On exit all is
    stopped and, unless CLOUDMIG_KEEP_PEERS is set, the folder is removed.
    """

    name = "peer"
    host = "127.0.0.1"
    #: How long after start a peer may take to answer.
    patience_s = 60.0

    def __init__(self, folder: Path | None = None) -> None:
        self._own_folder = folder is None
        self.folder = Path(folder or tempfile.mkdtemp(prefix=f"peer-{self.name}-"))
        self.folder.mkdir(parents=True, exist_ok=True)
        self.daemons: list[Daemon] = []

    def prepare(self) -> None:
        """Write configurations and fill `daemons`; called once, before the first start."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Say whether the peer does its work now, by asking it to."""
        raise NotImplementedError

    def clear_traces(self) -> None:
        """Remove what a killed process leaves behind and a new one stumbles over."""

    def start(self) -> None:
        """Start every daemon and wait until the peer answers."""
        if not self.daemons:
            self.prepare()
        self.clear_traces()
        for daemon in self.daemons:
            daemon.start()
        await_answer(self.name, self.answers, self.daemons, self.patience_s)

    def kill(self) -> None:
        """End every daemon with SIGKILL."""
        for daemon in self.daemons:
            daemon.kill()

    def stop(self) -> None:
        """Stop every daemon, the last first."""
        for daemon in reversed(self.daemons):
            daemon.stop()

    def __enter__(self) -> Self:
        atexit.register(self.kill)
        try:
            self.start()
        except BaseException:
            self.kill()
            atexit.unregister(self.kill)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.stop()
        finally:
            atexit.unregister(self.kill)
            if self._own_folder and not os.environ.get("CLOUDMIG_KEEP_PEERS"):
                shutil.rmtree(self.folder, ignore_errors=True)


def await_answer(
    name: str, answers: Callable[[], bool], daemons: Sequence[Daemon], patience_s: float
) -> None:
    """Poll until the answer is yes. Give up at once when a daemon has ended."""
    deadline = time.monotonic() + patience_s
    while not answers():
        ended = [daemon for daemon in daemons if not daemon.running()]
        if ended:
            raise PeerSilent(f"{name}: {ended[0].name} ended: {ended[0].last_words()}")
        if time.monotonic() > deadline:
            words = "".join(daemon.last_words() for daemon in daemons)
            raise PeerSilent(f"{name} did not answer within {patience_s:.0f} s: {words}")
        time.sleep(0.1)


def program(*candidates: str | Path) -> str:
    """Return the first candidate that is installed."""
    for candidate in candidates:
        found = shutil.which(str(candidate))
        if found:
            return found
    raise PeerMissing(f"{candidates[0]} is not installed (tests/peers/install.sh)")
