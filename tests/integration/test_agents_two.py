"""Two agents share one PostgreSQL catalog: no study is moved twice, no stale write is accepted."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cloudmig.catalog import Catalog
from cloudmig.demo.pacs import Script, ScriptedPacs
from cloudmig.demo.studies import Study
from tests.integration.migration_world import a_study, free_port, held_in_folder

if TYPE_CHECKING:
    from tests.catalog_fixtures import PostgresqlCluster

pytest_plugins = ["tests.catalog_fixtures"]

_CHECKOUT = Path(__file__).parents[2]
STUDIES = tuple(a_study(number, series=(2,)) for number in range(1, 41))
_LEASE_S = 2


def _configuration(
    folder: Path, name: str, url: str, pacs: ScriptedPacs, port: int, store: Path
) -> Path:
    text = f"""
[agent]
name = "{name}"
state_dir = "state"
catalog = {json.dumps(url)}
transfers = 2
backoff_s = 0.2
lease_s = {_LEASE_S}
renew_s = 0.5
[listen]
host = "127.0.0.1"
port = {port}
[sources.main]
archive = "main"
host = "127.0.0.1"
port = {pacs.port}
aet = "{pacs.aet}"
ae_titles = ["{name.upper()}"]
retrieve = "c-move"
lanes = 2
grace_s = 0.3
[destinations.store]
url = "file://{store}"
[[rules]]
name = "everything"
copy_to = ["store"]
"""
    folder.mkdir()
    path = folder / "cloudmig.toml"
    path.write_text(text)
    return path


def _command(config: Path, command: str) -> list[str]:
    return [sys.executable, "-m", "cloudmig", "--config", str(config), command, "--json"]


def _done(config: Path, command: str) -> dict[str, Any]:
    done = subprocess.run(
        _command(config, command), capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


class Pair:
    """Two agents, their PACS and what they share."""

    def __init__(self, folder: Path, url: str, pacs: ScriptedPacs) -> None:
        self.store = folder / "store"
        self.url = url
        self.pacs = pacs
        self.configs = []
        for name in ("one", "two"):
            port = free_port()
            pacs.send_to(name.upper(), "127.0.0.1", port)
            self.configs.append(_configuration(folder / name, name, url, pacs, port, self.store))

    @contextlib.contextmanager
    def running(self) -> Iterator[list[subprocess.Popen[bytes]]]:
        agents = [
            subprocess.Popen(
                _command(config, "run"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
            for config in self.configs
        ]
        try:
            yield agents
        finally:
            for agent in agents:
                agent.kill()
                agent.wait()
                assert agent.stdout is not None
                agent.stdout.close()

    def ledger(self) -> list[Any]:
        with Catalog.open(self.url) as catalog:
            events: list[Any] = []
            while page := catalog.ledger(events[-1].event_id if events else 0):
                events += page
            return events

    def truth(self) -> dict[str, set[str]]:
        return {each.sop_instance_uid: {each.data_set_sha256} for each in self.pacs.truth()}


@pytest.fixture
def pair(postgresql: PostgresqlCluster, tmp_path: Path) -> Iterator[Pair]:
    studies: tuple[Study, ...] = STUDIES
    with ScriptedPacs(studies, Script()) as pacs:
        pair = Pair(tmp_path, postgresql.fresh_url(), pacs)
        _done(pair.configs[0], "inventory")
        _done(pair.configs[0], "plan")
        yield pair


def _until(condition: Callable[[], object], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)


def _ended_well(agents: list[subprocess.Popen[bytes]]) -> None:
    for agent in agents:
        out, _ = agent.communicate(timeout=60)
        assert agent.returncode == 0, out[-3000:]


def test_no_study_is_moved_by_two_agents(pair: Pair) -> None:
    with pair.running() as agents:
        _ended_well(agents)

    events = pair.ledger()
    claims = Counter(each.study_instance_uid for each in events if each.kind == "study_claimed")
    owners = {each.detail["owner"] for each in events if each.kind == "study_claimed"}
    assert claims == {study.study_instance_uid: 1 for study in STUDIES}
    assert owners == {"one", "two"}
    assert set(pair.pacs.counters.retrieved_studies.values()) == {1}
    assert held_in_folder(pair.store) == pair.truth()
    _done(pair.configs[1], "verify")
    assert _done(pair.configs[0], "close")["closed"]


def test_an_agent_that_slept_past_its_lease_writes_nothing_any_more(pair: Pair) -> None:
    def held_by_one() -> list[Any]:
        with Catalog.open(pair.url) as catalog:
            return [row for row in catalog.transfers() if row.lease_owner == "one"]

    with pair.running() as agents:
        sleeper = agents[0]
        _until(held_by_one, 30)
        os.kill(sleeper.pid, signal.SIGSTOP)
        asleep = {row.study.study_instance_uid: row.attempt for row in held_by_one()}
        if not asleep:  # It had just finished what it held; nothing was proven yet.
            os.kill(sleeper.pid, signal.SIGCONT)
            pytest.skip("the agent held nothing at the moment it was stopped")
        agents[1].communicate(timeout=90)
        assert agents[1].returncode == 0
        os.kill(sleeper.pid, signal.SIGCONT)
        out, _ = sleeper.communicate(timeout=60)
        assert sleeper.returncode == 0, out[-3000:]

    events = pair.ledger()
    for study, attempt in asleep.items():
        taken_over = [
            each for each in events
            if each.study_instance_uid == study and each.kind == "study_claimed"
            and each.detail.get("lapsed_owner") == "one"
        ]  # fmt: skip
        assert len(taken_over) == 1
        after = [
            each for each in events
            if each.study_instance_uid == study and each.event_id > taken_over[0].event_id
        ]  # fmt: skip
        assert after, "somebody finished it"
        assert all(each.attempt > attempt for each in after), "a stale write was accepted"
    stored = Counter(each.study_instance_uid for each in events if each.kind == "study_stored")
    assert stored == {study.study_instance_uid: 1 for study in STUDIES}
    assert held_in_folder(pair.store) == pair.truth()
    _done(pair.configs[1], "verify")
    assert _done(pair.configs[1], "close")["closed"]


def test_two_agents_never_share_an_ae_title(pair: Pair) -> None:
    twin = pair.configs[1].read_text().replace('ae_titles = ["TWO"]', 'ae_titles = ["ONE"]')
    pair.configs[1].write_text(twin)
    with Catalog.open(pair.url) as catalog:
        catalog.register_agent("one", ["ONE"], 60.0)
    done = subprocess.run(
        _command(pair.configs[1], "run"), capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode in {2, 3}
    assert "ONE" in done.stdout + done.stderr


def _told(agent: subprocess.Popen[bytes], *kinds: str) -> list[dict[str, Any]]:
    """Read events until one of these kinds; return all that were read."""
    assert agent.stdout is not None
    read: list[dict[str, Any]] = []
    for line in agent.stdout:
        read.append(json.loads(line))
        if read[-1]["event"] in kinds:
            return read
    pytest.fail(f"no {kinds} in {read[-5:]}")


@pytest.mark.parametrize("comes_back_while", ["it waits", "it has not noticed"])
def test_an_agent_outlives_its_catalog_s_server(
    comes_back_while: str, pair: Pair, postgresql: PostgresqlCluster
) -> None:
    with pair.running() as [one, two]:
        two.kill()
        _told(one, "study.stored")
        postgresql.halt()
        if comes_back_while == "it waits":
            _told(one, "catalog.down")
        postgresql.serve()
        [*_, finished] = _told(one, "run.finished")
        one.communicate(timeout=60)

    assert one.returncode == 0
    assert finished["studies_stored"] <= len(STUDIES), "one may have ended without our knowing"
    stored = Counter(
        each.study_instance_uid for each in pair.ledger() if each.kind == "study_stored"
    )
    assert stored == {study.study_instance_uid: 1 for study in STUDIES}
    assert held_in_folder(pair.store) == pair.truth()
    _done(pair.configs[0], "verify")
    assert _done(pair.configs[0], "close")["closed"]


@pytest.mark.parametrize("command", [["run"], ["copy", "--to", "store"]])
def test_an_agent_may_start_before_its_catalog_s_server(
    command: list[str], pair: Pair, postgresql: PostgresqlCluster
) -> None:
    postgresql.halt()
    agent = subprocess.Popen(
        [*_command(pair.configs[0], command[0]), *command[1:]], stdout=subprocess.PIPE
    )
    try:
        [*_, down] = _told(agent, "catalog.down")
        postgresql.serve()
        out, _ = agent.communicate(timeout=60)
    finally:
        agent.kill()

    assert "does not answer" in down["message"]
    assert agent.returncode == 0, out
    if command == ["run"]:
        assert held_in_folder(pair.store) == pair.truth()


@pytest.mark.parametrize("how", ["for too long", "when a person says stop"])
def test_an_agent_does_not_wait_for_ever_for_its_catalog(
    how: str, pair: Pair, postgresql: PostgresqlCluster
) -> None:
    for config in pair.configs:
        patience_s = 1 if how == "for too long" else 600
        config.write_text(
            config.read_text().replace("[[rules]]", f"outage_max_s = {patience_s}\n[[rules]]")
        )
    with pair.running() as [one, two]:
        two.kill()
        _told(one, "study.stored")
        postgresql.halt()
        try:
            _told(one, "catalog.down")
            if how != "for too long":
                os.kill(one.pid, signal.SIGINT)
            [*_, error] = _told(one, "error")
            one.communicate(timeout=60)
        finally:
            postgresql.serve()

    if how == "for too long":
        assert one.returncode == 3
        assert "does not answer" in error["error"]["message"]
        assert "PostgreSQL runs" in error["error"]["hint"]
    else:
        assert one.returncode == 130
        assert error["error"]["kind"] == "Stopped"
    assert _done(pair.configs[1], "inventory"), "the next command goes on"
