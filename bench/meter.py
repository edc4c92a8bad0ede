"""What a contender cost: CPU and memory of its own processes, not of the PACS and the sink.

CPU comes from wait4: it holds a process and every descendant that was waited for. Memory is
sampled from /proc: the sum of the high-water marks of all processes that were alive together,
because ru_maxrss would also count the size of the process that forked.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

SAMPLE_INTERVAL_S = 0.05
#: A contender that hangs is killed and has failed, so that the others are still measured.
RUN_TIME_MAX_S = 900
STOP_TIME_MAX_S = 20


class ContenderError(Exception):
    """A contender's process did not do its work."""


class Meter:
    """Starts the processes of one contender and adds up what they used."""

    def __init__(self, log_path: Path) -> None:
        self.cpu_s = 0.0
        self.peak_rss_bytes = 0
        self._log = log_path.open("ab")
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._stop = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Self:
        self._sampler.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in list(self._running.values()):
            self.stop(process)
        self._stop.set()
        self._sampler.join()
        self._log.close()

    def start(
        self,
        command: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a process that counts as the contender's until it is stopped."""
        process = subprocess.Popen(
            list(command),
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        self._running[process.pid] = process
        return process

    def run(
        self,
        command: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> float:
        """Run a process to its end and return its seconds; a bad exit code is an error."""
        started = time.perf_counter()
        process = self.start(command, cwd=cwd, env=env)
        patience = threading.Timer(RUN_TIME_MAX_S, process.kill)
        patience.start()
        code = self._reap(process)
        patience.cancel()
        if code != 0:
            raise ContenderError(
                f"exit code {code}: {' '.join(command[:4])} ... see {self._log.name}"
            )
        return time.perf_counter() - started

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        """End a server of the contender and count what it used."""
        process.terminate()
        patience = threading.Timer(STOP_TIME_MAX_S, process.kill)
        patience.start()
        self._reap(process)
        patience.cancel()

    def _reap(self, process: subprocess.Popen[bytes]) -> int:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        del self._running[process.pid]
        self.cpu_s += usage.ru_utime + usage.ru_stime
        return process.returncode

    def _sample(self) -> None:
        while not self._stop.wait(SAMPLE_INTERVAL_S):
            roots = list(self._running)
            total = sum(high_water_bytes(pid) for root in roots for pid in _tree(root))
            self.peak_rss_bytes = max(self.peak_rss_bytes, total)


def _tree(pid: int) -> list[int]:
    found = [pid]
    try:
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in children.read_text().split():
                found += _tree(int(child))
    except OSError:
        return found  # It ended while we looked: what it used is in wait4.
    return found


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds a living process has used (proc(5): fields 14 and 15 of stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def high_water_bytes(pid: int) -> int:
    """Return the most memory a living process ever had, 0 for one that ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
