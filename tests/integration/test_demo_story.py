"""The demo itself: the real command line, a real SIGKILL, and a judge."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cloudmig.demo.story import run_demo

pytest.importorskip("moto.server")


@pytest.mark.slow
def test_the_demo_ends_with_nothing_unexplained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A killed run resumes, both equations hold, and the bucket is what the PACS holds."""
    exit_code = run_demo(studies=30, as_json=True, folder=tmp_path / "demo")

    told = json.loads(capsys.readouterr().out)
    assert told["problems"] == []
    assert exit_code == 0
    assert told["studies_found"] == 30 > told["studies_shown_at_once"]
    assert 0 < told["interrupted_at"] < told["instances_stored"]
    assert all(equation["holds"] for equation in told["equations"].values())
    assert {finding["reason"] for finding in told["quarantine"]} == {
        "conflict",
        "missing_instances",
    }
    assert told["judge"]["found"] == told["judge"]["expected"] == told["instances_to_move"]
    assert Path(told["manifest"]).exists()
    assert Path(told["report"]).exists()
