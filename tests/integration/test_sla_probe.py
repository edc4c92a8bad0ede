"""`cloudmig sla probe` and `report` over three tiers of a real S3 server."""

from __future__ import annotations

import asyncio
import datetime as dt
import statistics
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloudmig.agent.sla.probing import StoreProbe, probe_stores
from cloudmig.agent.sla.report import make_report
from cloudmig.agent.sla.samples_folder import keep_samples
from cloudmig.bootstrap import open_catalog_only
from cloudmig.cloud.retrieval_samples import RetrievalSample
from cloudmig.config import load
from tests.contract.moto_bucket import moto_endpoint
from tests.integration.retrieval_world import SlowProxy, TieredArchive

STUDIES = 200
#: Half of the studies may miss: other work on the machine shall not raise an alarm.
QUICK = """
objective = 0.5
samples = 2
tiers.STANDARD = { first_byte_s = 0.4 }
tiers.GLACIER_IR = { first_byte_s = 0.4 }
"""
#: What no busy machine misses: only what is wrong shall count.
PATIENT = "{ first_byte_s = 30, first_instance_s = 30, study_s = 60 }"
PATIENCE = f"tiers.STANDARD = {PATIENT}\ntiers.GLACIER_IR = {PATIENT}"
SLOW_S = 0.5
LEDGER_KINDS = ("sla_breached", "sla_recovered")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TieredArchive]:
    with moto_endpoint() as endpoint:
        folder = tmp_path_factory.mktemp("archive")
        yield TieredArchive.migrated(folder, endpoint, studies=STUDIES)


@pytest.fixture(autouse=True)
def _as_migrated(archive: TieredArchive) -> Iterator[None]:
    """Each test begins with the plain configuration, no samples and no alarm."""
    archive.configure()
    yield
    for path in sorted(archive.state_dir.glob("sla/**/*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()


def test_percentiles_are_those_of_the_raw_samples(archive: TieredArchive) -> None:
    archive.configure(sla=PATIENCE)

    code, answer = archive.cloudmig("sla", "probe", "--samples", str(STUDIES))

    assert code == 0
    [samples] = archive.raw_samples()
    assert Counter(each["tier"] for each in samples) == {
        "STANDARD": 66, "GLACIER_IR": 67, "DEEP_ARCHIVE": 67,
    }  # fmt: skip
    assert len({each["study"] for each in samples}) == STUDIES
    told = answer["destinations"]["archive"]["tiers"]
    for tier in ("STANDARD", "GLACIER_IR"):
        for measure in ("first_byte_s", "first_instance_s", "study_s"):
            times = [each[measure] for each in samples if each["tier"] == tier]
            hundredths = statistics.quantiles(times, n=100, method="inclusive")
            for percent in (50, 95, 99):
                ours = told[tier]["percentiles"][measure][f"p{percent}"]
                assert ours == float(np.percentile(times, percent))
                assert ours == pytest.approx(hundredths[percent - 1], rel=1e-12)
    cold = told["DEEP_ARCHIVE"]
    assert (cold["cold"], cold["failed"], cold["burnt"]) == (67, 0, 0.0)
    assert not cold["percentiles"], "nothing was read there"
    assert {each["promised_s"] for each in samples if each["tier"] == "DEEP_ARCHIVE"} == {43200.0}


async def probed(
    archive: TieredArchive, *, samples: int | None = None, seed: str | None = "the same"
) -> StoreProbe:
    async with open_catalog_only(load(archive.world.config)) as parts:
        parts.reporter = archive.world.reporter
        [found] = await probe_stores(parts, samples=samples, seed=seed)
        return found


async def reported(archive: TieredArchive, *more: Path) -> dict[str, Any]:
    async with open_catalog_only(load(archive.world.config)) as parts:
        return (await make_report(parts, days=2, more=more)).document()


async def test_a_slow_store_raises_the_alarm_once_and_recovery_clears_it_once(
    archive: TieredArchive,
) -> None:
    told = archive.world.reporter.told
    told.clear()
    before = {kind: len(archive.world.ledger(kind)) for kind in LEDGER_KINDS}
    async with SlowProxy(archive.endpoint).running() as proxy:
        archive.configure(endpoint=proxy.endpoint, sla=QUICK)
        assert not (await probed(archive)).result.breached
        proxy.delay_s = SLOW_S
        slow = await probed(archive)
        code, answer = await asyncio.to_thread(archive.cloudmig, "sla", "probe", "--seed", "a")
        proxy.delay_s = 0.0
        quick = [await probed(archive) for _ in range(2)]

    assert [each.result.breached for each in (slow, *quick)] == [True, False, False]
    assert code == 1
    assert answer["breached"]
    assert not answer["changes"], "it is known already"
    for tier in ("STANDARD", "GLACIER_IR"):
        assert slow.result.tiers[tier].percentiles["first_byte_s"].p50 > SLOW_S
        assert slow.result.tiers[tier].burnt == 2.0
    assert not slow.result.tiers["DEEP_ARCHIVE"].missed
    changes = [(kind, fields["tier"]) for kind, fields in told]
    assert changes == [
        ("sla.breached", "GLACIER_IR"), ("sla.breached", "STANDARD"),
        ("sla.recovered", "GLACIER_IR"), ("sla.recovered", "STANDARD"),
    ]  # fmt: skip
    for kind in LEDGER_KINDS:
        events = archive.world.ledger(kind)[before[kind] :]
        tiers = [event.detail["tier"] for event in events]
        assert tiers == ["GLACIER_IR", "STANDARD"]


async def test_a_seed_draws_the_same_studies_again_and_no_seed_draws_others(
    archive: TieredArchive,
) -> None:
    drawn = []
    for seed in ("one", "one", None, None):
        found = await probed(archive, samples=6, seed=seed)
        drawn.append({each.study for each in found.result.samples})

    assert all(len(each) == 18 for each in drawn)
    assert drawn[0] == drawn[1]
    assert drawn[2] != drawn[3]


def test_a_damaged_a_cut_and_a_lost_image_burn_the_budget(archive: TieredArchive) -> None:
    archive.configure(sla=PATIENCE)
    victims = [study for study in archive.world.studies if study.series[0].modality == "CT"][:3]
    keys = [archive.key_of(study.study_instance_uid) for study in victims]
    held = [archive.s3.get_object(Bucket=archive.bucket, Key=key)["Body"].read() for key in keys]
    damaged = held[0][:-1] + bytes([held[0][-1] ^ 1])
    archive.s3.put_object(Bucket=archive.bucket, Key=keys[0], Body=damaged)
    archive.s3.put_object(Bucket=archive.bucket, Key=keys[1], Body=held[1][:-9])
    archive.s3.delete_object(Bucket=archive.bucket, Key=keys[2])
    try:
        code, answer = archive.cloudmig("sla", "probe", "--samples", str(STUDIES))
        _, report = archive.cloudmig("sla", "report")
    finally:
        for key, body in zip(keys, held, strict=True):
            archive.s3.put_object(Bucket=archive.bucket, Key=key, Body=body)

    tier = answer["destinations"]["archive"]["tiers"]["STANDARD"]
    assert (tier["wrong"], tier["failed"], tier["missed"]) == (2, 1, 3)
    assert tier["burnt"] == pytest.approx(3 / 66 / 0.05)
    assert code == 0
    worst = report["stores"]["archive"]["worst"]
    assert {(each["outcome"], each["cause"]) for each in worst[:3]} == {
        ("wrong", "altered"), ("wrong", "truncated"), ("failed", "NoSuchKey"),
    }  # fmt: skip


async def test_the_report_names_nobody_and_counts_what_the_probes_kept(
    archive: TieredArchive,
) -> None:
    archive.configure(sla=f"tiers.GLACIER_IR = {PATIENT}\ntiers.STANDARD.first_byte_s = 0.000001")
    for _ in range(2):
        await probed(archive, samples=20)
    code, answer = archive.cloudmig("sla", "report", "--days", "2")

    assert code == 0
    store = answer["stores"]["archive"]
    assert {tier: each["samples"] for tier, each in store["tiers"].items()} == {
        "STANDARD": 40, "GLACIER_IR": 40, "DEEP_ARCHIVE": 40,
    }  # fmt: skip
    assert all(len(each["over_time"]) == 2 for each in store["tiers"].values())
    assert list(answer["alarms"]["archive"]) == ["STANDARD"]
    assert store["tiers"]["STANDARD"]["burnt"] == pytest.approx(20)
    page = Path(answer["report"]).read_text(encoding="utf-8")
    text = page + str(answer)
    assert not [uid for uid in archive.uids() if uid in text]
    assert store["worst"][0]["study"].startswith("st-")
    assert store["worst"][0]["study"] in page
    assert page.count("<svg") == 1 + 2 * 3, "the budgets, and three measures of two readable tiers"
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_restores_that_functions_kept_elsewhere_are_reported_with_their_samples(
    archive: TieredArchive, tmp_path: Path
) -> None:
    at = dt.datetime.now(dt.UTC)
    now = at.isoformat(timespec="seconds")
    study = RetrievalSample(
        at=now, probe=now, how="bucket", tier="DEEP_ARCHIVE", outcome="cold", store="cloud",
    )  # fmt: skip
    restore = replace(study, how="restore", outcome="restored", restore_s=60.0, promised_s=90.0)
    folders = [tmp_path / "samples", tmp_path / "restores"]
    for folder, sample in zip(folders, (study, restore), strict=True):
        keep_samples(folder, [sample], at)

    code, answer = archive.cloudmig(
        "sla", "report", "--from", str(folders[0]), "--from", str(folders[1])
    )

    store = answer["stores"]["cloud"]
    assert (code, store["tiers"]["DEEP_ARCHIVE"]["cold"]) == (0, 1)
    assert [each["took_s"] for each in store["restores"]] == [60.0]


async def test_samples_that_functions_kept_are_reported_beside_our_own(
    archive: TieredArchive, tmp_path: Path
) -> None:
    await probed(archive, samples=2)
    [path] = archive.state_dir.glob("sla/samples/**/*.jsonl.gz")
    copied = tmp_path / "from-the-bucket" / path.name
    copied.parent.mkdir()
    path.rename(copied)

    assert (await reported(archive))["stores"] == {}
    code, answer = archive.cloudmig("sla", "report", "--from", str(tmp_path))
    await probed(archive, samples=2, seed="others")

    assert code == 0
    assert counted(answer) == 6
    assert counted(await reported(archive, tmp_path)) == 12


def counted(answer: dict[str, Any]) -> int:
    tiers = answer["stores"]["archive"]["tiers"].values()
    return sum(each["samples"] for each in tiers)


def test_a_store_that_is_gone_is_a_breach_and_no_crash(archive: TieredArchive) -> None:
    archive.configure(endpoint="http://127.0.0.1:9", sla=QUICK)

    code, answer = archive.cloudmig("sla", "probe")

    assert code == 1
    tiers = answer["destinations"]["archive"]["tiers"].values()
    assert sum(each["failed"] for each in tiers) == 6


def test_where_there_is_no_object_store_nothing_can_be_promised(
    archive: TieredArchive, tmp_path: Path
) -> None:
    text = archive.world.config.read_text(encoding="utf-8")
    begin = text.index("[destinations.archive]")
    end = text.index("[[rules]]")
    store = f'[destinations.archive]\nurl = "file://{tmp_path}"\n'
    archive.world.config.write_text(text[:begin] + store + text[end:], encoding="utf-8")

    code, answer = archive.cloudmig("sla", "probe")

    assert code == 2
    assert "no destination is an s3:// store" in answer["error"]["message"]
