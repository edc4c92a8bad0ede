"""Strangers, dead letters, kills and silence: what may go wrong between the agent and the cloud."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from cloudmig.agent.verdicts import collect_verdicts
from cloudmig.catalog.cloud_verdicts import Word
from cloudmig.messages import ObjectVerdict, RestoreReport, StudyRequest, StudyVerdict, encode
from tests.integration.cloud_side import CloudSide
from tests.integration.migration_world import World, a_study, free_port
from tests.integration.verdict_world import SPOILED, STUDIES, UIDS, collect, migrated, serving

pytest_plugins = ["tests.contract.store_fixtures"]


def cloudmig(world: World, *words: str, wrapped: str = "") -> tuple[int, dict[str, Any]]:
    """Run a command and return its code and answer, of several lines the last.

    `wrapped` is Python that is run before it.
    """
    script = f"{wrapped}\nfrom cloudmig.cli.main import run\nrun({list(words)!r})"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=world.folder, capture_output=True, timeout=90,
        check=False, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert b"Traceback" not in done.stderr, done.stderr
    answer = done.stdout
    if not answer.startswith(b"{\n"):
        answer = (answer.splitlines() or [b""])[-1]
    return done.returncode, json.loads(answer) if answer.startswith(b"{") else {}


async def test_what_no_manifest_names_is_told_to_a_person_and_spoils_no_study(
    endpoint: str, tmp_path: Path
) -> None:
    cloud = CloudSide(endpoint)
    world = await migrated(cloud, tmp_path)
    stranger = cloud.images(UIDS[0])[0].rsplit("/", 1)[0] + "/CANARY^NAME.txt"
    cloud.s3.put_object(Bucket=cloud.name, Key=stranger, Body=b"hello")
    cloud.judge(UIDS[0])

    code, heard = cloudmig(world, "verdicts", "--json")
    assert (code, heard["agreed"], heard["extra_objects"]) == (1, 1, 1)
    assert world.states() == {UIDS[0]: "verified"}
    code, listed = cloudmig(world, "quarantine", "list", "--json")
    [item] = listed["items"]
    assert (item["reason"], item["source"]) == ("stranger", "main")
    assert "CANARY" not in json.dumps(listed)
    code, closing = cloudmig(world, "close", "--json")
    assert (code, closing["studies"]["verified"], closing["closed"]) == (1, 1, True)
    assert closing["extra_objects"] == 1, "what it ends with 1 for is said"
    assert "CANARY" not in Path(world.folder / closing["report"]).read_text()

    name = item["study"]
    _, resolved = cloudmig(world, "status", "--resolve", name, "--json")
    assert resolved["key"] == stranger
    assert resolved["location"] == f"s3://{cloud.name}/{stranger}"
    assert cloudmig(world, "quarantine", "show", name, "--json")[0] == 0
    assert cloudmig(world, "quarantine", "release", name, "--note", "a memo", "--json")[0] == 0
    assert cloudmig(world, "close", "--json")[0] == 0
    [event] = world.ledger("extra_object_released")
    assert event.detail["note"] == "a memo"
    cloud.judge(UIDS[0])
    assert cloudmig(world, "verdicts", "--json")[0] == 0


async def test_a_run_ends_with_1_while_a_stranger_of_before_waits(
    endpoint: str, tmp_path: Path
) -> None:
    cloud = CloudSide(endpoint)
    async with serving(cloud, tmp_path) as world:
        stranger = cloud.images(UIDS[0])[0].rsplit("/", 1)[0] + "/a-memo.txt"
        cloud.s3.put_object(Bucket=cloud.name, Key=stranger, Body=b"hello")
        cloud.judge(UIDS[0])
        assert (await collect(world)).extras == 1

        code, finished = cloudmig(world, "run", "--json")
        assert (code, finished["event"]) == (1, "run.finished")
        assert (finished["studies_quarantined"], finished["waiting"]) == (0, 1)
        [item] = cloudmig(world, "quarantine", "list", "--json")[1]["items"]
        cloudmig(world, "quarantine", "release", item["study"])
        assert cloudmig(world, "run", "--json")[0] == 0


async def test_an_orphan_is_a_finding_of_its_own(endpoint: str, tmp_path: Path) -> None:
    cloud = CloudSide(endpoint)
    world = await migrated(cloud, tmp_path)
    orphan = ObjectVerdict(
        bucket=cloud.name, prefix="", key="v1/main/00/1.2.3.4/1.2.3.5/1.2.3.6.dcm", archive="main",
        study_instance_uid="1.2.3.4", series_instance_uid="1.2.3.5", sop_instance_uid="1.2.3.6",
        finding="orphan", how="STREAMED", at="2026-03-01T00:00:00.000000Z", etag="abc",
    )  # fmt: skip
    good = replace(orphan, finding="")
    cloud.send(orphan, orphan, good, replace(orphan, bucket="elsewhere"))

    heard = await collect(world)

    assert heard.words == {Word.NOTED: 1, Word.OLDER: 1, Word.UNKNOWN: 1}
    assert (heard.extras, heard.good_objects, heard.differs) == (1, 1, True)
    assert list(world.quarantined().values()) == [{"orphan"}]
    assert cloud.waiting() == 0


async def test_three_bad_verdicts_bring_the_study_to_a_person(
    endpoint: str, tmp_path: Path
) -> None:
    cloud = CloudSide(endpoint, versioned=False)
    async with serving(cloud, tmp_path) as world:
        for failures in range(3):
            assert world.quarantined() == {}, failures
            [verdict] = _judge_spoiled(cloud)
            assert [each.finding for each in verdict.findings] == ["altered"]
            await collect(world)
            await world.run()

        assert world.quarantined() == {UIDS[0]: {"verification_failed"}}
        assert not (await world.close()).refused


def _judge_spoiled(cloud: CloudSide) -> list[StudyVerdict]:
    """Spoil what the newest manifest names: in an unversioned bucket the last repair."""
    newest = max(cloud.images(UIDS[0]), key=lambda key: (key.count("~r"), key))
    SPOILED["altered"](cloud, newest)
    return cloud.judge(UIDS[0])


async def test_killed_between_commit_and_delete_nothing_is_doubled(
    endpoint: str, tmp_path: Path
) -> None:
    cloud = CloudSide(endpoint)
    world = await migrated(cloud, tmp_path, 2)
    SPOILED["missing"](cloud, cloud.images(UIDS[1])[0])
    cloud.s3.put_object(Bucket=cloud.name, Key="v1/main/x", Body=b"y")
    cloud.judge(*UIDS[:2])
    kill = (
        "import os, signal\nfrom cloudmig.cloud.verdict_queue import SqsQueue\n"
        "SqsQueue.delete = lambda *_: os.kill(os.getpid(), signal.SIGKILL)"
    )

    code, _ = cloudmig(world, "verdicts", "--json", wrapped=kill)
    assert code == -9
    assert world.states() == {UIDS[0]: "verified", UIDS[1]: "planned"}
    with world.catalog() as catalog:
        before = len(catalog.ledger())
    assert cloud.waiting() == 2
    heard = {Word.OLDER: 0}
    deadline = time.monotonic() + 20
    while heard[Word.OLDER] < 2 and time.monotonic() < deadline:
        for word, count in (await collect(world)).words.items():
            heard[word] = heard.get(word, 0) + count

    assert heard == {Word.OLDER: 2}
    with world.catalog() as catalog:
        assert len(catalog.ledger()) == before
    assert cloud.waiting() == 0


async def test_what_cannot_be_read_ends_among_the_dead_letters(
    endpoint: str, tmp_path: Path
) -> None:
    cloud = CloudSide(endpoint)
    world = await migrated(cloud, tmp_path)
    [good] = cloud.judge(UIDS[0])
    request = StudyRequest(
        bucket=cloud.name, prefix="", archive="main", study_instance_uid=UIDS[0], why="asked",
        at="2026-03-01T00:00:00Z",
    )  # fmt: skip
    poison = [
        "not JSON", encode(request), encode(replace(good, differing=3)),
        encode(replace(good, study_instance_uid="../CANARY")),
        encode(replace(good, at="yesterday")),
    ]  # fmt: skip
    cloud.send(*poison)

    heard = await collect(world)
    assert (heard.words, heard.unreadable) == ({Word.AGREED: 1}, len(poison))
    told = world.reporter.named("verdict.unreadable")
    assert "CANARY" not in json.dumps(told)
    deadline = time.monotonic() + 30
    while cloud.waiting(cloud.dead_url) < len(poison) and time.monotonic() < deadline:
        await collect(world)

    assert cloud.waiting(cloud.dead_url) == len(poison)
    assert cloud.waiting() == 0
    assert cloudmig(world, "verdicts", "--json")[0] == 0
    cloud.send(poison[0])
    assert cloudmig(world, "verdicts", "--json")[0] == 1, "somebody must look at it"


async def test_a_queue_that_does_not_answer_stops_no_run_and_is_told_once(
    endpoint: str, tmp_path: Path
) -> None:
    cloud = CloudSide(endpoint)
    nowhere = f"http://127.0.0.1:{free_port()}"
    settings = {**cloud.settings, "verdict_endpoint": nowhere}
    world = World(tmp_path, [a_study(n) for n in range(1, 6)], destinations={"store": settings})
    with world.serving():
        summary = await world.migrate()

    assert (summary.studies_stored, summary.halted) == (5, "")
    assert len(world.reporter.named("verdicts.unreachable")) == 1
    code, told = cloudmig(world, "verdicts", "--json")
    assert (code, told["error"]["kind"]) == (3, "DestinationUnavailable")
    assert told["error"]["message"] == "the verdict queue of store: EndpointConnectionError"
    assert "cloudmig doctor" in told["error"]["hint"]


async def test_a_run_hears_the_cloud_while_it_runs(endpoint: str, tmp_path: Path) -> None:
    cloud = CloudSide(endpoint)
    async with serving(cloud, tmp_path, 2) as world:
        SPOILED["altered"](cloud, cloud.images(UIDS[0])[0])
        cloud.judge(*UIDS[:2])
        await world.run()
        assert world.states() == {UIDS[0]: "planned", UIDS[1]: "verified"}
        [difference] = world.reporter.named("verdict.difference")
        assert difference["finding"] == "altered"
        await world.run()
        cloud.judge(UIDS[0])
        await world.run()

    assert set(world.states().values()) == {"verified"}


async def test_following_goes_on_until_a_person_says_stop(endpoint: str, tmp_path: Path) -> None:
    cloud = CloudSide(endpoint)
    world = await migrated(cloud, tmp_path)
    stop = asyncio.Event()
    async with world.opened() as parts:
        following = asyncio.create_task(collect_verdicts(parts, stop=stop, follow=True))
        cloud.judge(UIDS[0])
        async with asyncio.timeout(30):
            while not world.reporter.named("verdict.agreed"):
                await asyncio.sleep(0.05)
        assert not following.done()
        stop.set()
        heard = await following

    assert (heard.words, heard.stopped) == ({Word.AGREED: 1}, True)


async def test_the_command_follows_as_lines_until_ctrl_c(endpoint: str, tmp_path: Path) -> None:
    cloud = CloudSide(endpoint)
    world = await migrated(cloud, tmp_path)
    cloud.judge(UIDS[0])
    following = subprocess.Popen(
        [sys.executable, "-m", "cloudmig", "verdicts", "--follow"], cwd=world.folder,
        stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    try:
        assert following.stdout is not None
        told: list[dict[str, Any]] = []
        while not told or told[-1]["event"] != "verdict.agreed":
            told.append(json.loads(following.stdout.readline()))
        following.send_signal(signal.SIGINT)
        rest, _ = following.communicate(timeout=30)
    finally:
        following.kill()
        following.wait()

    finished = json.loads(rest.splitlines()[-1])
    assert (following.returncode, finished["event"]) == (130, "verdicts.finished")
    assert (finished["messages"], finished["agreed"]) == (1, 1)
    assert UIDS[0] not in rest + json.dumps(told)


async def test_restores_are_in_the_ledger_and_in_the_status(endpoint: str, tmp_path: Path) -> None:
    cloud = CloudSide(endpoint)
    world = await migrated(cloud, tmp_path)
    [key, *_] = cloud.images()
    asked = RestoreReport(
        bucket=cloud.name, prefix="", key=key, storage_class="GLACIER", tier="Bulk",
        asked_at="2026-03-01T00:00:00Z", completed_at="", promised_s=43_200.0,
    )  # fmt: skip
    done = replace(asked, completed_at="2026-03-01T13:00:00Z", took_s=46_800.0)
    cloud.send(asked, done, asked)

    heard = await collect(world)
    _, status = cloudmig(world, "status", "--json")

    assert (heard.restores, heard.differs) == (2, False)
    assert status["restores"] == {"asked": 0, "completed": 1, "late": 1}
    assert set(status["verdicts"].values()) == {0}
    [event] = world.ledger("restore_completed")
    assert (event.study_instance_uid, event.detail["took_s"]) == (UIDS[0], 46_800.0)


def test_without_a_queue_the_command_says_what_to_set(tmp_path: Path) -> None:
    world = World(tmp_path, STUDIES[:1])
    with world.serving():
        code, told = cloudmig(world, "verdicts", "--json")

    assert code == 2
    assert "verdict_queue" in told["error"]["message"]
