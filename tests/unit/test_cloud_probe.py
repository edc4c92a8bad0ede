"""What counts as a good read: the right bytes in time; and what is made of the rest."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import pytest

from cloudmig import manifest
from cloudmig.cloud.error_budget import missed, standing
from cloudmig.cloud.probe_retrieval import ProbeResult, probe
from cloudmig.cloud.reading import ArchivedStudy, OpenImage, ReadFailed
from cloudmig.cloud.retrieval_samples import RetrievalSample
from cloudmig.cloud.sampling import SampledStudy, place_of
from cloudmig.dicom.digest import FileDigests
from cloudmig.manifest import InstanceRecord, Manifest
from cloudmig.model.instance import Location
from cloudmig.model.service_levels import DICOMWEB, ServiceLevels, TierLevel

AT = dt.datetime(2026, 11, 22, 9, tzinfo=dt.UTC)
SECRET_UID = "1.2.840.99999.1"


class Clock:
    """Time passes only where somebody says so."""

    def __init__(self) -> None:
        self.time_s = 1000.0

    def __call__(self) -> float:
        return self.time_s


@dataclass
class Archive:
    """Studies of `images` objects in memory: a sampler, a manifest store and a reader in one."""

    clock: Clock
    studies: int = 1
    images: int = 3
    tier: str = "STANDARD"
    how: str = "bucket"
    seed: str = "a"
    byte_after_s: float = 0.1
    image_after_s: float = 0.2
    search_after_s: float | None = None
    stored: dict[str, bytes] = field(default_factory=dict)
    opened: list[str] = field(default_factory=list)
    fault: Exception | None = None
    fault_at: int = 0
    seen: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for number in range(1, self.studies + 1):
            for image in range(self.images):
                key = f"{SECRET_UID}.{number}/{image}"
                self.stored[key] = key.encode() * 10

    def uids(self) -> list[str]:
        return [f"{SECRET_UID}.{number}" for number in range(1, self.studies + 1)]

    def records(self, uid: str) -> list[InstanceRecord]:
        return [
            InstanceRecord(
                series_instance_uid=f"{uid}.1", sop_instance_uid=f"{uid}.1.{image}",
                sop_class_uid="1.2", transfer_syntax_uid="1.2",
                size_bytes=10 * len(f"{uid}/{image}"),
                file_sha256=hashlib.sha256(f"{uid}/{image}".encode() * 10).hexdigest(),
                dataset_sha256="", location=Location(f"{uid}/{image}"),
            )
            for image in range(self.images)
        ]  # fmt: skip

    def manifest(self, uid: str) -> tuple[bytes, str]:
        return manifest.encode(
            Manifest(
                archive="main", study_instance_uid=uid, revision=1, previous_sha256="",
                source={}, destination="store", created_at="", completeness="SET",
                instances=self.records(uid),
            )
        )  # fmt: skip

    def strata(self) -> Sequence[str]:
        return [f"{self.tier}|2020|CT|S"]

    def pick(self, stratum: str, count: int) -> Sequence[SampledStudy]:
        ordered = sorted(self.uids(), key=place_of)[:count]
        return [SampledStudy(uid, stratum, uid, self.manifest(uid)[1]) for uid in ordered]

    def fetch(self, key: str) -> bytes:
        return self.manifest(key)[0]

    @contextlib.contextmanager
    def open(self, study_instance_uid: str, record: InstanceRecord) -> Iterator[OpenImage]:
        assert record.sop_instance_uid.startswith(study_instance_uid)
        self.opened.append(record.location.key)
        if self.fault is not None and len(self.opened) > self.fault_at:
            raise self.fault
        yield OpenImage(self.tier, self._pieces(self.stored[record.location.key]))

    def _pieces(self, body: bytes) -> Iterator[bytes]:
        self.clock.time_s += self.byte_after_s
        yield body[:5]
        self.clock.time_s += self.image_after_s - self.byte_after_s
        yield body[5:]

    def agrees(self, found: FileDigests, record: InstanceRecord) -> bool:
        return (found.size_bytes, found.file_sha256) == (record.size_bytes, record.file_sha256)

    def search(self, study: SampledStudy) -> bool:
        self.clock.time_s += self.search_after_s or 0
        return self.search_after_s is not None


#: One GET at a time: the clock of the test belongs to one thread.
LEVELS = ServiceLevels(objective=0.5, samples=4, reads_at_once=1)


def run(archive: Archive, levels: ServiceLevels = LEVELS, **changes: object) -> ProbeResult:
    settings: dict[str, object] = {
        "manifests": archive, "at": AT, "name": lambda uid: f"st-{place_of(uid)[:6]}",
        "clock": archive.clock,
    }  # fmt: skip
    return probe(levels, archive, [archive], **settings | changes)  # type: ignore[arg-type]


def test_a_study_is_timed_to_its_first_byte_its_first_image_and_its_end() -> None:
    [sample] = run(Archive(Clock())).samples

    assert sample.outcome == "read"
    assert sample.first_byte_s == pytest.approx(0.1)
    assert sample.first_instance_s == pytest.approx(0.2)
    assert sample.study_s == pytest.approx(0.6)
    assert (sample.instances, sample.tier, sample.how) == (3, "STANDARD", "bucket")
    assert sample.size_bytes == sum(each.size_bytes for each in Archive(Clock()).records(
        f"{SECRET_UID}.1"
    ))  # fmt: skip


def test_no_identifier_is_in_what_is_told() -> None:
    result = run(Archive(Clock(), studies=3))
    told = repr(result.samples) + json.dumps(result.document()) + "".join(result.emf("cloudmig"))

    assert SECRET_UID not in told
    assert "st-" in told


@pytest.mark.parametrize(
    ("changed", "cause"),
    [(lambda body: body[:-1] + b"?", "altered"), (lambda body: body[:-1], "truncated")],
)
@pytest.mark.parametrize("image", [0, 2])
def test_a_quick_wrong_answer_is_no_good_one(changed, cause: str, image: int) -> None:  # noqa: ANN001
    archive = Archive(Clock())
    key = f"{SECRET_UID}.1/{image}"
    archive.stored[key] = changed(archive.stored[key])

    result = run(archive)

    assert [(each.outcome, each.cause) for each in result.samples] == [("wrong", cause)]
    assert result.tiers["STANDARD"].burnt == pytest.approx(2.0)
    assert not result.tiers["STANDARD"].percentiles, "a wrong answer has no latency"


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (ReadFailed("HTTP503"), "HTTP503"),
        (TimeoutError("v1/main/SECRET"), "TimeoutError"),
        (ConnectionResetError(), "ConnectionResetError"),
    ],
)
def test_an_error_is_a_sample_and_counts_against_the_budget(fault: Exception, cause: str) -> None:
    result = run(Archive(Clock(), studies=4, fault=fault, fault_at=6))

    assert sorted(each.outcome for each in result.samples) == ["failed", "failed", "read", "read"]
    assert {each.cause for each in result.samples} == {"", cause}
    assert result.tiers["STANDARD"].failed == 2
    assert result.tiers["STANDARD"].burnt == pytest.approx(1.0)
    assert not result.breached, "the whole budget, and no more"


def test_an_error_of_botocore_is_told_by_its_code() -> None:
    fault = RuntimeError("An error occurred for v1/main/SECRET")
    fault.response = {"Error": {"Code": "SlowDown"}}  # type: ignore[attr-defined]

    [sample] = run(Archive(Clock(), fault=fault)).samples

    assert (sample.outcome, sample.cause) == ("failed", "SlowDown")


def test_a_manifest_that_is_another_is_a_failed_read() -> None:
    archive = Archive(Clock())
    archive.fetch = lambda _: b"x"  # type: ignore[method-assign]

    [sample] = run(archive).samples

    assert (sample.outcome, sample.cause, sample.tier) == ("failed", "manifest altered", "STANDARD")


def test_an_archived_study_counts_by_its_promise_and_not_as_an_error() -> None:
    archive = Archive(Clock(), studies=4, tier="DEEP_ARCHIVE", fault=ArchivedStudy("DEEP_ARCHIVE"))

    result = run(archive)

    assert {(each.outcome, each.promised_s) for each in result.samples} == {("cold", 43200.0)}
    tier = result.tiers["DEEP_ARCHIVE"]
    assert (tier.cold, tier.missed, tier.burnt, tier.breached) == (4, 0, 0.0, False)


def test_a_study_that_a_lifecycle_rule_moved_is_of_the_tier_it_lies_in() -> None:
    [sample] = run(Archive(Clock(), fault=ArchivedStudy("GLACIER"))).samples

    assert (sample.tier, sample.promised_s) == ("GLACIER", 18000.0)
    assert sample.stratum.startswith("STANDARD|")


def test_a_study_that_cannot_be_read_and_has_no_promise_misses() -> None:
    [sample] = run(Archive(Clock(), fault=ArchivedStudy("INTELLIGENT_TIERING"))).samples

    assert missed(LEVELS, sample) == ("restore_s",)


def test_an_endpoint_is_a_tier_of_its_own_and_is_asked_a_query() -> None:
    clock = Clock()
    bucket = Archive(clock)
    endpoint = Archive(clock, how="dicomweb", tier=DICOMWEB, search_after_s=0.7)

    result = probe(
        LEVELS, bucket, [bucket, endpoint], manifests=bucket, at=AT, name=lambda _: "",
        clock=clock,
    )  # fmt: skip

    assert [(each.tier, each.how) for each in result.samples] == [
        ("STANDARD", "bucket"), (DICOMWEB, "dicomweb"),
    ]  # fmt: skip
    assert result.samples[0].query_s is None
    assert result.samples[1].query_s == pytest.approx(0.7)
    assert result.samples[1].first_byte_s == pytest.approx(0.1), "beside the query"


def test_what_the_bucket_cannot_read_no_endpoint_is_asked_for() -> None:
    bucket = Archive(Clock(), fault=ArchivedStudy("GLACIER"))
    endpoint = Archive(bucket.clock, how="dicomweb")

    probe(LEVELS, bucket, [bucket, endpoint], manifests=bucket, at=AT, name=lambda _: "")

    assert endpoint.opened == []


def test_what_there_is_no_time_for_is_left_out_and_is_no_failure() -> None:
    archive = Archive(Clock(), studies=4)

    result = run(archive, time_left_s=lambda: 1001.0 - archive.clock.time_s)

    assert [each.outcome for each in result.samples] == ["read"]
    assert result.left_out == 3


@pytest.mark.parametrize(
    ("level", "what"),
    [
        (TierLevel(first_byte_s=0.09), ("first_byte_s",)),
        (TierLevel(first_instance_s=0.19), ("first_instance_s",)),
        (TierLevel(study_s=0.5, study_bytes_per_s=1e9), ("study_s",)),
        (TierLevel(study_s=0.5, study_bytes_per_s=100.0), ()),
        (TierLevel(), ()),
    ],
)
def test_a_level_is_missed_by_name(level: TierLevel, what: tuple[str, ...]) -> None:
    levels = replace(LEVELS, tiers={"STANDARD": level})
    [sample] = run(Archive(Clock()), levels).samples

    assert missed(levels, sample) == what


def a_sample(outcome: str = "read", **told: object) -> RetrievalSample:
    settings: dict[str, object] = {
        "at": "2026-11-22T09:00:00Z", "probe": "2026-11-22T09:00:00Z", "how": "bucket",
        "tier": "STANDARD", "outcome": outcome,
    }  # fmt: skip
    return RetrievalSample(**settings | told)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("bad", "good", "burnt", "breached"),
    [(0, 60, 0.0, False), (3, 57, 1.0, False), (4, 56, 4 / 3, True), (60, 0, 20.0, True)],
)
def test_the_budget_burnt_is_the_bad_share_over_what_may_be_bad(
    bad: int, good: int, burnt: float, breached: bool
) -> None:
    samples = [a_sample("failed")] * bad + [a_sample(study_s=1.0)] * good

    tier = standing(ServiceLevels(objective=0.95), samples)["STANDARD"]

    assert tier.burnt == pytest.approx(burnt)
    assert tier.breached is breached


@pytest.mark.parametrize(("took_s", "what"), [(40_000.0, ()), (43_201.0, ("restore_s",))])
def test_a_real_restore_is_held_against_its_promise(took_s: float, what: tuple[str, ...]) -> None:
    sample = a_sample("restored", tier="DEEP_ARCHIVE", restore_s=took_s, promised_s=43_200.0)

    assert missed(LEVELS, sample) == what


def test_the_metrics_have_exactly_the_dimensions_that_alarms_name() -> None:
    archive = Archive(Clock(), studies=4, fault=TimeoutError(), fault_at=3)

    lines = [json.loads(line) for line in run(archive).emf("cloudmig")]

    whole, tier, times = lines
    for line, dimensions in ((whole, []), (tier, ["Tier"]), (times, ["Tier"])):
        [told] = line["_aws"]["CloudWatchMetrics"]
        assert told["Namespace"] == "cloudmig"
        assert told["Dimensions"] == [dimensions]
        assert {each["Name"] for each in told["Metrics"]} <= line.keys()
    assert (whole["RetrievalBreach"], whole["StudiesSampled"]) == (1, 4)
    assert (tier["Tier"], tier["RetrievalBreach"], tier["RetrievalErrors"]) == ("STANDARD", 1, 3)
    assert tier["ErrorBudgetBurnt"] == pytest.approx(1.5)
    assert times["FirstByte"] == [pytest.approx(0.1)]


def test_a_metric_never_holds_more_values_than_it_may() -> None:
    lines = run(Archive(Clock(), studies=250, images=1), replace(LEVELS, samples=250)).emf("x")

    values = [json.loads(line).get("WholeStudy", []) for line in lines]
    assert [len(each) for each in values] == [0, 0, 100, 100, 50]


def test_a_probe_that_draws_nothing_says_so() -> None:
    result = run(Archive(Clock(), studies=0))

    assert not result.samples
    assert not result.breached
    [line] = result.emf("cloudmig")
    assert json.loads(line)["RetrievalBreach"] == 0
