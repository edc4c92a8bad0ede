"""CI ends with one line that is true, whatever failed and wherever."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / ".ci" / "closing_line.py"


def a_report(folder: Path, target: str, *, tests: int, failures: int = 0, errors: int = 0) -> None:
    (folder / f"{target}.xml").write_text(
        f'<testsuites><testsuite tests="{tests}" failures="{failures}" errors="{errors}"'
        ' skipped="1" time="1.5"/></testsuites>'
    )


def closing_line(folder: Path, *failed: str) -> tuple[str, int]:
    ended = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder), *failed],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return ended.stdout.splitlines()[-1], ended.returncode


def test_good_runs_are_one_good_line(tmp_path: Path) -> None:
    a_report(tmp_path, "test", tests=10)
    a_report(tmp_path, "test-peers", tests=5)
    a_report(tmp_path, "test-infra", tests=3)

    assert closing_line(tmp_path) == ("15 passed, 3 skipped in 4.50s", 0)


def test_failures_of_every_run_are_counted(tmp_path: Path) -> None:
    a_report(tmp_path, "test", tests=10, failures=2)
    a_report(tmp_path, "test-peers", tests=5, errors=1)
    a_report(tmp_path, "test-infra", tests=3)

    line, code = closing_line(tmp_path, "test", "test-peers")

    assert line == "2 failed, 12 passed, 3 skipped, 1 errors in 4.50s"
    assert code == 1


@pytest.mark.parametrize("failed", [("check",), ("setup",), ("test-peers",)])
def test_a_target_that_failed_without_a_failed_test_counts_too(
    tmp_path: Path, failed: tuple[str, ...]
) -> None:
    a_report(tmp_path, "test", tests=10)
    a_report(tmp_path, "test-peers", tests=5)
    a_report(tmp_path, "test-infra", tests=3)

    assert closing_line(tmp_path, *failed) == ("15 passed, 3 skipped, 1 errors in 4.50s", 1)


def test_a_run_that_left_no_report_is_no_success(tmp_path: Path) -> None:
    a_report(tmp_path, "test", tests=10)

    assert closing_line(tmp_path) == ("9 passed, 1 skipped, 2 errors in 1.50s", 1)


def test_nothing_at_all_is_no_success(tmp_path: Path) -> None:
    assert closing_line(tmp_path, "setup")[1] == 1
