"""What the tests of deployed functions share: zips built once, the emulator, a moto server."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lambdas.cloud import Artifacts, Cloud
from tests.lambdas.counting_moto import CountingMoto
from tests.lambdas.emulator import runtime_folder
from tests.lambdas.emulator_binary import ROOT, absent, emulator_binary


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the zips are made of: nobody edits it while tests compare two builds."""
    folder = tmp_path_factory.mktemp("sources")
    for name in ("cloudmig", "lambdas", "requirements"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="session")
def zips(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zips, built as `make lambdas` does."""
    return build(sources, into=tmp_path_factory.mktemp("zips"))


def build(sources: Path, *, into: Path) -> Path:
    command = [sys.executable, str(sources / "lambdas" / "build.py"), "--into", str(into)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    if done.returncode:
        absent(done.stderr.strip())
    return into


@pytest.fixture(scope="session")
def artifacts(zips: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifacts:
    folder = tmp_path_factory.mktemp("artifacts")
    runtime = runtime_folder(folder / "runtime")
    return Artifacts.unzipped(zips, folder, emulator_binary(), runtime)


@pytest.fixture(scope="session")
def moto() -> Iterator[CountingMoto]:
    with CountingMoto() as server:
        yield server


@pytest.fixture
def cloud(moto: CountingMoto, artifacts: Artifacts, tmp_path: Path) -> Cloud:
    folder = tmp_path / "logs"
    folder.mkdir()
    return Cloud(moto, artifacts, folder)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test here more time: whichever comes first builds the zips."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(300))
