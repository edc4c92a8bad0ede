"""One of three homes is down for a while: nobody waits for it, and it catches up by itself.

CLOUDMIG_ACCEPTANCE=1 leaves it down for ten minutes, otherwise for some seconds;
CLOUDMIG_OUTAGE_S says how many.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.peers.corpus import corpus_pairs, generated_archive
from tests.peers.homes import HOMES, ThreeHomes
from tests.peers.judge import Finding
from tests.peers.launch import Dcmqrscp
from tests.peers.loading import held, load
from tests.peers.migration import Running, equations, run_cloudmig

ACCEPTANCE = os.environ.get("CLOUDMIG_ACCEPTANCE") == "1"
OUTAGE_S = float(os.environ.get("CLOUDMIG_OUTAGE_S", "600" if ACCEPTANCE else "15"))
STUDIES = 25 if ACCEPTANCE else 8
COMMAND_MAX_S = 300.0
#: Its breaker probes it every half a minute; every study then has a turn.
CATCH_UP_MAX_S = 240.0


@pytest.mark.timeout(OUTAGE_S + CATCH_UP_MAX_S + 5 * COMMAND_MAX_S)
def test_a_store_that_is_down_holds_back_nobody_and_catches_up_by_itself(tmp_path: Path) -> None:
    generated = generated_archive(studies=STUDIES)
    with (
        ThreeHomes() as homes,
        Dcmqrscp(homes.lanes, profile="assoc-nodelay", pairs=corpus_pairs()) as pacs,
    ):
        truth = held(load(pacs, generated.files))
        studies = len({each.study_instance_uid for each in truth})
        configuration = homes.write_configuration(tmp_path, pacs, "c-move")
        for command in ("inventory", "plan"):
            _run(configuration, command)

        with Running(configuration, "run") as run:
            run.until(lambda: bool(run.events("run.started")), time_max_s=60)
            homes.viewer.kill()
            down_since = time.monotonic()
            others_s = run.until(
                lambda: _has_all(configuration, studies, "archive", "dr"), time_max_s=COMMAND_MAX_S
            )
            copies = _copies(configuration)
            assert copies["viewer"]["stored"] < studies, "the outage came too late"
            verified = _run(configuration, "verify")
            others = _copies(configuration)
            run.until(lambda: time.monotonic() - down_since > OUTAGE_S, time_max_s=OUTAGE_S + 60)
            down_s = time.monotonic() - down_since
            sent_while_down = homes.times_sent(truth)
            homes.viewer.start()
            back_since = time.monotonic()
            assert run.exit_code(time_max_s=CATCH_UP_MAX_S) == 0, "nobody helped it"
            catch_up_s = time.monotonic() - back_since
        assert _has_all(configuration, studies, "viewer")
        sent = homes.times_sent(truth)
        _run(configuration, "verify")
        closing = equations(_run(configuration, "close"))
        verdicts = homes.judge(truth)

    print(
        f"{studies} studies, {len(truth)} instances; the others were stored after {others_s:.1f} s"
    )
    print(f"down for {down_s:.0f} s, caught up within {catch_up_s:.0f} s")
    print(f"while it was down: {others}, {verified.document}")
    print(
        f"times sent while it was down: {Counter(sent_while_down.values())},"
        f" in the end: {Counter(sent.values())}"
    )
    assert others_s < down_s
    assert set(sent_while_down.values()) == {1}, "nobody could take what was sent again"
    assert set(sent.values()) == {1}, "what is verified elsewhere is copied from there"
    for name in ("archive", "dr"):
        assert others[name]["verified"] == studies, "verified while the third is down"
    assert closing.closed
    assert closing.instances.adds_up
    for verdict in verdicts.values():
        assert verdict.problems == []
        wrong = verdict.named(Finding.MISSING, Finding.DIFFERS, Finding.EXTRA, Finding.TWICE)
        assert wrong == []


def _run(configuration: Path, command: str) -> Any:  # noqa: ANN401 - it is JSON
    answer = run_cloudmig(configuration, command, time_max_s=COMMAND_MAX_S)
    assert answer.exit_code == 0, f"{command}: {answer.exit_code} {answer.stderr[-3000:]}"
    return answer


def _copies(configuration: Path) -> dict[str, dict[str, int]]:
    copies: dict[str, dict[str, int]] = _run(configuration, "status").document["destinations"]
    assert set(copies) == set(HOMES)
    return copies


def _has_all(configuration: Path, studies: int, *names: str) -> bool:
    copies = _copies(configuration)
    return all(copies[name]["stored"] + copies[name]["verified"] == studies for name in names)
