"""Terraform as a person would start it, with a provider mirror on this machine and no network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Terraform", "TerraformFailed", "TerraformMissing", "find_terraform"]

#: Where software is put that no package manager knows.
_PLACES = (
    "/opt",
    "/usr/share",
    "/usr/lib",
    "/usr/local",
    "/var/lib",
    "/srv",
    "~",
    "~/.terraform.d",
)
_DEPTH_MAX = 3

_CLI_CONFIG = """\
disable_checkpoint = true
provider_installation {{
  filesystem_mirror {{
    path    = {path}
    include = ["hashicorp/aws"]
  }}
}}
"""


class TerraformMissing(Exception):  # noqa: N818 - the reason of a skip
    """There is no Terraform here, or no mirror of its provider."""


class TerraformFailed(AssertionError):  # noqa: N818 - named for what happened
    """A command that should have worked did not."""


@dataclass(frozen=True)
class Terraform:
    """The program and the configuration that makes it use the mirror."""

    binary: str
    cli_config: Path

    def run(
        self,
        folder: Path,
        *arguments: str,
        timeout_s: float,
        environment: Mapping[str, str] | None = None,
        may_fail: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Run one command in a folder. Raises with both outputs unless it may fail."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        try:
            answer = subprocess.run(
                [self.binary, *arguments],
                cwd=folder, timeout=timeout_s, capture_output=True, text=True, check=False,
                stdin=subprocess.DEVNULL,
                env={
                    **kept,
                    "TF_CLI_CONFIG_FILE": str(self.cli_config),
                    "TF_IN_AUTOMATION": "1",
                    "AWS_EC2_METADATA_DISABLED": "true",
                    **(environment or {}),
                },
            )  # fmt: skip
        except subprocess.TimeoutExpired as late:
            said = (late.stdout or b"").decode(errors="replace")
            raise TerraformFailed(
                f"terraform {arguments[0]}: {timeout_s:g} s are over\n{said[-6000:]}"
            ) from late
        if answer.returncode and not may_fail:
            raise TerraformFailed(
                f"terraform {' '.join(arguments)}\n{answer.stdout[-6000:]}\n{answer.stderr[-6000:]}"
            )
        return answer


def find_terraform(folder: Path) -> Terraform:
    """Return Terraform with a CLI configuration written to `folder`."""
    binary = shutil.which("terraform")
    if binary is None:
        raise TerraformMissing("terraform is not on PATH")
    mirror = next(_mirrors(), None)
    if mirror is None:
        raise TerraformMissing(
            "no folder tf-plugins with a mirror of hashicorp/aws: `terraform providers mirror"
            " tf-plugins` makes one, TF_PLUGIN_MIRROR names it"
        )
    cli_config = folder / "terraform.rc"
    cli_config.write_text(_CLI_CONFIG.format(path=json.dumps(str(mirror))), encoding="utf-8")
    return Terraform(binary, cli_config)


def _mirrors() -> Iterator[Path]:
    named = os.environ.get("TF_PLUGIN_MIRROR")
    if named:
        yield Path(named)
        return
    for place in _PLACES:
        root = Path(place).expanduser()
        pattern = "tf-plugins"
        for _ in range(_DEPTH_MAX):
            yield from (
                found for found in _folders(root, pattern) if any(found.glob("*/hashicorp/aws"))
            )
            pattern = f"*/{pattern}"


def _folders(root: Path, pattern: str) -> list[Path]:
    try:
        return sorted(found for found in root.glob(pattern) if found.is_dir())
    except OSError:
        return []  # A folder that we may not read holds no mirror for us.
