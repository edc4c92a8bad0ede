"""What can be said of infra/ without applying it: formatted, valid, scanned, and explained."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.infra.deployment import EXAMPLES, INFRA, copy_of_infra
from tests.infra.terraform_cli import Terraform

MODULES = sorted(path for path in (INFRA / "modules").iterdir() if path.is_dir())
FOLDERS = [*MODULES, *(INFRA / "examples" / name for name in EXAMPLES)]
#: A module's README answers these, for whoever has to decide, to pay and to clean up.
HEADINGS = ("## What it creates", "## What it costs", "## How to remove it")

_SKIP = re.compile(r"^\s*#\s*checkov:skip=(CKV\w+):(.*)$", re.MULTILINE)


def texts_of(folder: Path) -> dict[str, str]:
    """Return every Terraform file of one folder."""
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.tf"))}


def test_every_file_is_formatted(terraform: Terraform) -> None:
    answer = terraform.run(
        INFRA, "fmt", "-check", "-recursive", "-no-color", timeout_s=60, may_fail=True
    )

    assert answer.returncode == 0, answer.stdout


def test_every_example_validates(terraform: Terraform, example: str, tmp_path: Path) -> None:
    folder = copy_of_infra(tmp_path) / "examples" / example
    terraform.run(folder, "init", "-input=false", "-backend=false", timeout_s=120)

    told = json.loads(terraform.run(folder, "validate", "-json", timeout_s=120).stdout)

    assert told["valid"] is True
    assert told["diagnostics"] == []


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_variable_and_output_is_described(folder: Path) -> None:
    for name, text in texts_of(folder).items():
        for kind, block, body in re.findall(r'(?ms)^(variable|output) "(\w+)" \{\n(.*?)^\}', text):
            described = re.search(r'(?m)^  description = "(.*)"$', body)
            assert described, f"{name}: {kind} {block} is not described"
            assert described[1].endswith((".", ".)")), f"{name}: {kind} {block}: a sentence"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_readme_says_what_it_makes_costs_and_how_it_goes(folder: Path) -> None:
    text = (folder / "README.md").read_text(encoding="utf-8")
    sections = re.split(r"(?m)^(?=## )", text)

    for heading in HEADINGS:
        [section] = [each for each in sections if each.startswith(f"{heading}\n")]
        assert len(section.split()) > 20, f"{heading} says next to nothing"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_no_provider_is_pinned_to_a_place(folder: Path) -> None:
    """A lock file would name a registry's host; README.md says how everybody makes their own."""
    tracked = subprocess.run(
        ["git", "ls-files", "--", str(folder)],
        cwd=INFRA, capture_output=True, text=True, check=False,
    ).stdout.splitlines()  # fmt: skip

    assert not [name for name in tracked if name.endswith((".terraform.lock.hcl", ".tfstate"))]
    for name, text in texts_of(folder).items():
        assert "registry." not in text, name
        assert "version" not in text or "required_version" in text or name != "versions.tf"


def test_checkov_finds_exactly_what_is_skipped_with_a_reason(
    infra_tools: Path, tmp_path: Path
) -> None:
    """The scan runs without the skips: one that fires no longer is as wrong as one missing."""
    copy = copy_of_infra(tmp_path)
    skipped = set()
    for path in sorted(copy.rglob("*.tf")):
        text = path.read_text(encoding="utf-8")
        for check, reason in _SKIP.findall(text):
            assert len(reason.split()) >= 5, f"{path.name}: {check} is skipped without a reason"
            skipped.add((check, "/" + path.relative_to(copy).as_posix()))
        path.write_text(_SKIP.sub("", text), encoding="utf-8")

    found = checkov(infra_tools, copy)

    assert found - skipped == set(), "found and not skipped"
    assert skipped - found == set(), "skipped, and no longer found"


def checkov(tools: Path, folder: Path) -> set[tuple[str, str]]:
    """Return every finding as check and file."""
    answer = subprocess.run(
        [str(tools / "checkov"), "-d", str(folder), "--framework", "terraform", "-o", "json",
         "--quiet", "--compact", "--skip-download"],
        capture_output=True, text=True, timeout=300, check=False, cwd=folder,
    )  # fmt: skip
    told = json.loads(answer.stdout)
    assert told["summary"]["parsing_errors"] == 0
    assert told["summary"]["resource_count"] > 100, "the modules are scanned with the examples"
    return {(each["check_id"], each["file_path"]) for each in told["results"]["failed_checks"]}


def test_the_scanner_sees_a_fault(infra_tools: Path, tmp_path: Path) -> None:
    """A scan that finds nothing may have looked at nothing."""
    shutil.copytree(INFRA / "modules" / "image_bucket", tmp_path / "module")
    main = tmp_path / "module" / "main.tf"
    text = main.read_text(encoding="utf-8")
    main.write_text(text.replace("block_public_acls       = true", "block_public_acls = false"))

    answer = subprocess.run(
        [str(infra_tools / "checkov"), "-d", str(tmp_path), "--framework", "terraform", "-o",
         "json", "--quiet", "--compact", "--skip-download", "--check", "CKV_AWS_53"],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip

    assert json.loads(answer.stdout)["summary"]["failed"] == 1
