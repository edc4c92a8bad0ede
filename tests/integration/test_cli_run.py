"""The commands as processes, against a scripted PACS and a folder of copies."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cloudmig.demo.archive import demo_archive
from cloudmig.demo.pacs import Fault, Script, ScriptedPacs
from tests.integration.folder_world import FolderWorld, write_studies

ROOT = Path(__file__).parents[2]
STUDIES = demo_archive(10, today=dt.date(2026, 3, 1), seed=4, well_behaved=True).studies


def started(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "cloudmig", "--config", str(folder / "cloudmig.toml"), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def cloudmig(folder: Path, *arguments: str) -> tuple[int, str, str]:
    with started(folder, *arguments) as process:
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err


def on_a_terminal(folder: Path, *arguments: str) -> str:
    """Return what a person sees; the command must end well."""
    ours, theirs = pty.openpty()
    try:
        command = ["-m", "cloudmig", "--config", str(folder / "cloudmig.toml"), *arguments]
        with subprocess.Popen(
            [sys.executable, *command],
            env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"},
            stdout=theirs,
        ) as process:
            os.close(theirs)
            shown = b""
            with contextlib.suppress(OSError):  # EIO: nobody writes to it any more.
                while piece := os.read(ours, 65536):
                    shown += piece
            assert process.wait(60) == 0
    finally:
        os.close(ours)
    return shown.decode()


def planned(folder: Path, pacs: ScriptedPacs) -> None:
    address, url = f"{pacs.host}:{pacs.port}", f"file://{folder}/copies"
    for arguments in (
        ["init", "--pacs", address, "--aet", pacs.aet, "--bucket", url],
        ["inventory"],
        ["plan"],
    ):
        code, _, err = cloudmig(folder, *arguments)
        assert code == 0, err


def test_a_migration_by_its_commands_ends_closed_and_names_nobody(tmp_path: Path) -> None:
    with ScriptedPacs(STUDIES) as pacs:
        planned(tmp_path, pacs)
        shown = ""
        for arguments in (
            ["run", "--json", "--log-level", "debug"], ["status", "--json"],
            ["verify", "--json"], ["quarantine", "list", "--json"], ["close", "--json"],
        ):  # fmt: skip
            code, out, err = cloudmig(tmp_path, *arguments)
            assert code == 0, err
            shown += out + err

    closing = json.loads(out)
    assert closing["closed"] is True
    assert closing["studies"]["verified"] == len(STUDIES)
    for study in STUDIES:
        assert study.study_instance_uid not in shown
        assert study.patient.name not in shown
        assert study.patient.patient_id not in shown


def test_an_instance_that_a_verdict_named_is_found_by_its_pseudonym(tmp_path: Path) -> None:
    """Also after its repair, when nothing but the ledger knows it any more."""
    with ScriptedPacs(STUDIES[:1]) as pacs:
        planned(tmp_path, pacs)
        assert cloudmig(tmp_path, "run")[0] == 0
        spoiled = max((tmp_path / "copies").rglob("*.dcm"))
        spoiled.write_bytes(spoiled.read_bytes()[:-2])
        code, out, _ = cloudmig(tmp_path, "verify", "--json")
        assert code == 1
        [finding] = json.loads(out)["findings"]
        assert cloudmig(tmp_path, "run")[0] == 0

    code, out, err = cloudmig(tmp_path, "status", "--resolve", finding["instance"], "--json")

    assert code == 0, err
    assert json.loads(out) == {
        "pseudonym": finding["instance"],
        "study_instance_uid": STUDIES[0].study_instance_uid,
        "sop_instance_uid": spoiled.name.removesuffix(".dcm"),
    }
    assert cloudmig(tmp_path, "status", "--resolve", "in-000000000000")[0] == 2


def test_what_a_study_in_quarantine_lacks_is_named_at_every_copy(tmp_path: Path) -> None:
    """After a release, too: it is asked for again, and missing once more it comes back."""
    world = FolderWorld(tmp_path)
    paths = write_studies(world.export, STUDIES[:1])
    lost = [STUDIES[0].instances()[n].sop_instance_uid for n in (1, 3)]
    for arguments in (["inventory"], ["plan"]):
        assert cloudmig(tmp_path, *arguments)[0] == 0
    paths[1].unlink()
    paths[3].unlink()
    uid = STUDIES[0].study_instance_uid
    for turn in range(2):
        if turn == 1:
            assert cloudmig(tmp_path, "quarantine", "release", uid, "--note", "gone")[0] == 0
        assert cloudmig(tmp_path, "run")[0] == 1
        assert cloudmig(tmp_path, "verify")[0] == 0

        code, out, err = cloudmig(tmp_path, "quarantine", "show", uid, "--json")

        assert code == 0, err
        names = json.loads(out)["lacking"]["store"]
        resolved = [cloudmig(tmp_path, "status", "--resolve", n, "--json")[1] for n in names]
        found = [json.loads(each)["sop_instance_uid"] for each in resolved]
        assert sorted(found) == sorted(lost)
    shown = cloudmig(tmp_path, "quarantine", "show", uid)[1]
    assert f"listed, and not at store: {', '.join(names)}" in shown


def test_of_several_sources_the_one_that_refuses_is_named(tmp_path: Path) -> None:
    """What the others answered before is shown: it is in the catalog."""
    write_studies(FolderWorld(tmp_path).export, STUDIES[:1])
    config = tmp_path / "cloudmig.toml"
    with ScriptedPacs(STUDIES[:1], Script(callers=frozenset({"KNOWN"}))) as pacs:
        config.write_text(
            f"{config.read_text()}\n[sources.other]\narchive = 'other'\nhost = '{pacs.host}'\n"
            f"port = {pacs.port}\naet = '{pacs.aet}'\n"
        )

        code, out, err = cloudmig(tmp_path, "inventory")

        assert code == 3
        assert "main: 1 study found" in out
        assert "cloudmig: source other: the association was rejected" in err
        assert cloudmig(tmp_path, "plan")[0] == 0
        code, out, _ = cloudmig(tmp_path, "run", "--json")

    finished = json.loads(out.splitlines()[-1])
    assert code == 3
    assert finished["halted"].startswith("source other: the association was rejected")
    assert finished["stopped"] is False


def test_a_run_says_what_was_left_out_before_it(tmp_path: Path) -> None:
    with ScriptedPacs(STUDIES[:1]) as pacs:
        address, url = f"{pacs.host}:{pacs.port}", f"file://{tmp_path}/copies"
        cloudmig(tmp_path, "init", "--pacs", address, "--aet", pacs.aet, "--bucket", url)

        assert "Next: cloudmig inventory" in on_a_terminal(tmp_path, "run")
        assert cloudmig(tmp_path, "inventory")[0] == 0
        assert "1 study is not planned. Next: cloudmig plan" in on_a_terminal(tmp_path, "run")
        assert cloudmig(tmp_path, "plan")[0] == 0
        assert "Next: cloudmig verify" in on_a_terminal(tmp_path, "run")
    parts = [cloudmig(tmp_path, "verify", "--part", f"{n}/2")[1] for n in (1, 2)]
    assert "Next: the other parts, then cloudmig close" in "".join(parts)


@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupted_run_ends_with_130_and_the_next_one_goes_on(
    tmp_path: Path, times: int
) -> None:
    script = Script(fault=Fault.HANG, fault_retrieves=1000, fault_at_store=1, hang_s=1.0)
    with ScriptedPacs(STUDIES, script) as pacs:
        planned(tmp_path, pacs)
        with started(tmp_path, "run", "--json") as process:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["event"] == "run.started"
            for _ in range(times):
                process.send_signal(signal.SIGINT)
                line = process.stdout.readline()
                while line and json.loads(line)["event"] != "run.stopping":
                    line = process.stdout.readline()
            _, err = process.communicate(timeout=60)
            assert process.returncode == 130, err
            assert "Traceback" not in err

        pacs.script = Script()
        code, out, err = cloudmig(tmp_path, "run", "--json")

    assert code == 0, err
    finished = json.loads(out.splitlines()[-1])
    assert finished["event"] == "run.finished"
    assert not finished["halted"]
