"""`terraform test` of every module and example: promises about plans, with a mocked provider."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.infra.deployment import EXAMPLES, INFRA, copy_of_infra, is_sample, lift_protection
from tests.infra.terraform_cli import Terraform

TESTED = sorted(path.parent.parent for path in INFRA.rglob("tests/*.tftest.hcl"))
FOLDERS = sorted({path.relative_to(INFRA).as_posix() for path in TESTED})
#: The other examples hold the same modules and take a minute more.
CHOSEN = [
    each
    for each in FOLDERS
    if not is_sample() or each.startswith(("modules/", f"examples/{EXAMPLES[0]}"))
]


def test_every_module_and_example_makes_promises() -> None:
    for kind in ("modules", "examples"):
        for folder in (INFRA / kind).iterdir():
            assert f"{kind}/{folder.name}" in FOLDERS


@pytest.mark.parametrize("folder", CHOSEN)
def test_promises_are_kept(terraform: Terraform, folder: str, tmp_path: Path) -> None:
    infra = copy_of_infra(tmp_path)
    lift_protection(infra)  # Or the test could not clean up behind itself.
    written = sum(
        len(re.findall(r'(?m)^run "', path.read_text(encoding="utf-8")))
        for path in (infra / folder / "tests").glob("*.tftest.hcl")
    )
    terraform.run(infra / folder, "init", "-input=false", "-backend=false", timeout_s=120)

    answer = terraform.run(infra / folder, "test", "-no-color", timeout_s=300, may_fail=True)

    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert f"Success! {written} passed, 0 failed." in answer.stdout
