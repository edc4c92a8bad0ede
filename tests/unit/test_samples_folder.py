"""Which files of samples a report is made of."""

from __future__ import annotations

import datetime as dt
import shutil
from pathlib import Path

from cloudmig.agent.sla.samples_folder import keep_samples, kept_samples
from cloudmig.cloud.retrieval_samples import RetrievalSample

NOON = dt.datetime(2026, 3, 1, 12, 30, tzinfo=dt.UTC)


def a_sample(at: dt.datetime) -> RetrievalSample:
    return RetrievalSample(
        at=at.isoformat(), probe=at.isoformat(), how="bucket", tier="STANDARD", outcome="failed"
    )


def test_samples_before_the_days_of_the_report_are_left_out(tmp_path: Path) -> None:
    for days in (0, 10):
        at = NOON - dt.timedelta(days=days)
        keep_samples(tmp_path, [a_sample(at)], at)

    assert list(kept_samples(tmp_path, NOON - dt.timedelta(days=2))) == [a_sample(NOON)]


def test_a_file_that_was_copied_without_its_folders_counts(tmp_path: Path) -> None:
    """Its name begins with a time of day, which is no year."""
    path = keep_samples(tmp_path / "bucket", [a_sample(NOON)], NOON)
    flat = tmp_path / "flat"
    flat.mkdir()
    shutil.copy(path, flat)

    assert list(kept_samples(flat, NOON - dt.timedelta(days=2))) == [a_sample(NOON)]
