"""kill -9 of `cloudmig run` while it fills three real homes: what is there in the end is exact.

The moments are seeded, and counted in what the PACS has sent. CLOUDMIG_CRASH_SEEDS says how many.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path

import pytest

from tests.peers.corpus import corpus_pairs, generated_archive
from tests.peers.homes import ThreeHomes
from tests.peers.judge import Finding
from tests.peers.launch import Dcmqrscp
from tests.peers.loading import held, load
from tests.peers.migration import Running, equations, run_cloudmig

KILLS = int(os.environ.get("CLOUDMIG_CRASH_SEEDS", "3"))
STUDIES = 8
COMMAND_MAX_S = 300.0


@pytest.mark.timeout(600 + 60 * KILLS)
def test_whenever_the_run_is_killed_each_home_is_exact_in_the_end(tmp_path: Path) -> None:
    draw = random.Random("three homes")
    generated = generated_archive(studies=STUDIES)
    with (
        ThreeHomes() as homes,
        Dcmqrscp(homes.lanes, profile="assoc-nodelay", pairs=corpus_pairs()) as pacs,
    ):
        truth = held(load(pacs, generated.files))
        configuration = homes.write_configuration(tmp_path, pacs, "c-move")
        for command in ("inventory", "plan"):
            assert run_cloudmig(configuration, command, time_max_s=COMMAND_MAX_S).exit_code == 0

        killed_after = []
        for _ in range(KILLS):
            so_far = homes.to_agent.stored.total()
            enough = so_far + draw.randint(1, 1 + 2 * len(truth) // (KILLS + 1))
            with Running(configuration, "run") as run:
                while run.process.poll() is None and homes.to_agent.stored.total() < enough:
                    run.pause()
                if run.process.poll() is not None:
                    break  # Nothing was left to send.
                run.kill()
            killed_after.append(homes.to_agent.stored.total())
        last = run_cloudmig(configuration, "run", time_max_s=COMMAND_MAX_S)
        verified = run_cloudmig(configuration, "verify", time_max_s=COMMAND_MAX_S)
        closing = equations(run_cloudmig(configuration, "close", time_max_s=COMMAND_MAX_S))
        sent = Counter(homes.times_sent(truth).values())
        verdicts = homes.judge(truth)

    print(f"killed after {killed_after} of {len(truth)} instances; sent, times: {sent}")
    assert killed_after, "it was too quick to be killed"
    assert (last.exit_code, verified.exit_code) == (0, 0), last.stderr + verified.stderr
    assert closing.closed
    assert closing.instances.adds_up
    for verdict in verdicts.values():
        assert verdict.problems == []
        assert {each.finding for each in verdict.differences} <= {Finding.EQUAL_ELEMENTS}
        assert verdict.counts == verdicts["archive"].counts
