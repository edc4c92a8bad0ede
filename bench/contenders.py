"""The four ways to move the same studies, each measured from its first retrieve to its last PUT."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from bench.archive import Study
from bench.meter import ContenderError, Meter
from bench.peers import Pacs, nodelay_env, wait_until_listening

AET = "BENCH"
BUCKET = "bench"
HERE = Path(__file__).parent
#: The clients sign with these; the sink looks at nothing.
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "bench",
    "AWS_SECRET_ACCESS_KEY": "bench",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}

CLOUDMIG_CONFIG = """\
[agent]
name = "bench"
state_dir = "state"
transfers = 12

[listen]
host = "127.0.0.1"
port = {listen_port}

[sources.main]
archive = "main"
host = "127.0.0.1"
port = {pacs_port}
aet = "{area}"
ae_titles = ["{aet}"]
lanes = 6

[destinations.archive]
url = "s3://{bucket}"
endpoint = "{endpoint}"
region = "us-east-1"
profile = "{profile}"
access_key_id = "bench"
secret_access_key = "bench"

[[rules]]
name = "everything"
copy_to = ["archive"]
"""


@dataclass(frozen=True, slots=True)
class Job:
    """What one contender is asked to do."""

    pacs: Pacs
    area: str
    studies: Sequence[Study]
    endpoint: str
    nodelay: bool
    folder: Path
    profile: str = "plain"

    @property
    def instances(self) -> int:
        """Count the images of all studies."""
        return sum(study.instances for study in self.studies)

    @property
    def file_bytes(self) -> int:
        """Add up the files of all studies as they lie in the PACS."""
        return sum(study.file_bytes for study in self.studies)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What it took. `delivers` says whether the sink holds the images afterwards."""

    seconds: float
    cpu_s: float
    peak_rss_bytes: int
    delivers: bool = True
    extra: Mapping[str, float] = field(default_factory=dict)


Contender = Callable[[Job], Outcome]


def trade(job: Job) -> Outcome:
    """Do it the way of the trade: movescu by study into storescp, then `aws s3 cp --recursive`."""
    received = job.folder / "received"
    received.mkdir()
    aws = [sys.executable, "-m", "awscli", "s3", "cp", "--recursive", "--only-show-errors"]
    environment = {
        **CREDENTIALS,
        "AWS_CONFIG_FILE": str(job.folder / "aws-config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(job.folder / "aws-credentials"),
    }
    (job.folder / "aws-config").write_text("[default]\ns3 =\n  addressing_style = path\n")
    with Meter(job.folder / "trade.log") as meter:
        started = perf_counter()
        _move_all(job, meter, ["-od", str(received)])
        moved_s = perf_counter() - started
        endpoint = ["--endpoint-url", job.endpoint]
        meter.run([*aws, *endpoint, str(received), f"s3://{BUCKET}/"], env=environment)
        seconds = perf_counter() - started
    return Outcome(seconds, meter.cpu_s, meter.peak_rss_bytes, extra={"move_seconds": moved_s})


def limit(job: Job) -> Outcome:
    """Move into a storescp that throws everything away: what the PACS and DCMTK can give."""
    with Meter(job.folder / "limit.log") as meter:
        started = perf_counter()
        _move_all(job, meter, ["--ignore"])
        seconds = perf_counter() - started
    # dcmqrscp answers once per image it sent: with nothing kept, this is all there is to count.
    sent = (job.folder / "limit.log").read_text(errors="replace").count("(Pending)")
    if sent != job.instances:
        raise ContenderError(f"the PACS sent {sent} of {job.instances} instances")
    return Outcome(seconds, meter.cpu_s, meter.peak_rss_bytes, delivers=False)


def script(job: Job) -> Outcome:
    """Run bench/script.py: pynetdicom and boto3 with threads."""
    command = [sys.executable, str(HERE / "script.py"), str(job.pacs.port), job.area, AET]
    command += [str(job.pacs.move_port), job.endpoint, BUCKET]
    command += [study.study_instance_uid for study in job.studies]
    with Meter(job.folder / "script.log") as meter:
        seconds = meter.run(command, env=CREDENTIALS)
    return Outcome(seconds, meter.cpu_s, meter.peak_rss_bytes)


def cloudmig(job: Job) -> Outcome:
    """Run cloudmig: inventory and plan before the clock starts, `run` against it.

    It moves what its inventory found, so it is given an area of the PACS and no list.
    """
    config = job.folder / "cloudmig.toml"
    config.write_text(
        CLOUDMIG_CONFIG.format(
            listen_port=job.pacs.move_port,
            pacs_port=job.pacs.port,
            area=job.area,
            aet=AET,
            bucket=BUCKET,
            endpoint=job.endpoint,
            profile=job.profile,
        )
    )
    tomllib.loads(config.read_text())
    command = [sys.executable, "-m", "cloudmig", "--config", str(config)]
    with Meter(job.folder / "cloudmig-before.log") as meter:
        inventory_s = meter.run([*command, "inventory"], env=CREDENTIALS)
        plan_s = meter.run([*command, "plan"], env=CREDENTIALS)
        before = meter.cpu_s
        meter.run([*command, "status"], env=CREDENTIALS)
        start_cpu_s = meter.cpu_s - before
    with Meter(job.folder / "cloudmig.log") as meter:
        seconds = meter.run([*command, "run"], env=CREDENTIALS)
    return Outcome(
        seconds,
        meter.cpu_s,
        meter.peak_rss_bytes,
        extra={
            "inventory_seconds": inventory_s,
            "plan_seconds": plan_s,
            "start_cpu_seconds": start_cpu_s,
        },
    )


CONTENDERS: Mapping[str, Contender] = {
    "trade": trade,
    "script": script,
    "cloudmig": cloudmig,
    "limit": limit,
}


def _move_all(job: Job, meter: Meter, storescp_options: Sequence[str]) -> None:
    environment = nodelay_env(nodelay=job.nodelay)
    receiver = meter.start(
        ["/usr/bin/storescp", "-q", *storescp_options, str(job.pacs.move_port)], env=environment
    )
    wait_until_listening(job.pacs.move_port)
    for study in job.studies:
        command = ["/usr/bin/movescu", "-v", "-S", "-aet", AET, "-aec", job.area, "-aem", AET]
        command += ["-k", "QueryRetrieveLevel=STUDY"]
        command += ["-k", f"StudyInstanceUID={study.study_instance_uid}"]
        meter.run([*command, "127.0.0.1", str(job.pacs.port)], env=environment)
    meter.stop(receiver)
