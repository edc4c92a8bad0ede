"""Run the agent for a while with many associations, and fail when it grows.

    python -m bench.soak --seconds 600 --studies 10000 --associations 64

Two scripted PACS (processes of their own, one asked by C-GET, one by C-MOVE) hold more small
instances than can be moved meanwhile; the copies go to an nginx sink, or to a folder where nginx is
missing. The agent is sampled from /proc; a robust line (Theil-Sen) through what follows the warm-up
is its growth. Writes .cache/soak.json; exit code 1 when something grew or went wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.peers import nginx_sink
from cloudmig.demo.children import Child
from cloudmig.demo.workplace import free_port

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / ".cache" / "soak.json"
SAMPLE_EVERY_S = 5.0
STOP_MAX_S = 60.0
#: No agent on two cores moves more: so that the archive lasts until the end.
INSTANCES_PER_S_MAX = 2500
BARS = "▁▂▃▄▅▆▇█"

#: What may be gained from the end of the warm-up to the end of the run. An object that leaked for
#: each instance would cost more in seconds; the allocator alone moves by a few megabytes.
GROWTH_MAX = {"rss_mb": 10.0, "descriptors": 8.0, "threads": 4.0}

CONFIGURATION = """\
[agent]
name = "soak"
state_dir = "state"
memory_bytes_max = "{memory_mib} MiB"
spool_bytes_max = "1 GiB"
transfers = {transfers}

[listen]
host = "127.0.0.1"
port = {listen_port}
associations_max = {listen_max}
associations_per_peer_max = {listen_max}

{sources}
[destinations.archive]
{destination}

[[rules]]
name = "everything"
copy_to = ["archive"]
"""

SOURCE = """\
[sources.{name}]
archive = "{name}"
host = "127.0.0.1"
port = {port}
aet = "{aet}"
ae_titles = ["{our_aet}"]
retrieve = "{retrieve}"
lanes = {lanes}
"""


class SoakError(Exception):
    """The soak could not be run, so nothing can be said."""


# What is measured


@dataclass(frozen=True, slots=True)
class Sample:
    """The agent at one moment."""

    at_s: float
    rss_mb: float
    descriptors: int  #: But for those of `associations`, which come and go.
    threads: int
    associations: int
    catalog_mb: float
    instances: int  #: Stored so far, by the agent's own count.


def sample(pid: int, ports: Sequence[int], catalog: Path, *, at_s: float, instances: int) -> Sample:
    """Look at a process from outside."""
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    links: list[str] = []
    for each in os.scandir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # Closed while we looked.
            links.append(str(Path(each.path).readlink()))
    associations = {f"socket:[{inode}]" for inode in _established(pid, set(ports))} & {*links}
    files = [catalog, catalog.with_name(f"{catalog.name}-wal")]
    return Sample(
        at_s=round(at_s, 1),
        rss_mb=int(status["VmRSS"].split()[0]) / 1024,
        descriptors=sum(link not in associations for link in links),
        threads=int(status["Threads"]),
        associations=len(associations),
        catalog_mb=sum(file.stat().st_size for file in files if file.exists()) / 1e6,
        instances=instances,
    )


def _established(pid: int, ports: set[int]) -> set[str]:
    """Return the inodes of connections to or on these ports, as /proc/net/tcp has them."""
    inodes = set()
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        either = {int(words[1].rpartition(":")[2], 16), int(words[2].rpartition(":")[2], 16)}
        if words[3] == "01" and either & ports:
            inodes.add(words[9])
    return inodes


def slope_per_s(points: Sequence[tuple[float, float]]) -> float:
    """Return the Theil-Sen slope: the median of the slopes between all pairs of points."""
    slopes = [
        (later[1] - earlier[1]) / (later[0] - earlier[0])
        for earlier, later in itertools.combinations(points, 2)
        if later[0] > earlier[0]
    ]
    return statistics.median(slopes) if slopes else 0.0


def growth(samples: Sequence[Sample]) -> dict[str, float]:
    """Return what each figure gains over these samples, by its line."""
    window_s = samples[-1].at_s - samples[0].at_s if samples else 0.0
    return {
        name: slope_per_s([(each.at_s, float(getattr(each, name))) for each in samples]) * window_s
        for name in ("rss_mb", "descriptors", "threads", "associations", "catalog_mb")
    }


def sparkline(values: Sequence[float], width: int = 60) -> str:
    """Draw values as a line of bars from their least to their greatest."""
    step = max(1, -(-len(values) // width))
    means = [
        statistics.fmean(values[start : start + step]) for start in range(0, len(values), step)
    ]
    low, high = min(means), max(means)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((value - low) * scale)] for value in means)


# The run


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the soak found."""

    seconds: float
    warm_up_s: float
    studies_in_catalog: int
    instances: int
    associations_peak: int
    exit_code: int
    sink: str
    growth: Mapping[str, float]
    faults: Sequence[str]
    samples: Sequence[Sample]


def soak(told: argparse.Namespace, folder: Path) -> Outcome:
    """Prepare PACS, sink and catalog, run the agent, and judge what was seen."""
    listen_port = free_port()
    with contextlib.ExitStack() as stack:
        ports = []
        for number, aet in enumerate(("SOAKGET", "SOAKMOVE")):
            pacs = Child(
                "bench.light_pacs", "--aet", aet, "--studies", str(told.studies // 2),
                "--instances", str(told.instances), "--seed", str(number),
                "--send-to", str(listen_port),
            )  # fmt: skip
            stack.callback(pacs.stop)
            ports.append(int(str(pacs.start()["port"])))
        sink, destination = _sink(stack, folder)
        configuration = folder / "cloudmig.toml"
        configuration.write_text(_configuration(told, ports, listen_port, destination))
        command = [sys.executable, "-m", "cloudmig", "--config", str(configuration)]
        for words in (["inventory"], ["plan"]):
            _quietly([*command, *words], folder / f"{words[0]}.log")
        log = folder / "run.log"
        samples, exit_code = _run_agent(
            [*command, "run", "--json"], log, [*ports, listen_port], told.seconds
        )
        status = json.loads(_quietly([*command, "status", "--json"], folder / "status.log"))
    return _judge(told, samples, exit_code, status, sink, folder, log)


def _sink(stack: contextlib.ExitStack, folder: Path) -> tuple[str, str]:
    if shutil.which("nginx") or Path("/usr/sbin/nginx").exists():
        nginx = stack.enter_context(nginx_sink(folder / "sink"))
        endpoint = f"http://127.0.0.1:{nginx.port}"
        lines = ['url = "s3://soak"', f'endpoint = "{endpoint}"', 'profile = "plain"']
        lines += ['access_key_id = "soak"', 'secret_access_key = "soak"']
        return "nginx", "\n".join(lines)
    (folder / "images").mkdir()
    return "folder", f'url = "file://{folder}/images"'


def _by_move(told: argparse.Namespace) -> int:
    """Return the lanes of C-MOVE.

    For each the PACS opens a second association, and closes it after each study: those come and go
    on top of the ones that are wanted all the time.
    """
    return max(1, int(told.associations) // 4)


def _configuration(
    told: argparse.Namespace, ports: Sequence[int], listen_port: int, destination: str
) -> str:
    by_move = _by_move(told)
    by_get = told.associations - by_move
    sources = [
        SOURCE.format(name="get", port=ports[0], aet="SOAKGET", our_aet="SOAKER",
                      retrieve="c-get", lanes=by_get),
        SOURCE.format(name="move", port=ports[1], aet="SOAKMOVE", our_aet="SOAK",
                      retrieve="c-move", lanes=by_move),
    ]  # fmt: skip
    return CONFIGURATION.format(
        memory_mib=max(256, 4 * (by_get + by_move)),
        transfers=told.associations + told.associations // 2,
        listen_port=listen_port,
        listen_max=4 * by_move,
        sources="\n".join(sources),
        destination=destination,
    )


def _quietly(command: Sequence[str], log: Path) -> str:
    with log.open("wb") as errors:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=errors, check=False)
    if done.returncode != 0:
        words = done.stdout.decode() + log.read_text(errors="replace")
        raise SoakError(f"{command[5]}: exit code {done.returncode}: {words[-2000:]}")
    return done.stdout.decode()


def _run_agent(
    command: Sequence[str], log: Path, ports: Sequence[int], seconds: float
) -> tuple[list[Sample], int]:
    """Run the agent for so long, look at it every few seconds, and stop it as a person would."""
    catalog = log.with_name("state") / "catalog.db"
    samples: list[Sample] = []
    with log.open("wb") as lines:
        agent = subprocess.Popen(command, stdout=lines, stderr=subprocess.STDOUT)
    began = time.monotonic()
    every_s = min(SAMPLE_EVERY_S, seconds / 24)
    try:
        while (at_s := time.monotonic() - began) < seconds:
            with contextlib.suppress(subprocess.TimeoutExpired):
                agent.wait(min(every_s, seconds - at_s + 0.01))
                break
            at_s = time.monotonic() - began
            stored = _last(log, "run.progress").get("instances_stored", 0)
            samples.append(sample(agent.pid, ports, catalog, at_s=at_s, instances=stored))
        agent.send_signal(signal.SIGINT)
        return samples, agent.wait(STOP_MAX_S)
    except subprocess.TimeoutExpired:
        return samples, -signal.SIGKILL
    finally:
        agent.kill()
        agent.wait()


def _last(log: Path, event: str) -> dict[str, Any]:
    """Return the last line of this kind near the end of the agent's output."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - (1 << 16)))
        tail = file.read().decode(errors="replace").splitlines()
    for line in reversed(tail):
        with contextlib.suppress(ValueError):
            told: dict[str, Any] = json.loads(line)
            if told.get("event") == event:
                return told
    return {}


def _judge(
    told: argparse.Namespace,
    samples: list[Sample],
    exit_code: int,
    status: Mapping[str, Any],
    sink: str,
    folder: Path,
    log: Path,
) -> Outcome:
    faults = []
    warm_up_s = told.seconds / 3
    steady = [each for each in samples if each.at_s >= warm_up_s]
    gained = growth(steady)
    limits = {**GROWTH_MAX, "rss_mb": told.growth_mb, "associations": _by_move(told)}
    faults += [
        f"{name} grew by {gained[name]:.1f} after the warm-up; {limit:g} is allowed"
        for name, limit in limits.items()
        if gained[name] > limit
    ]
    if exit_code != 130:
        faults.append(f"the agent ended with exit code {exit_code}: {log.read_text()[-1000:]}")
    if not steady or samples[-1].at_s < 0.9 * told.seconds:
        faults.append("the agent ended before its time: give it more --instances")
    peak = max((each.associations for each in samples), default=0)
    typical = statistics.median(each.associations for each in steady) if steady else 0
    if typical < told.associations:
        faults.append(f"{typical:g} associations at once, {told.associations} were wanted")
    studies = sum(source["studies"] for source in status["sources"].values())
    if studies != told.studies:
        faults.append(f"{studies} studies in the catalog, {told.studies} were wanted")
    if status["quarantine"]:
        faults.append(f"in quarantine: {status['quarantine']}")
    if left := list((folder / "state/spool").iterdir()):
        faults.append(f"{len(left)} files left in the spool")
    instances = int(_last(log, "run.finished").get("instances_stored", 0))
    seconds = samples[-1].at_s if samples else 0.0
    return Outcome(
        seconds, warm_up_s, studies, instances, peak, exit_code, sink, gained, faults, samples
    )


def show(outcome: Outcome) -> None:
    """Print the figures as lines of bars."""
    print(
        f"{outcome.seconds:.0f} s, {outcome.studies_in_catalog:,} studies in the catalog,"
        f" {outcome.instances:,} instances into {outcome.sink}"
        f" ({outcome.instances / max(outcome.seconds, 1):.0f}/s),"
        f" {outcome.associations_peak} associations at the peak"
    )
    rows: list[tuple[str, Callable[[Sample], float]]] = [
        ("rss_mb", lambda each: each.rss_mb),
        ("descriptors", lambda each: each.descriptors),
        ("threads", lambda each: each.threads),
        ("associations", lambda each: each.associations),
        ("catalog_mb", lambda each: each.catalog_mb),
    ]
    print(f"{'':>14} {'least':>8} {'most':>8} {'growth':>8}  (growth: after the warm-up)")
    for name, value in rows if outcome.samples else ():
        values = [value(each) for each in outcome.samples]
        gained = f"{outcome.growth[name]:+8.1f}" if name in outcome.growth else " " * 8
        print(f"{name:>14} {min(values):8.1f} {max(values):8.1f} {gained}  {sparkline(values)}")
    for fault in outcome.faults:
        print(f"FAULT: {fault}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Soak, and say whether something grew."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--studies", type=int, default=10_000)
    parser.add_argument("--associations", type=int, default=64)
    parser.add_argument(
        "--instances", type=int, default=0, help="in each study; default: enough for the time"
    )
    parser.add_argument(
        "--growth-mb", type=float, default=GROWTH_MAX["rss_mb"],
        help="of memory; less than five minutes need more, until all buffers have been used",
    )  # fmt: skip
    parser.add_argument("--result", type=Path, default=RESULT)
    told = parser.parse_args(arguments)
    if not told.instances:
        told.instances = max(48, round(told.seconds * INSTANCES_PER_S_MAX / told.studies))
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        Path(folder).chmod(0o755)  # nginx's workers run as another user when root starts it.
        outcome = soak(told, Path(folder))
        told.result.parent.mkdir(parents=True, exist_ok=True)
        told.result.write_text(json.dumps(dataclasses.asdict(outcome), indent=1) + "\n")
        show(outcome)
        sys.stdout.flush()  # Removing half a million files takes a while.
    return 1 if outcome.faults else 0


if __name__ == "__main__":
    sys.exit(main())
