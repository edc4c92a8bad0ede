"""Storing by STOW-RS: the contenders, and the Orthanc they all store into.

Every contender reads the same folders of files, is given an empty Orthanc, configured as it comes,
and is judged by what lies in Orthanc's own storage afterwards.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from bench.archive import Study, data_set_sha256
from bench.meter import ContenderError, Meter, cpu_seconds, high_water_bytes
from bench.peers import nodelay_env, serving
from cloudmig.demo.workplace import free_port

HERE = Path(__file__).parent
ORTHANC = "/usr/sbin/Orthanc"
DICOMWEB_PLUGIN = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"
AET = "ORTHANC"
#: What cloudmig's profile for Orthanc says, so that `limit` sends the same requests.
BATCH_INSTANCES, BATCH_BYTES, CONNECTIONS = 25, 4 << 20, 4

CLOUDMIG_CONFIG = """\
[agent]
name = "bench"
state_dir = "state"

[sources.main]
archive = "main"
url = "file://{archive}"

[destinations.web]
url = "{url}"
evidence = "evidence"
dicomweb = {{ profile = "orthanc" }}

[destinations.evidence]
url = "file://{folder}/evidence"

[[rules]]
name = "everything"
copy_to = ["web"]
"""


@dataclass(frozen=True, slots=True)
class Store:
    """A running Orthanc."""

    http_port: int
    dicom_port: int
    pid: int
    storage: Path = field(repr=False)

    @property
    def url(self) -> str:
        """Where it speaks DICOMweb."""
        return f"http://127.0.0.1:{self.http_port}/dicom-web"

    def ask(self, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        """Ask its own REST API; with a body, POST that."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}{path}", data=data)
        with urllib.request.urlopen(request, timeout=900) as answer:
            return json.load(answer)

    def images(self) -> list[Path]:
        """List the files that are images; beside them lies its JSON of their headers."""
        return [path for path in self.storage.glob("*/*/*") if _is_part10(path)]


def _is_part10(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


@contextmanager
def orthanc(
    folder: Path,
    *,
    servers: Mapping[str, Sequence[str]] | None = None,
    nodelay: bool = False,
) -> Iterator[Store]:
    """Run an empty Orthanc as it comes, with its DICOMweb plugin."""
    folder.mkdir()
    http_port, dicom_port = free_port(), free_port()
    configuration = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "Plugins": [DICOMWEB_PLUGIN],
        "HttpPort": http_port,
        "DicomPort": dicom_port,
        "DicomAet": AET,
        "RemoteAccessAllowed": False,
        "DicomWeb": {"Enable": True, "Servers": dict(servers or {})},
    }
    path = folder / "orthanc.json"
    path.write_text(json.dumps(configuration))
    command, env = [ORTHANC, str(path)], nodelay_env(nodelay=nodelay)
    log_path = folder / "orthanc.log"
    with serving(command, port=http_port, log_path=log_path, env=env) as process:
        yield Store(http_port, dicom_port, process.pid, folder / "storage")


@dataclass(frozen=True, slots=True)
class Errand:
    """What one contender is asked to do."""

    store: Store
    archive: Path
    studies: Sequence[Study]
    folder: Path  #: For its own logs and files.

    @property
    def instances(self) -> int:
        """Count the images of all studies."""
        return sum(study.instances for study in self.studies)

    @property
    def study_folders(self) -> list[str]:
        """Name the folders of files, one a study."""
        return [str(self.archive / f"study{number:04d}") for number in range(len(self.studies))]


@dataclass(frozen=True, slots=True)
class Cost:
    """What it took."""

    seconds: float
    cpu_s: float
    peak_rss_bytes: int
    extra: Mapping[str, float] = field(default_factory=dict)


Contender = Callable[[Errand], Cost]


def _run(errand: Errand, command: Sequence[str], env: Mapping[str, str] | None = None) -> Cost:
    with Meter(errand.folder / "contender.log") as meter:
        seconds = meter.run(command, env=env)
    return Cost(seconds, meter.cpu_s, meter.peak_rss_bytes)


def _said(errand: Errand) -> list[float]:
    """Return the figures that a contender printed last."""
    return list(map(float, (errand.folder / "contender.log").read_text().split("\n")[-2].split()))


def dicomweb_client(errand: Errand) -> Cost:
    """Run bench/stow_client.py: dcmread and dicomweb-client's store_instances, study by study."""
    script = str(HERE / "stow_client.py")
    cost = _run(errand, [sys.executable, script, errand.store.url, *errand.study_folders])
    [read_s] = _said(errand)
    return dataclasses.replace(cost, extra={"read_seconds": read_s})


def cloudmig(errand: Errand) -> Cost:
    """Run cloudmig: inventory and plan before the clock starts, `run` against it."""
    config = errand.folder / "cloudmig.toml"
    config.write_text(
        CLOUDMIG_CONFIG.format(archive=errand.archive, url=errand.store.url, folder=errand.folder)
    )
    command = [sys.executable, "-m", "cloudmig", "--config", str(config)]
    with Meter(errand.folder / "before.log") as meter:
        inventory_s = meter.run([*command, "inventory"])
        plan_s = meter.run([*command, "plan"])
    cost = _run(errand, [*command, "run"])
    extra = {"inventory_seconds": inventory_s, "plan_seconds": plan_s}
    return dataclasses.replace(cost, extra=extra)


def port(errand: Errand) -> Cost:
    """Run bench/stow_port.py: cloudmig's destination, without a source or a catalog."""
    command = [sys.executable, "-m", "bench.stow_port", errand.store.url]
    return _run(errand, [*command, *errand.study_folders])


def port_staged(errand: Errand) -> Cost:
    """Run bench/stow_port.py with everything read and hashed before the clock starts."""
    command = [sys.executable, "-m", "bench.stow_port", "--staged", errand.store.url]
    cost = _run(errand, [*command, *errand.study_folders])
    seconds, cpu_s = _said(errand)
    return Cost(seconds, cpu_s, cost.peak_rss_bytes)


def storescu(errand: Errand, *, nodelay: bool = False) -> Cost:
    """Send everything over one association."""
    command = ["/usr/bin/storescu", "-q", "-aec", AET, "+sd", "+r", "127.0.0.1"]
    command += [str(errand.store.dicom_port), *errand.study_folders]
    return _run(errand, command, nodelay_env(nodelay=nodelay))


def storescu_nodelay(errand: Errand) -> Cost:
    """Send everything over one association; Nagle's algorithm is off in Orthanc's DCMTK, too."""
    return storescu(errand, nodelay=True)


def limit(errand: Errand) -> Cost:
    """Run bench/stow_limit.py: the same requests, made beforehand. Reading is not counted."""
    sizes = map(str, (errand.store.http_port, BATCH_INSTANCES, BATCH_BYTES, CONNECTIONS))
    studies = [
        f"{study.study_instance_uid}={folder}"
        for study, folder in zip(errand.studies, errand.study_folders, strict=True)
    ]
    command = [sys.executable, str(HERE / "stow_limit.py"), *sizes, *studies]
    cost = _run(errand, command)
    seconds, cpu_s = _said(errand)
    return Cost(seconds, cpu_s, cost.peak_rss_bytes)


def orthanc_client(errand: Errand) -> Cost:
    """Let a second Orthanc that holds the studies send them by its own STOW-RS client."""
    servers = {"target": (f"{errand.store.url}/",)}
    with orthanc(errand.folder / "sender", servers=servers) as sender:
        limit(Errand(sender, errand.archive, errand.studies, errand.folder))
        everything = {"Resources": sender.ask("/studies"), "Synchronous": True}
        Path(f"/proc/{sender.pid}/clear_refs").write_text("5")  # forget the high-water mark
        cpu_before, started = cpu_seconds(sender.pid), perf_counter()
        sender.ask("/dicom-web/servers/target/stow", everything)
        seconds, cpu_s = perf_counter() - started, cpu_seconds(sender.pid) - cpu_before
        return Cost(seconds, cpu_s, high_water_bytes(sender.pid))


CONTENDERS: Mapping[str, Contender] = {
    "dicomweb-client": dicomweb_client,
    "cloudmig": cloudmig,
    "port": port,
    "port-staged": port_staged,
    "storescu": storescu,
    "storescu-nodelay": storescu_nodelay,
    "orthanc": orthanc_client,
    "stow-limit": limit,
}


def measure(
    contender: str, *, archive: Path, studies: Sequence[Study], folder: Path
) -> dict[str, Any]:
    """Let one contender store the studies into a new Orthanc; say what it took and what is there.

    What was lost is counted in `held`; contents that nobody sent are an error.
    """
    with orthanc(folder / "store", nodelay=contender == "storescu-nodelay") as store:
        errand = Errand(store, archive, studies, folder)
        cpu_before = cpu_seconds(store.pid)
        cost = CONTENDERS[contender](errand)
        store_cpu_s = cpu_seconds(store.pid) - cpu_before
        images = store.images()
    expected = set().union(*(study.data_set_sha256s for study in studies))
    unknown = sum(data_set_sha256(path) not in expected for path in images)
    if unknown or not images:
        raise ContenderError(f"Orthanc holds {len(images)} images, {unknown} of them unknown")
    return {
        "instances": errand.instances,
        "bytes": sum(study.file_bytes for study in studies),
        "seconds": cost.seconds,
        "cpu_ms_per_instance": cost.cpu_s * 1000 / errand.instances,
        "peak_rss_mb": cost.peak_rss_bytes / 1e6,
        "store_cpu_ms_per_instance": store_cpu_s * 1000 / errand.instances,
        "held": len(images),
        **cost.extra,
    }


def version() -> str:
    """Return the first line of what Orthanc says of itself."""
    said = subprocess.run([ORTHANC, "--version"], capture_output=True, check=True, text=True)
    return said.stdout.partition("\n")[0]
