"""An example of infra/, applied to a moto server of its own, and what can be asked about it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from tests.infra.terraform_cli import Terraform

__all__ = [
    "EXAMPLES", "FUNCTIONS", "INFRA", "ROOT", "Deployment", "copy_of_infra", "is_sample",
    "lift_protection", "moto_server", "packages_in", "restore_protection",
]  # fmt: skip

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
EXAMPLES = ("hybrid", "dr_copy", "third_copy")
#: What `make lambdas` builds; moto never runs them.
FUNCTIONS = (
    "verify_object", "verify_study", "find_orphans", "probe_retrieval", "watch_restore",
    "reconcile_inventory",
)  # fmt: skip

_ROOT_KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
_APPLY_S = 400.0

_PROVIDER = """\
provider "aws" {{
{alias}  s3_use_path_style = true
  max_retries       = 2
}}
"""


@contextmanager
def moto_server() -> Iterator[str]:
    """Start moto in a process of its own and return its address."""
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("moto_with_stubs.py"))],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as server:  # fmt: skip
        try:
            assert server.stdout is not None
            endpoint = server.stdout.readline().strip()
            assert endpoint.startswith("http://127.0.0.1:"), endpoint
            yield endpoint
        finally:
            server.kill()


def copy_of_infra(folder: Path) -> Path:
    """Copy infra/ to where it may be changed."""
    copy = folder / "infra"
    shutil.copytree(
        INFRA, copy, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*", "*_override.tf")
    )
    return copy


def lift_protection(infra: Path) -> None:
    """Do what the README of image_bucket tells somebody who wants to remove everything."""
    module = infra / "modules" / "image_bucket"
    shutil.copy(module / "removal_override.tf.txt", module / "removal_override.tf")


def packages_in(folder: Path) -> Path:
    """Return a folder with a zip for each function: the built ones, else placeholders."""
    built = ROOT / ".cache" / "lambdas"
    if all((built / f"{name}.zip").is_file() for name in FUNCTIONS):
        return built
    made = folder / "packages"
    made.mkdir(exist_ok=True)
    for name in FUNCTIONS:
        with zipfile.ZipFile(made / f"{name}.zip", "w") as package:
            package.writestr("handler.py", "def handle(event, context):\n    return {}\n")
    return made


@contextmanager
def restore_protection(infra: Path) -> Iterator[None]:
    """Let the modules be as they are shipped until the end of the block."""
    (infra / "modules" / "image_bucket" / "removal_override.tf").unlink()
    try:
        yield
    finally:
        lift_protection(infra)


@dataclass(frozen=True)
class Deployment:
    """One example in a folder of its own, and the moto server that stands for AWS."""

    name: str
    infra: Path
    endpoint: str
    terraform: Terraform
    region: str = "eu-central-1"
    role_arn: str = ""  #: Of the account in which everything lies, where that is another.

    @property
    def folder(self) -> Path:
        return self.infra / "examples" / self.name

    @property
    def environment(self) -> Mapping[str, str]:
        return {**_ROOT_KEYS, "AWS_ENDPOINT_URL": self.endpoint, "AWS_REGION": self.region}

    def prepare(self, variables: Mapping[str, object]) -> None:
        """Point every provider of the example at moto, and set its variables."""
        aliases = [""] + [f'  alias             = "{alias}"\n' for alias in self._aliases()]
        (self.folder / "zz_local_override.tf").write_text(
            "".join(_PROVIDER.format(alias=alias) for alias in aliases), encoding="utf-8"
        )
        (self.folder / "local.auto.tfvars.json").write_text(json.dumps(variables), encoding="utf-8")
        self.run("init", "-input=false", "-no-color", timeout_s=120)

    def _aliases(self) -> list[str]:
        text = (self.folder / "providers.tf").read_text(encoding="utf-8")
        return [
            line.split('"')[1] for line in text.splitlines() if line.strip().startswith("alias")
        ]

    def run(
        self, *arguments: str, timeout_s: float, may_fail: bool = False
    ) -> subprocess.CompletedProcess[str]:
        return self.terraform.run(
            self.folder, *arguments,
            timeout_s=timeout_s, environment=self.environment, may_fail=may_fail,
        )  # fmt: skip

    def apply(self) -> None:
        self.run(
            "apply", "-auto-approve", "-input=false", "-no-color", "-compact-warnings",
            timeout_s=_APPLY_S,
        )  # fmt: skip

    def destroy(self, *, may_fail: bool = False) -> subprocess.CompletedProcess[str]:
        return self.run(
            "destroy", "-auto-approve", "-input=false", "-no-color", "-compact-warnings",
            timeout_s=_APPLY_S, may_fail=may_fail,
        )  # fmt: skip

    def outputs(self) -> dict[str, Any]:
        """Return the outputs by name."""
        told = self.state()["values"]["outputs"]
        return {name: output["value"] for name, output in told.items()}

    def state(self) -> dict[str, Any]:
        """Return the state, as `terraform show -json` tells it. That takes seconds: it is kept."""
        kept = self.folder / f"state-{self._serial()}.json"
        if not kept.is_file():
            kept.write_text(self.run("show", "-json", timeout_s=60).stdout, encoding="utf-8")
        told: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        return told

    def _serial(self) -> int:
        """Return the number of the state, which grows with every change."""
        stored = json.loads((self.folder / "terraform.tfstate").read_text(encoding="utf-8"))
        return int(stored["serial"])

    def resources(self) -> list[dict[str, Any]]:
        """Return every managed resource of the state, of all modules."""

        def below(module: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
            yield from (each for each in module.get("resources", []) if each["mode"] == "managed")
            for child in module.get("child_modules", []):
                yield from below(child)

        return list(below(self.state().get("values", {}).get("root_module", {})))

    def client(
        self, service: str, *, region: str | None = None, keys: Mapping[str, str] | None = None
    ) -> Any:  # noqa: ANN401 - boto3's clients have no names
        """Return a boto3 client of moto: of the account's root, or with other credentials."""
        used = keys or self._keys()
        return boto3.client(
            service, endpoint_url=self.endpoint, region_name=region or self.region,
            aws_access_key_id=used["AccessKeyId"], aws_secret_access_key=used["SecretAccessKey"],
            aws_session_token=used.get("SessionToken"),
            config=Config(
                retries={"total_max_attempts": 1}, s3={"addressing_style": "path"},
                connect_timeout=10, read_timeout=30,
            ),
        )  # fmt: skip

    def _keys(self) -> Mapping[str, str]:
        root = {"AccessKeyId": "testing", "SecretAccessKey": "testing"}
        if not self.role_arn:
            return root
        sts = self.client("sts", keys=root)
        answer = sts.assume_role(RoleArn=self.role_arn, RoleSessionName="infra-test")
        credentials: Mapping[str, str] = answer["Credentials"]
        return credentials


def is_sample() -> bool:
    """Whether a sample will do: in CI, unless everything is asked for."""
    return bool(os.environ.get("CLOUDMIG_SAMPLE")) and not os.environ.get("CLOUDMIG_ACCEPTANCE")
