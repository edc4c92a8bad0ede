"""Measure the contenders side by side: same studies, same sink, one run.

python -m bench.run                                   everything, three times
python -m bench.run --scale 0.1 --repeat 1            a quick look
python -m bench.run --scenarios fast-ct --contenders trade cloudmig
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench import render, stow, wan
from bench.archive import Area, Study, data_set_sha256, write_area
from bench.contenders import BUCKET, CONTENDERS, Job, Outcome
from bench.meter import ContenderError, cpu_seconds
from bench.peers import Sink, moto_server, nginx_sink, pacs, serving
from bench.scenarios import SCENARIOS, Scenario
from cloudmig.demo.workplace import free_port

HERE = Path(__file__).parent
OWN_NETWORK = "BENCH_OWN_NETWORK"
#: The raw upload the line is measured with, before every contender of a wan scenario.
LINE_OBJECTS, LINE_CONNECTIONS = 160, 8
COLUMNS = (
    "scenario", "contender", "instances", "bytes", "seconds", "cpu_ms_per_instance", "peak_rss_mb",
)  # fmt: skip

Row = dict[str, Any]


class Laboratory:
    """The archives, the sink and the scratch folder all measurements of one run share."""

    def __init__(self, scratch: Path, sink: Sink) -> None:
        self._scratch = scratch
        self._sink = sink
        self._studies: dict[str, list[Study]] = {}
        self._runs = 0

    def measure(self, scenario: Scenario, contender: str) -> Row:
        """Let one contender move one scenario's studies, check what arrived, say what it took."""
        studies = self._archive(scenario.area)[: scenario.studies_max.get(contender)]
        self._sink.clear()
        self._runs += 1
        folder = self._scratch / f"run{self._runs}-{scenario.name}-{contender}"
        folder.mkdir()
        if scenario.is_stow:
            return self._measure_stow(scenario, contender, studies, folder)
        areas = {scenario.area.ae_title: self._area_folder(scenario.area)}
        with (
            pacs(areas, nodelay=scenario.nodelay, folder=folder) as address,
            self._endpoint(scenario, folder) as (port, facts),
        ):
            job = Job(
                pacs=address,
                area=scenario.area.ae_title,
                studies=studies,
                endpoint=f"http://127.0.0.1:{port}",
                nodelay=scenario.nodelay,
                folder=folder,
                profile="moto" if scenario.multipart else "plain",
            )
            try:
                outcome = CONTENDERS[contender](job)
                if scenario.multipart:
                    _check_bucket(port, job)
                elif outcome.delivers:
                    _check_sink(self._sink, job)
            except ContenderError as error:
                raise ContenderError(f"{error}\n{_last_words(folder)}") from error
        self._sink.clear()
        shutil.rmtree(folder)
        return _row(scenario, contender, job, outcome) | facts

    def _measure_stow(
        self, scenario: Scenario, contender: str, studies: Sequence[Study], folder: Path
    ) -> Row:
        """Let one contender store files into an Orthanc whose folder lies where the sink is."""
        with tempfile.TemporaryDirectory(prefix="orthanc-", dir=self._sink.root.parent) as place:
            try:
                row = stow.measure(
                    contender,
                    archive=self._area_folder(scenario.area),
                    studies=studies,
                    folder=Path(place),
                )
            except ContenderError as error:
                raise ContenderError(f"{error}\n{_last_words(Path(place))}") from error
        shutil.rmtree(folder)
        return {"scenario": scenario.name, "contender": contender, **row}

    def _archive(self, area: Area) -> list[Study]:
        if area.ae_title not in self._studies:
            print(f"writing {area.ae_title} ...", flush=True)
            self._studies[area.ae_title] = write_area(area, self._area_folder(area))
        return self._studies[area.ae_title]

    def _area_folder(self, area: Area) -> Path:
        return self._scratch / "archive" / area.ae_title

    @contextlib.contextmanager
    def _endpoint(self, scenario: Scenario, folder: Path) -> Iterator[tuple[int, Row]]:
        """Yield the port the contender uploads to, and what is known of the line to it."""
        if scenario.multipart:
            with moto_server(folder, bucket=BUCKET) as port:
                yield port, {}
        elif scenario.wan:
            port = free_port()
            command = [sys.executable, "-m", "bench.wan", str(port), str(self._sink.port)]
            with serving(command, port=port, log_path=folder / "wan.log") as line:
                bytes_per_s, ping_s = wan.measure_upload(
                    port,
                    object_bytes=scenario.area.pixel_bytes,
                    objects=LINE_OBJECTS,
                    connections=LINE_CONNECTIONS,
                )
                self._sink.clear()
                facts: Row = {"line_bytes_per_s": round(bytes_per_s), "line_rtt_ms": ping_s * 1000}
                yield port, facts
                facts["line_cpu_seconds"] = cpu_seconds(line.pid)
        else:
            yield self._sink.port, {}


def _row(scenario: Scenario, contender: str, job: Job, outcome: Outcome) -> Row:
    return {
        "scenario": scenario.name,
        "contender": contender,
        "instances": job.instances,
        "bytes": job.file_bytes,
        "seconds": outcome.seconds,
        "cpu_ms_per_instance": outcome.cpu_s * 1000 / job.instances,
        "peak_rss_mb": outcome.peak_rss_bytes / 1e6,
        **outcome.extra,
    }


def _check_sink(sink: Sink, job: Job) -> None:
    """Compare what the sink holds with what the PACS held, data set by data set."""
    expected = set().union(*(study.data_set_sha256s for study in job.studies))
    objects = sink.objects()
    found = {data_set_sha256(path) for path in objects}
    if found != expected or len(objects) != job.instances:
        raise ContenderError(
            f"{len(objects)} objects for {job.instances} instances, {len(expected - found)} data"
            f" sets missing, {len(found - expected)} unknown; see {job.folder}"
        )


def _check_bucket(port: int, job: Job) -> None:
    """Read the one large object back from moto and compare its data set."""
    import boto3  # noqa: PLC0415 - the process that measures stays small

    client = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="us-east-1",
        aws_access_key_id="bench",
        aws_secret_access_key="bench",
    )
    listing = client.list_objects_v2(Bucket=BUCKET)["Contents"]
    [key] = [entry["Key"] for entry in listing if entry["Key"].endswith(".dcm")]
    read_back = job.folder / "read-back.dcm"
    # One GET: moto copies the whole object for every range it is asked for.
    with read_back.open("wb") as file:
        shutil.copyfileobj(client.get_object(Bucket=BUCKET, Key=key)["Body"], file, 1 << 20)
    if {data_set_sha256(read_back)} != set(job.studies[0].data_set_sha256s):
        raise ContenderError("the large object is not the one that was sent")


def _last_words(folder: Path) -> str:
    """Return the ends of a run's logs, which its scratch folder takes with it."""
    logs = sorted(folder.glob("*.log"), key=lambda path: path.stat().st_mtime)
    tails = [path.read_text(errors="replace").splitlines()[-15:] for path in logs]
    return "\n".join(f"  {line}" for tail in tails for line in tail)


def medians(runs: Sequence[Row]) -> list[Row]:
    """Take the median of each figure over the repeats of a contender in a scenario."""
    grouped: dict[tuple[str, str], list[Row]] = {}
    for row in runs:
        grouped.setdefault((row["scenario"], row["contender"]), []).append(row)
    results = []
    for repeats in grouped.values():
        middle: Row = {
            name: round(statistics.median(repeat[name] for repeat in repeats), 3)
            if isinstance(value, float)
            else value
            for name, value in repeats[0].items()
        }
        middle["seconds_of_each_run"] = [round(repeat["seconds"], 3) for repeat in repeats]
        results.append(middle)
    return results


def compared(rows: Sequence[Row]) -> list[Row]:
    """Say of each row how many times its reference's instances per second it reached.

    What is compared with another reference than the trade has a column of its own for it.
    """
    rates = {(row["scenario"], row["contender"]): row["instances"] / row["seconds"] for row in rows}
    results = []
    for row in rows:
        reference = SCENARIOS[row["scenario"]].reference
        known = rates.get((row["scenario"], reference))
        ratio = rates[row["scenario"], row["contender"]] / known if known else None
        first = {name: row[name] for name in COLUMNS}
        first[f"ratio_to_{reference.replace('-', '_')}"] = ratio and round(ratio, 2)
        results.append(first | {name: row[name] for name in row if name not in first})
    return results


def conditions(arguments: argparse.Namespace) -> Row:
    """Describe the machine and the run, without a name or a path of either."""
    model = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    dcmtk = subprocess.run(
        ["/usr/bin/movescu", "--version"], capture_output=True, check=True, text=True
    )
    return {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "cpus": os.cpu_count(),
        "cpu_model": model[0] if model else platform.machine(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "kernel": platform.release().partition("-")[0],
        "python": platform.python_version(),
        "orthanc": stow.version(),
        "dcmtk": dcmtk.stdout.split("\n")[0].strip("$ "),
        "repeat": arguments.repeat,
        "scale": arguments.scale,
        "load_before": round(os.getloadavg()[0], 2),
    }


def in_own_network() -> None:
    """As root, start again in a network namespace: DCMTK's servers cannot be told an address."""
    if os.geteuid() != 0 or OWN_NETWORK in os.environ or not shutil.which("unshare"):
        return
    if subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode != 0:
        return
    again = 'ip link set lo up && exec "$@"'
    command = ["unshare", "-n", "sh", "-c", again, "sh", sys.executable, "-m", "bench.run"]
    os.execvpe("unshare", [*command, *sys.argv[1:]], {**os.environ, OWN_NETWORK: "1"})


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m bench.run")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--scenarios", nargs="+", choices=SCENARIOS, default=list(SCENARIOS))
    everybody = list(dict.fromkeys([*CONTENDERS, *stow.CONTENDERS]))
    parser.add_argument("--contenders", nargs="+", choices=everybody, default=everybody)
    parser.add_argument("--scale", type=float, default=1.0, help="factor on images per study")
    parser.add_argument("--repeat", type=int, default=3, help="interleaved; the median counts")
    parser.add_argument("--scratch", type=Path, help="folder for archive and PACS (8 GB)")
    parser.add_argument("--sink", type=Path, help="folder for the sink (default: in memory)")
    parser.add_argument("--results", type=Path, default=HERE / "results.json")
    parser.add_argument("--keep", action="store_true", help="keep the rows of other scenarios")
    return parser.parse_args()


def main() -> int:
    """Measure, write results.json and render the page."""
    arguments = parse_arguments()
    in_own_network()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that every peer is ended
    memory = Path("/dev/shm")
    sink_parent = arguments.sink or (memory if memory.is_dir() else None)
    runs: list[Row] = []
    failed = 0
    facts = conditions(arguments)
    with (
        tempfile.TemporaryDirectory(prefix="bench-", dir=arguments.scratch) as scratch,
        tempfile.TemporaryDirectory(prefix="bench-sink-", dir=sink_parent) as sink_folder,
    ):
        Path(sink_folder).chmod(0o755)
        with nginx_sink(Path(sink_folder) / "nginx") as sink:
            laboratory = Laboratory(Path(scratch), sink)
            for _ in range(arguments.repeat):
                for scenario in (SCENARIOS[name] for name in arguments.scenarios):
                    for contender in arguments.contenders:
                        if contender not in scenario.contenders:
                            continue
                        try:
                            row = laboratory.measure(scenario.scaled(arguments.scale), contender)
                        except ContenderError as error:
                            failed += 1
                            print(f"{scenario.name} {contender} FAILED: {error}", flush=True)
                            continue
                        print(render.one_line(row), flush=True)
                        runs.append(row)
                        _write(arguments, medians(runs), facts)  # a stopped run keeps what it has
    return 1 if failed else 0


def _write(arguments: argparse.Namespace, results: list[Row], facts: Row) -> None:
    if arguments.keep and arguments.results.exists():
        fresh = {(row["scenario"], row["contender"]) for row in results}
        kept = json.loads(arguments.results.read_text())
        kept = [row for row in kept if (row["scenario"], row["contender"]) not in fresh]
        # Rows of other days were not interleaved with these: the page has to say so.
        facts = facts | {"kept": [f"{row['scenario']} {row['contender']}" for row in kept]}
        results = kept + results
    results = compared(results)
    arguments.results.write_text(json.dumps(results, indent=1) + "\n")
    conditions_path = arguments.results.with_name("conditions.json")
    conditions_path.write_text(json.dumps(facts, indent=1) + "\n")
    if arguments.results == HERE / "results.json":
        render.main()


if __name__ == "__main__":
    sys.exit(main())
