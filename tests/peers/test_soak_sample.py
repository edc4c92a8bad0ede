"""A minute of the soak test: the machinery works, and nothing leaks fast."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.soak import Sample, growth, slope_per_s, sparkline

ROOT = Path(__file__).parents[2]
STEADY = Sample(
    at_s=0.0, rss_mb=200.0, descriptors=100, threads=50, associations=64, catalog_mb=1.0,
    instances=0,
)  # fmt: skip


def test_a_leak_is_seen_through_noise_and_noise_is_no_leak() -> None:
    noisy = [
        dataclasses.replace(STEADY, at_s=5.0 * n, rss_mb=200.0 + (25.0 if n % 7 == 3 else n % 3))
        for n in range(80)
    ]
    leaking = [dataclasses.replace(each, rss_mb=each.rss_mb + each.at_s / 20) for each in noisy]

    assert abs(growth(noisy)["rss_mb"]) < 1
    assert growth(leaking)["rss_mb"] == pytest.approx(19.75, abs=1)
    assert slope_per_s([]) == 0.0
    assert sparkline([1, 2, 3, 4, 5, 6, 7, 8]) == "▁▂▃▄▅▆▇█"


@pytest.mark.timeout(300)
def test_a_minute_of_sixty_four_associations_leaks_nothing(tmp_path: Path) -> None:
    result = tmp_path / "soak.json"
    # The buffers of all associations are still filling: a leak worth a name is faster than that.
    command = [sys.executable, "-m", "bench.soak", "--seconds", "60", "--studies", "2000"]
    command += ["--growth-mb", "40"]

    done = subprocess.run(
        [*command, "--result", str(result)], cwd=ROOT, capture_output=True, text=True, check=False
    )

    print(done.stdout, done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(result.read_text())
    assert told["associations_peak"] >= 64
    assert told["instances"] > 1000
    assert told["faults"] == []
