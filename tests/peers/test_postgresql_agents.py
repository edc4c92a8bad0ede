"""Two agents, one catalog on PostgreSQL, one PACS: everything arrives, and nothing moves twice."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.peers.corpus import generated_archive
from tests.peers.judge import Finding, judge
from tests.peers.launch import Dcmqrscp, Lane, MotoServer, Postgresql, free_ports
from tests.peers.loading import held, load
from tests.peers.migration import equations, run_cloudmig

STUDIES = 25
RUN_TIME_MAX_S = 240


def configure(folder: Path, *, name: str, lane: Lane, pacs: Dcmqrscp, store: MotoServer,
              catalog: str) -> Path:  # fmt: skip
    """Write the file of one agent: its name, AE title, port and folder are its own."""
    home = folder / name
    home.mkdir()
    path = home / "cloudmig.toml"
    path.write_text(
        f"""
[agent]
name = "{name}"
state_dir = "state"
catalog = "{catalog}"
transfers = 2
[listen]
host = "127.0.0.1"
port = {lane.port}
[sources.main]
archive = "main"
host = "{pacs.host}"
port = {pacs.port}
aet = "{pacs.ae_title}"
ae_titles = ["{lane.ae_title}"]
retrieve = "c-move"
lanes = 2
[destinations.archive]
url = "s3://images"
endpoint = "{store.endpoint}"
profile = "moto"
access_key_id = "{store.access_key_id}"
secret_access_key = "{store.secret_access_key}"
[[rules]]
name = "everything"
copy_to = ["archive"]
"""
    )
    return path


def run_together(configurations: list[Path]) -> list[list[dict[str, Any]]]:
    """Run both agents at once and return the events that each printed."""
    agents = [
        subprocess.Popen(
            [sys.executable, "-m", "cloudmig", "--config", str(path), "run", "--json"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for path in configurations
    ]  # fmt: skip
    try:
        ended = [agent.communicate(timeout=RUN_TIME_MAX_S) for agent in agents]
    finally:
        for agent in agents:
            agent.kill()
            agent.wait()
    for agent, (printed, errors) in zip(agents, ended, strict=True):
        assert agent.returncode in (0, 1), printed[-1000:] + errors[-2000:]
    return [[json.loads(line) for line in printed.splitlines()] for printed, _ in ended]


@pytest.mark.timeout(600)
def test_two_agents_share_a_catalog_and_move_no_study_twice(tmp_path: Path) -> None:
    ours = [Lane(f"CLOUDMIG{n}", port) for n, port in enumerate(free_ports(2), 1)]
    archive = generated_archive(studies=STUDIES)
    with ExitStack() as running:
        pacs = running.enter_context(Dcmqrscp(ours, profile="assoc-nodelay"))
        store = running.enter_context(MotoServer())
        database = running.enter_context(Postgresql())
        client = store.client()
        client.create_bucket(Bucket="images")
        client.put_bucket_versioning(Bucket="images", VersioningConfiguration={"Status": "Enabled"})
        truth = load(pacs, archive.files)
        one, two = (
            configure(tmp_path, name=f"edge-{n}", lane=lane, pacs=pacs, store=store,
                      catalog=database.url)
            for n, lane in enumerate(ours, 1)
        )  # fmt: skip
        for words in ("inventory", "plan"):
            assert run_cloudmig(one, words, time_max_s=120).exit_code == 0

        told = run_together([one, two])
        assert run_cloudmig(two, "verify", time_max_s=120).exit_code == 0
        closing = equations(run_cloudmig(one, "close", time_max_s=120))
        verdict = judge(truth, client, "images")
        puts = Counter(
            each["Key"]
            for page in client.get_paginator("list_object_versions").paginate(Bucket="images")
            for each in page.get("Versions", [])
        )

    stored = [
        [each["study"] for each in events if each["event"] == "study.stored"] for events in told
    ]
    print("studies moved by each agent:", [len(each) for each in stored])
    studies = {record.study_instance_uid for record in held(truth)}
    assert all(stored), "both agents had their share"
    assert sum(map(len, stored)) == len(studies), "no study was moved twice"
    assert max(puts.values()) == 1, "no object was written twice"
    assert closing.closed
    assert closing.studies.adds_up
    assert closing.instances.adds_up
    assert closing.studies.verified == len(studies)
    assert not verdict.problems, verdict.table()
    assert not verdict.named(Finding.MISSING, Finding.EXTRA, Finding.TWICE, Finding.DIFFERS)
