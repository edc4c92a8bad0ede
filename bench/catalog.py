"""Measure the catalog with a million studies in it: `python bench/catalog.py [STUDIES] [URL]`.

Prints summaries recorded a second, decisions planned a second, and how long a claim takes.
Exits with 1 when a floor of the issue is missed: 10,000 summaries/s, claims under 5 ms (p99).
"""

from __future__ import annotations

import datetime as dt
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from cloudmig.catalog import Catalog
from cloudmig.model.references import StudyRef
from cloudmig.model.states import TransferState
from cloudmig.model.study import Answer, StudySummary
from cloudmig.model.transfer import CopyPlan, Decision

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
FIRST_DAY = dt.date(2004, 1, 1)
PER_ANSWER = 5000
CLAIMS = 2000
SUMMARIES_A_SECOND_MIN = 10_000
CLAIM_P99_MAX_MS = 5.0


def studies(count: int) -> Iterator[StudySummary]:
    """Yield studies with UIDs and answers as long and as scattered as real ones."""
    chance = random.Random(1)
    for number in range(count):
        day = FIRST_DAY + dt.timedelta(days=number * 8000 // count)
        uid = f"1.2.840.113619.2.55.3.{chance.randrange(10**9)}.{chance.randrange(10**12)}.{number}"
        date = f"{day:%Y%m%d}" if number % 500 else ""
        yield StudySummary(
            StudyRef(uid), date, "101500", ("CT", "SR"), chance.randrange(1, 900), f"{number:032x}",
            {
                "StudyInstanceUID": uid, "StudyDate": date, "StudyTime": "101500",
                "PatientName": "DOE^JANE", "PatientID": str(number), "AccessionNumber": str(number),
                "StudyDescription": "CT CHEST WITH CONTRAST", "ModalitiesInStudy": "CT\\SR",
            },
        )  # fmt: skip


def answers(count: int) -> Iterator[list[StudySummary]]:
    batch = []
    for summary in studies(count):
        batch.append(summary)
        if len(batch) == PER_ANSWER:
            yield batch
            batch = []
    if batch:
        yield batch


def fill(catalog: Catalog, count: int) -> tuple[float, float]:
    """Record and plan everything. Return summaries a second over all, and over the last tenth."""
    sweep = catalog.begin_sweep("main", NOW)
    spent: list[float] = []
    for number, batch in enumerate(answers(count)):
        began = time.perf_counter()
        catalog.record_answer(sweep, Answer(f"date={number}", len(batch), "complete"), batch, NOW)
        spent.append(time.perf_counter() - began)
    catalog.finish_sweep(sweep, NOW, {})
    tail = spent[-max(1, len(spent) // 10) :]
    return count / sum(spent), len(tail) * PER_ANSWER / sum(tail)


def plan(catalog: Catalog) -> float:
    """Plan every study for one destination. Return decisions a second."""
    copies = (CopyPlan("archive", "STANDARD_IA"),)
    spent, count, after = 0.0, 0, None
    while page := catalog.studies("main", after=after, limit=10_000):
        after = page[-1].study_id
        began = time.perf_counter()
        catalog.record_plan(
            (Decision("main", one.study, "the archive", copies, 0) for one in page), NOW
        )
        spent += time.perf_counter() - began
        count += len(page)
    return count / spent


def claim(catalog: Catalog) -> list[float]:
    """Claim, and put every third back for later. Return milliseconds per claim, sorted."""
    spent = []
    for number in range(CLAIMS):
        began = time.perf_counter()
        job = catalog.claim_next("bench", lease_s=600, sources=["main"])
        spent.append((time.perf_counter() - began) * 1000)
        assert job is not None
        if number % 3 == 0:
            catalog.finish(job, TransferState.PLANNED, cause="bench", delay_s=3600)
    return sorted(spent)


def flush(folder: Path) -> float:
    """Return what this disk takes to flush 28 kB, as much as a claim writes: p99 in ms."""
    spent = []
    with (folder / "flushed").open("wb") as file:
        for _ in range(500):
            file.write(b"x" * 28_000)
            file.flush()
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            spent.append((time.perf_counter() - began) * 1000)
    return sorted(spent)[495]


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as folder:
        url = sys.argv[2] if len(sys.argv) > 2 else f"sqlite:///{folder}/catalog.db"
        with Catalog.open(url) as catalog:
            recorded, recorded_last = fill(catalog, count)
            planned = plan(catalog)
            claims = claim(catalog)
            began = time.perf_counter()
            catalog.statement()
            stated_s = time.perf_counter() - began
        flush_p99_ms = flush(Path(folder))
        file = Path(folder, "catalog.db")
        result = {
            "database": url.split(":", 1)[0],
            "studies": count,
            "summaries_per_second": round(recorded),
            "summaries_per_second_last_tenth": round(recorded_last),
            "decisions_per_second": round(planned),
            "claim_p50_ms": round(claims[len(claims) // 2], 2),
            "claim_p99_ms": round(claims[len(claims) * 99 // 100], 2),
            "claim_max_ms": round(claims[-1], 2),
            "disk_flush_p99_ms": round(flush_p99_ms, 2),
            "statement_s": round(stated_s, 2),
            "bytes_per_study": file.stat().st_size // count if file.exists() else None,
        }
    print(json.dumps(result, indent=2))
    missed = recorded_last < SUMMARIES_A_SECOND_MIN or result["claim_p99_ms"] >= CLAIM_P99_MAX_MS
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
