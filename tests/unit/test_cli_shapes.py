"""What programs read from `--json` is pinned; UIDs in it are pseudonyms."""

from __future__ import annotations

import datetime as dt
import json
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from cloudmig.agent.copy_choice import CopyForecast
from cloudmig.agent.copying import CopySummary
from cloudmig.agent.giving_up import GivingUpSummary
from cloudmig.agent.sla.alarms import AlarmChange
from cloudmig.agent.sla.probing import StoreProbe
from cloudmig.agent.verdicts import VerdictSummary
from cloudmig.catalog.cloud_verdicts import Word
from cloudmig.catalog.giving_up import Fate, GivingUp
from cloudmig.catalog.records import (
    BadInstance,
    CopyRow,
    QuarantineItem,
    StatusCounts,
    TransferRow,
    UnexplainedStudy,
)
from cloudmig.catalog.side_by_side import DestinationCounts
from cloudmig.catalog.statement import Equation, Statement
from cloudmig.cli import (
    choosing,
    close,
    copy,
    give_up,
    quarantine,
    side_by_side,
    sla,
    status,
    verdicts,
    verify,
)
from cloudmig.cli.invocation import Invocation, LogLevel
from cloudmig.cloud.error_budget import TierStanding, standing
from cloudmig.cloud.percentiles import Percentiles
from cloudmig.cloud.probe_retrieval import ProbeResult
from cloudmig.cloud.retrieval_samples import RetrievalSample
from cloudmig.errors import ConfigError
from cloudmig.model.extra_object import ExtraObject
from cloudmig.model.quarantine import QuarantineReason
from cloudmig.model.references import StudyRef
from cloudmig.model.service_levels import ServiceLevels
from cloudmig.model.states import CopyState, TransferState
from cloudmig.pipeline.report import ClosingStatement
from cloudmig.pipeline.verification import Finding, VerifySummary
from cloudmig.telemetry import Pseudonyms

GOLDEN = Path(__file__).parents[1] / "golden" / "cli"
NAMES = Pseudonyms(b"k" * 32)
STUDY = StudyRef("1.2.276.0.7230010.3.1.2.1")
INSTANCE = "1.2.276.0.7230010.3.1.2.1.5"
ITEM = QuarantineItem(
    1, "main", STUDY, INSTANCE, QuarantineReason.CONFLICT,
    {"destination": "archive", "PatientName": "CANARY^NAME", "differences": ["(0010,0010)"]},
    dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC),
)  # fmt: skip
OBJECT = QuarantineItem(
    0, "main", ExtraObject("archive", "v1/main/CANARY^NAME/1.2.276.0.1.2.3"), None,
    QuarantineReason.STRANGER,
    {"destination": "archive", "study_instance_uid": STUDY.study_instance_uid},
    dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC),
)  # fmt: skip


def a_closing() -> ClosingStatement:
    statement = Statement(
        source=None,
        studies=Equation(12, 9, 1, {"recent stay": 1}, {"stored": 1}),
        instances=Equation(120, 90, 10, {"recent stay": 10}, {"stored": 10}),
        verdicts={"READ_BACK": 8, "STORE_CHECKSUM": 1}, weak_copies=1, quarantine={"conflict": 1},
        excluded_uncounted=0, quarantined_uncounted=0, beyond_inventory=2, late_copies=0,
    )  # fmt: skip
    return ClosingStatement(
        statement, 0, ("something is unexplained",), (UnexplainedStudy("main", STUDY, "stored"),),
        (ITEM, OBJECT), Path("state/reports/closing.html"),
        disagreements={"main": ["the source refuses every patient ID prefix"]},
        given_up={"dr": 4},
    )  # fmt: skip


def a_verification() -> VerifySummary:
    findings = [
        Finding("main", "archive", STUDY.study_instance_uid, INSTANCE, "altered"),
        Finding("main", "archive", STUDY.study_instance_uid, "", "manifest missing"),
    ]
    return VerifySummary(3, 30, 2, 1, 0, findings, Counter({"READ_BACK": 2}))


def a_collection() -> VerdictSummary:
    finding = Finding("main", "archive", STUDY.study_instance_uid, INSTANCE, "wrong class")
    words = Counter({Word.AGREED: 3, Word.DIFFERS: 1, Word.OLDER: 1})
    return VerdictSummary(6, words, extras=1, restores=1, findings=[finding])


def a_probe() -> list[StoreProbe]:
    at = dt.datetime(2026, 11, 22, 9, tzinfo=dt.UTC)
    samples = [
        RetrievalSample(
            at=at.isoformat(), probe=at.isoformat(), how="bucket", tier="STANDARD", outcome="read",
            first_byte_s=0.25, first_instance_s=0.5, study_s=1.0 + number,
        )
        for number in range(3)
    ]  # fmt: skip
    samples.append(replace(samples[0], outcome="failed", cause="HTTP503"))
    samples.append(replace(samples[0], tier="GLACIER", outcome="cold", promised_s=18_000.0))
    tiers = dict(standing(ServiceLevels(), samples))
    change = AlarmChange("archive", "STANDARD", breached=True, burnt=tiers["STANDARD"].burnt)
    return [StoreProbe("archive", ProbeResult(at, tuple(samples), tiers, 1), [change])]


def a_status() -> StatusCounts:
    return StatusCounts(
        studies={"main": 12},
        transfers={"main": {TransferState.STORED: 11, TransferState.QUARANTINED: 1}},
        copies={"archive": {CopyState.STORED: 11}},
        instances_held=110, bytes_held=1_100_000, quarantine={QuarantineReason.CONFLICT: 1},
    )  # fmt: skip


def a_forecast() -> CopyForecast:
    origins, skipped = Counter({"archive": 10, "third": 2}), Counter({"archived": 3})
    return CopyForecast(12, 120, 1_200_000, planned=2, origins=origins, skipped=skipped)


def a_copying() -> CopySummary:
    return CopySummary(
        10, 100, 1_000_000, quarantined=1, origins=Counter({"archive": 10}),
        skipped=Counter({"not verified": 1}), damaged=[(STUDY.study_instance_uid, "archive")],
        duration_s=2.5, halted="", hint="",
    )  # fmt: skip


def a_giving_up() -> tuple[GivingUp, GivingUpSummary]:
    fates = Counter({Fate.OTHERS: 10, Fate.INSTEAD: 2, Fate.UNDER_WAY: 1})
    return GivingUp("dr", "sold", instead="third"), GivingUpSummary(fates, objects_settled=3)


def two_destinations() -> dict[str, DestinationCounts]:
    return {
        "archive": DestinationCounts(
            Counter({CopyState.STORED: 1, CopyState.VERIFIED: 10}),
            Counter({"READ_BACK": 8, "CLOUD": 2}), 110, 1_100_000,
        ),
        "dr": DestinationCounts(Counter({CopyState.OWED: 11})),
    }  # fmt: skip


def one_study() -> side_by_side.StudyCopies:
    at = dt.datetime(2026, 11, 22, 9, tzinfo=dt.UTC)
    copies = (
        CopyRow(
            1, "archive", "STANDARD_IA", CopyState.VERIFIED, "k", "0" * 64, 2, 10, 5_000, "SET", 0,
            "READ_BACK", at, at,
        ),
        CopyRow(
            2, "dr", "", CopyState.FAILED, "k", "0" * 64, 1, 10, 5_000, "SET", 1, "READ_BACK",
            None, at,
        ),
    )  # fmt: skip
    row = TransferRow(
        1, "main", STUDY, TransferState.PLANNED, "the archive", 0, None, 3, 0, None, None, 10,
        copies,
    )  # fmt: skip
    bad = [BadInstance(INSTANCE, "altered", "k"), BadInstance("", "manifest altered", "m")]
    findings = {"archive": [], "dr": bad}
    return side_by_side.StudyCopies("main", STUDY.study_instance_uid, row, findings, [ITEM])


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("close", close.document(a_closing(), NAMES)),
        ("verify", verify.document(a_verification(), NAMES)),
        ("verdicts", verdicts.document(a_collection(), NAMES)),
        ("quarantine-object", quarantine.document(OBJECT, NAMES)),
        ("status", status.document(a_status(), two_destinations())),
        ("copy-dry-run", copy.forecast_document("dr", a_forecast())),
        ("copy", copy.finished_document("dr", a_copying())),
        ("give-up", give_up.document(*a_giving_up())),
        ("status-study", side_by_side.study_document(one_study(), NAMES)),
        ("sla-probe", sla.document(a_probe())),
        ("quarantine-item", quarantine.document(ITEM, NAMES)),
    ],
)
def test_the_shape_is_as_pinned(name: str, document: dict[str, object]) -> None:
    path = GOLDEN / f"{name}.json"
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    if os.environ.get("CLOUDMIG_REWRITE_GOLDEN"):
        path.write_text(text)

    assert text == path.read_text()
    assert "1.2.276" not in text
    assert "CANARY" not in text


def test_the_equation_of_a_refused_closing_shows_what_is_unexplained() -> None:
    words = close.equation_words("studies", a_closing().statement.studies)

    assert words == (
        "studies: 12 in the inventory = 9 verified + 1 quarantined + 1 excluded + 1 UNEXPLAINED"
    )


def test_why_studies_could_not_be_read_is_told_beside_the_table() -> None:
    [probe] = a_probe()
    altered = replace(probe.result.samples[0], outcome="wrong", cause="altered")

    assert sla.trouble_words([*probe.result.samples, altered]) == [
        "STANDARD: 1 study could not be read (HTTP503)",
        "STANDARD: 1 study came back wrong (altered)",
    ]


def test_what_waits_is_counted_as_what_it_is() -> None:
    manifest = replace(
        OBJECT, study=ExtraObject("archive", "v1/main/8c/1.2/manifest/1.json.gz"),
        reason=QuarantineReason.EVIDENCE_DAMAGED,
    )  # fmt: skip

    assert quarantine.waiting_words([manifest]) == "1 damaged manifest"
    assert quarantine.waiting_words([ITEM, ITEM, OBJECT, manifest]) == (
        "1 study, 1 object in no manifest and 1 damaged manifest"
    )


def test_the_times_of_a_probe_are_whole_on_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    slow = Percentiles(0.123456, 117.6, 7101.0)
    measures = ("first_byte_s", "first_instance_s", "study_s")
    tiers = [
        TierStanding(
            tier=tier, samples=1000, missed=20, wrong=0, failed=0, cold=0, burnt=2.34,
            percentiles=dict.fromkeys(measures, slow) if tier != "DEEP_ARCHIVE" else {},
        )
        for tier in ("DEEP_ARCHIVE", "INTELLIGENT_TIERING")
    ]  # fmt: skip

    sla.show_tiers(Invocation(Path("x"), False, LogLevel.ERROR), "archive", tiers)

    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "archive",
        "tier                 studies  missed  burnt",
        "DEEP_ARCHIVE           1,000      20  234%",
        "INTELLIGENT_TIERING    1,000      20  234%",
        "tier                 time until   p50     p95    p99",
        "INTELLIGENT_TIERING  first byte   123 ms  118 s  118 min",
        "                     first image  123 ms  118 s  118 min",
        "                     whole study  123 ms  118 s  118 min",
    ]


def test_who_names_an_instance_is_told_to_name_its_study() -> None:
    with pytest.raises(ConfigError, match="of an instance") as caught:
        choosing.study_named(NAMES.of(INSTANCE, "in"))

    assert "Name its study (st-...)" in caught.value.hint
