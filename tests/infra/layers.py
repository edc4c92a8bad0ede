"""What looks at infra/ before anything is applied: four layers, each for faults others miss.

validate         syntax, references, types, what the provider itself checks
terraform test   our promises, on a mocked apply
checkov          what a security review asks of any Terraform
cfn-lint         what AWS would refuse of the mocked apply: IAM actions, states, time limits
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.infra.cloudformation import template_of
from tests.infra.state_machine import loose_ends
from tests.infra.terraform_cli import Terraform

__all__ = ["LAYERS", "Workshop", "lint", "managed_resources"]

LAYERS = ("validate", "terraform test", "checkov", "lint")


@dataclass
class Workshop:
    """A copy of infra/ in which one thing may be wrong."""

    infra: Path
    terraform: Terraform
    _ready: set[str] = field(default_factory=set)

    def module(self, name: str) -> Path:
        """Return a module's folder, ready for Terraform."""
        folder = self.infra / "modules" / name
        if name not in self._ready:
            self.terraform.run(folder, "init", "-backend=false", "-input=false", timeout_s=120)
            self._ready.add(name)
        return folder

    @contextmanager
    def with_fault(self, file: str, right: str, wrong: str) -> Iterator[None]:
        """Put something wrong into a file, and the file back as it was."""
        path = self.infra / "modules" / file
        text = path.read_text(encoding="utf-8")
        assert right in text, f"{file} has changed: it holds no {right!r} to break"
        path.write_text(text.replace(right, wrong), encoding="utf-8")
        try:
            yield
        finally:
            path.write_text(text, encoding="utf-8")

    def complaints(self, layer: str, module: str, tools: Path) -> str:
        """Return what one layer has to say against a module; nothing if it is content.

        `tools` is the folder with checkov and cfn-lint.
        """
        match layer:
            case "validate":
                return self._failure(module, "validate", "-no-color")
            case "terraform test":
                return self._failure(module, "test", "-no-color")
            case "checkov":
                return self._checkov(module, tools)
            case "lint":
                return lint(template_of(self.mocked_apply(module)), tools)
            case _:
                raise AssertionError(layer)

    def mocked_apply(self, module: str) -> list[dict[str, Any]]:
        """Return the resources of a module, applied with the variables of its own tests."""
        folder = self.module(module)
        given = (folder / "tests" / f"{module}.tftest.hcl").read_text(encoding="utf-8")
        alone = folder / "tests" / "alone.tftest.hcl"
        alone.write_text(given.partition('run "')[0] + 'run "alone" {}\n', encoding="utf-8")
        try:
            told = self.terraform.run(
                folder, "test", "-json", "-verbose", "-filter=tests/alone.tftest.hcl",
                timeout_s=180, may_fail=True,
            )  # fmt: skip
        finally:
            alone.unlink()
        lines = [json.loads(line) for line in told.stdout.splitlines() if line.startswith("{")]
        states = [line["test_state"] for line in lines if line["type"] == "test_state"]
        assert states, told.stdout[-3000:] + told.stderr[-3000:]
        return managed_resources(states[0]["root_module"])

    def _failure(self, module: str, *command: str) -> str:
        answer = self.terraform.run(self.module(module), *command, timeout_s=180, may_fail=True)
        return answer.stdout + answer.stderr if answer.returncode else ""

    def _checkov(self, module: str, tools: Path) -> str:
        answer = subprocess.run(
            [
                str(tools / "checkov"), "--framework", "terraform", "--quiet", "--compact",
                "--skip-download", "-d", str(self.infra / "modules" / module),
            ],
            capture_output=True, text=True, timeout=180, check=False,
        )  # fmt: skip
        return answer.stdout + answer.stderr if answer.returncode else ""


def managed_resources(module: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the managed resources of a module in a state, and of all modules in it."""
    found = [each for each in module.get("resources", []) if each["mode"] == "managed"]
    for child in module.get("child_modules", []):
        found += managed_resources(child)
    return found


def lint(template: dict[str, Any], tools: Path) -> str:
    """Return what cfn-lint and we have to say against a template."""
    answer = subprocess.run(
        [str(tools / "cfn-lint"), "--format", "parseable"],
        input=json.dumps(template), capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert answer.returncode == 0 or answer.stdout, answer.stderr
    machines = [
        each["Properties"]["Definition"]
        for each in template["Resources"].values()
        if each["Type"] == "AWS::StepFunctions::StateMachine"
    ]
    return "\n".join([answer.stdout, *(end for one in machines for end in loose_ends(one))]).strip()
