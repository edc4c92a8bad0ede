"""kill -9 at every step in the life of a study, restart until done, and reconcile exactly.

    make crash SEEDS=500

Each migration moves 100 studies to two versioned buckets and is killed up to 25 times. The judge
shares no code with cloudmig.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cloudmig.demo.workplace import free_port
from tests.contract.moto_bucket import moto_endpoint
from tests.crash.archive import crash_archive, truth_of
from tests.crash.points import ARMED, LOG, STEPS, Kill, seeded_kills
from tests.peers.judge import judge
from tests.peers.launch.moto import s3_client
from tests.peers.loading import Loaded

#: A point is a seed; `make test` takes a handful, and 25 go into each migration.
SEEDS = int(os.environ.get("CLOUDMIG_CRASH_SEEDS", "10"))
_KILLS_A_MIGRATION = 25
_STUDIES = 100
_COMMANDS = ("inventory", "plan", "run", "verify", "close")
_CHECKOUT = Path(__file__).parents[2]
_COMMAND_MAX_S = 240
#: One command is killed at most this often before somebody looks into it.
_LEGS_MAX = 60


@dataclass
class Migration:
    """One migration that is killed again and again."""

    folder: Path
    config: Path
    hit: Counter[str] = field(default_factory=Counter)
    killed: int = 0
    last: dict[str, Any] = field(default_factory=dict)

    def leg(self, command: str, kill: Kill | None) -> bool:
        """Run a command to its end or its death; tell whether it died at the point."""
        log = self.folder / "hit.log"
        log.unlink(missing_ok=True)
        armed = {ARMED: f"{kill.point.name}:{kill.at_pass}", LOG: str(log)} if kill else {}
        done = subprocess.run(
            [sys.executable, "-m", "tests.crash.entry", "--config", str(self.config), command,
             "--json"],
            cwd=_CHECKOUT, env={**os.environ, **armed}, capture_output=True, text=True,
            timeout=_COMMAND_MAX_S, check=False,
        )  # fmt: skip
        if log.exists():
            assert done.returncode == -9, "who says that it dies does die"
            self.hit[log.read_text().strip()] += 1
            self.killed += 1
            return True
        assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        if command == "close":
            self.last = json.loads(done.stdout)
        return False


@contextlib.contextmanager
def a_pacs(listen_port: int) -> Iterator[dict[str, Any]]:
    """Run the scripted PACS in a process of its own."""
    command = [
        sys.executable, "-m", "tests.crash.archive", "--studies", str(_STUDIES),
        "--to", f"CLOUDMIG=127.0.0.1:{listen_port}",
    ]  # fmt: skip
    with subprocess.Popen(
        command, cwd=_CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.kill()


@pytest.fixture(scope="module")
def endpoint(request: pytest.FixtureRequest) -> Iterator[str]:
    # As real stores do, moto wants 5 MiB in every part but the last; here a part is 256 KiB.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("moto.s3.models.S3_UPLOAD_PART_MIN_SIZE", 1 << 10)
        with moto_endpoint() as url:
            yield url


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> list[Loaded]:
    return truth_of(crash_archive(_STUDIES), tmp_path_factory.mktemp("truth"))


def _write_configuration(
    folder: Path, pacs: dict[str, Any], port: int, endpoint: str, buckets: Sequence[str],
    retrieve: str,
) -> Path:  # fmt: skip
    text = f"""
[agent]
name = "crash"
state_dir = "state"
transfers = 4
backoff_s = 0.2
lease_s = 5
renew_s = 1
[listen]
host = "127.0.0.1"
port = {port}
[sources.main]
archive = "main"
host = "127.0.0.1"
port = {pacs["port"]}
aet = "{pacs["aet"]}"
ae_titles = ["CLOUDMIG"]
retrieve = "{retrieve}"
lanes = 3
grace_s = 1
"""
    for bucket in buckets:
        text += f"""
[destinations.{bucket}]
url = "s3://{bucket}"
endpoint = "{endpoint}"
profile = "moto"
access_key_id = "testing"
secret_access_key = "testing"
"""
    text += f"""
[[rules]]
name = "everything"
copy_to = {json.dumps(list(buckets))}
"""
    path = folder / "cloudmig.toml"
    path.write_text(text)
    return path


def _migrate(migration: Migration, kills: Sequence[Kill]) -> list[Kill]:
    """Go through the commands, dying on the way; return the kills whose point was not met."""
    unmet: list[Kill] = []
    for command in _COMMANDS:
        # What only large objects meet goes first: there are fewer and fewer of them.
        due = sorted(
            (kill for kill in kills if kill.point.command == command),
            key=lambda kill: not kill.point.rare,
        )
        unmet += [kill for kill in due if not migration.leg(command, kill)]
        for _ in range(_LEGS_MAX):
            if not migration.leg(command, None):
                break
    return unmet


def _reconcile(
    migration: Migration, truth: list[Loaded], endpoint: str, buckets: Sequence[str]
) -> None:
    closing = migration.last
    assert closing["closed"], closing
    studies = len({record.study_instance_uid for record in truth})
    for name, total in (("studies", studies), ("instances", len(truth))):
        equation = closing[name]
        assert equation["holds"], closing
        assert (equation["inventory"], equation["verified"]) == (total, total), closing
    client = s3_client(endpoint, "testing", "testing")
    for bucket in buckets:
        verdict = judge(truth, client, bucket)
        assert verdict.clean, verdict.table()
    spool = migration.folder / "state" / "spool"
    assert list(spool.iterdir()) == [], "spool files are left"


@pytest.mark.timeout(3600)
def test_nothing_is_lost_or_stored_twice_wherever_the_agent_is_killed(
    endpoint: str, truth: list[Loaded], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pending = seeded_kills(SEEDS)
    hit: Counter[str] = Counter()
    number = 0
    while pending:
        number += 1
        kills, pending = pending[:_KILLS_A_MIGRATION], pending[_KILLS_A_MIGRATION:]
        folder = tmp_path / f"migration-{number}"
        folder.mkdir()
        client = s3_client(endpoint, "testing", "testing")
        buckets = [f"first-{number}", f"second-{number}"]
        for bucket in buckets:
            client.create_bucket(Bucket=bucket)
            client.put_bucket_versioning(
                Bucket=bucket, VersioningConfiguration={"Status": "Enabled"}
            )
        port = free_port()
        retrieve = "c-get" if number % 4 == 0 else "c-move"
        with a_pacs(port) as pacs:
            config = _write_configuration(folder, pacs, port, endpoint, buckets, retrieve)
            migration = Migration(folder, config)
            unmet = _migrate(migration, kills)
        _reconcile(migration, truth, endpoint, buckets)
        hit += migration.hit
        for bucket in buckets:
            _empty(endpoint, bucket)
        assert len(unmet) < len(kills), "a migration that is never killed proves nothing"
        pending += unmet
    with capsys.disabled():
        print("\n" + _table(hit))
    assert sum(hit.values()) == SEEDS
    if len(STEPS) <= SEEDS:
        assert {name.partition(" ")[2] for name in hit} == set(STEPS)


def _empty(endpoint: str, bucket: str) -> None:
    """Give moto its memory back."""
    client = s3_client(endpoint, "testing", "testing")
    for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket):
        for version in page.get("Versions", []):
            client.delete_object(Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"])


def _table(hit: Counter[str]) -> str:
    rows = [f"{'killed':>8}  at"]
    rows += [f"{times:>8}  {name}" for name, times in sorted(hit.items())]
    rows.append(f"{sum(hit.values()):>8}  in all: nothing lost, nothing twice, nothing left open")
    return "\n".join(rows)
