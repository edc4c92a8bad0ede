"""What runs beside the PACS: the sample configuration is right, the unit and the image are shut."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cloudmig.cli.invocation import ExitCode
from cloudmig.config import Configuration, load
from tests.infra.conftest import Applied
from tests.infra.deployment import INFRA, ROOT

EDGE = INFRA / "edge"


@pytest.fixture(scope="module")
def sample() -> Configuration:
    return load(EDGE / "cloudmig.toml")


def test_the_sample_configuration_passes_the_real_loader(sample: Configuration) -> None:
    [first, second] = sample.rules

    assert sample.destinations["archive"].bucket == "hospital-images"
    assert first.keep_on_site
    assert tuple(second.copy_to) == ("archive",)


def test_what_terraform_tells_the_agent_passes_the_real_loader(
    applied: Applied, example: str, tmp_path: Path
) -> None:
    """The output goes into the file as it is: pasted over the sample's destinations."""
    told = applied(example).outputs()
    text = (EDGE / "cloudmig.toml").read_text(encoding="utf-8")
    before, rest = text.split("[destinations.archive]")
    path = tmp_path / "cloudmig.toml"
    destinations = told["cloudmig_toml"]
    names = re.findall(r"^\[destinations\.(\w+)\]", destinations, re.MULTILINE)
    rules = rest[rest.index("[[rules]]") :].replace('["archive"]', str(names).replace("'", '"'))
    path.write_text(before + destinations + rules, encoding="utf-8")

    configuration = load(path)

    assert set(configuration.destinations) == set(names)
    for destination in configuration.destinations.values():
        assert destination.bucket == told["image_bucket"]["bucket_name"]
        assert destination.prefix == told["image_bucket"]["prefix"].rstrip("/")
        assert destination.kms_key_id == told["image_bucket"]["kms_key_arn"]
        assert destination.verdict_queue == told["verification"]["verdict_queue_url"]


@pytest.fixture(scope="module")
def service() -> dict[str, list[str]]:
    """Return what the unit says under [Service]."""
    said: dict[str, list[str]] = {}
    section = ""
    for line in (EDGE / "cloudmig.service").read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = line
        elif section == "[Service]" and "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            said.setdefault(name, []).append(value)
    return said


def test_the_unit_may_do_nothing_but_its_work(service: dict[str, list[str]]) -> None:
    for name in (
        "NoNewPrivileges", "ProtectHome", "PrivateTmp", "PrivateDevices", "ProtectClock",
        "ProtectControlGroups", "ProtectHostname", "ProtectKernelLogs", "ProtectKernelModules",
        "ProtectKernelTunables", "RestrictNamespaces", "RestrictRealtime", "RestrictSUIDSGID",
        "LockPersonality", "MemoryDenyWriteExecute", "RemoveIPC",
    ):  # fmt: skip
        assert service[name] == ["yes"], name
    assert service["ProtectSystem"] == ["strict"]
    assert service["CapabilityBoundingSet"] == [""]
    assert service["User"] == ["cloudmig"]
    assert service["UMask"] == ["0077"]
    assert service["StateDirectoryMode"] == ["0700"]


def test_the_unit_knows_the_exit_codes(service: dict[str, list[str]]) -> None:
    """What a person must look at is not started again."""
    [never] = service["RestartPreventExitStatus"]
    [fine] = service["SuccessExitStatus"]

    assert {int(code) for code in never.split()} == {
        int(ExitCode.CONFIGURATION), int(ExitCode.HALTED),
    }  # fmt: skip
    assert {int(code) for code in fine.split()} | {
        0,
        int(never.split()[0]),
        int(never.split()[1]),
    } == {int(code) for code in ExitCode}
    assert service["KillSignal"] == ["SIGINT"]
    # 130 is told, too, when nobody takes the lines any more: nobody stopped that run.
    assert service["RestartForceExitStatus"] == [str(int(ExitCode.STOPPED))]


def test_a_stop_is_told_to_the_agent_and_not_to_its_children(
    service: dict[str, list[str]],
) -> None:
    """A comparison that is interrupted is undecided, and a conflict in the books for ever."""
    assert service["KillMode"] == ["mixed"]


def test_no_other_folder_gives_the_service_its_program(
    service: dict[str, list[str]], tmp_path: Path
) -> None:
    """`-m` looks into the current folder first: the state, or a checkout of another version."""
    (tmp_path / "cloudmig").mkdir()
    (tmp_path / "cloudmig" / "__init__.py").touch()
    (tmp_path / "cloudmig" / "__main__.py").write_text("print('another one')\n")
    said = " ".join(service["Environment"]).replace("/opt/cloudmig", str(ROOT)).split()

    ended = subprocess.run(
        [sys.executable, "-m", "cloudmig", "--version"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True,
        env={"PATH": os.environ["PATH"], **dict(each.split("=", 1) for each in said)},
    )  # fmt: skip

    assert ended.stdout.startswith("cloudmig ")
    for name in ("README.md", "Containerfile"):
        assert "PYTHONSAFEPATH=1" in (EDGE / name).read_text(encoding="utf-8"), name


def systemd_analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("no systemd-analyze on this machine")
    return subprocess.run(
        [program, *arguments, str(EDGE / "cloudmig.service")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_the_unit_is_understood_by_systemd() -> None:
    """The program is not installed on this machine; every word must be known."""
    answer = systemd_analyze("verify")

    assert "Unknown" not in answer.stderr
    assert "Failed to parse" not in answer.stderr


def test_systemd_itself_calls_the_unit_shut() -> None:
    """Of 10.0 at most 2.0: what is left is the network, which it needs."""
    answer = systemd_analyze("security", "--offline=true", "--threshold=20")

    assert answer.returncode == 0, answer.stdout[-200:]


def test_the_container_runs_as_nobody_in_particular_and_from_locked_packages() -> None:
    text = (EDGE / "Containerfile").read_text(encoding="utf-8")
    copied = re.findall(r"(?m)^COPY (?!--from)(.+) \S+$", text)

    assert re.search(r"(?m)^USER 10112:10112$", text)
    assert "--require-hashes -r /build/agent.lock" in text
    assert text.count("pip install") == 1
    # Podman's own format drops it with a warning.
    assert "HEALTHCHECK" in text
    readme = (EDGE / "README.md").read_text(encoding="utf-8")
    assert "podman build --format docker " in readme
    # As long as the unit waits; podman's ten seconds end in a kill.
    assert "--stop-timeout 120 " in readme
    assert "://" not in text, "where packages come from is not said here"
    for source in " ".join(copied).split():
        assert (ROOT / source).exists(), source


def test_the_unit_reads_as_an_ini_file() -> None:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(EDGE / "cloudmig.service", encoding="utf-8")

    assert parser.sections() == ["Unit", "Service", "Install"]
