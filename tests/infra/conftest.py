"""Terraform that is not installed skips a test visibly; examples are applied in the background.

Applying takes a minute or more, most of it waiting, so all examples that the chosen tests need are
started at once, two at a time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.infra.deployment import (
    EXAMPLES,
    Deployment,
    copy_of_infra,
    is_sample,
    lift_protection,
    moto_server,
    packages_in,
)
from tests.infra.landscape import REGIONS, THIRD_ROLE, variables_of
from tests.infra.layers import Workshop
from tests.infra.terraform_cli import Terraform, TerraformMissing, find_terraform

#: Read by every fixture that wants an example: `Applied("hybrid")`.
Applied = Callable[[str], Deployment]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """First what needs no example, while those are applied; what destroys comes last."""
    here = Path(__file__).parent

    def turn(item: pytest.Item) -> int:
        if not item.path.is_relative_to(here):
            return 0
        item.add_marker(pytest.mark.timeout(900))
        return 2 if "removal" in item.path.name else int(_is_applied(item))

    items.sort(key=turn)


def _is_applied(item: pytest.Item) -> bool:
    return "applied" in getattr(item, "fixturenames", ())


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes an `example` runs for each: for one where a sample will do."""
    if "example" in metafunc.fixturenames:
        metafunc.parametrize("example", EXAMPLES[:1] if is_sample() else EXAMPLES)


@pytest.fixture(scope="session")
def terraform(tmp_path_factory: pytest.TempPathFactory) -> Terraform:
    try:
        return find_terraform(tmp_path_factory.mktemp("terraform"))
    except TerraformMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session", autouse=True)
def _beginning(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Begin to apply before the first test, if any will want an example."""
    if not any(_is_applied(item) for item in request.session.items):
        return
    try:
        find_terraform(tmp_path_factory.mktemp("looking"))
    except TerraformMissing:
        return  # The tests that want it say so themselves.
    request.getfixturevalue("applied")


@pytest.fixture(scope="session")
def applied(terraform: Terraform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Applied]:
    """Return what waits for an example to be applied."""
    names = EXAMPLES[:1] if is_sample() else EXAMPLES
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(max_workers=2))
        stack.callback(pool.shutdown, cancel_futures=True)

        def apply(name: str, endpoint: str, folder: Path) -> Deployment:
            deployment = Deployment(
                name, copy_of_infra(folder), endpoint, terraform,
                region=REGIONS[name], role_arn=THIRD_ROLE if name == "third_copy" else "",
            )  # fmt: skip
            lift_protection(deployment.infra)
            deployment.prepare(variables_of(deployment, packages_in(folder)))
            deployment.apply()
            return deployment

        futures: dict[str, Future[Deployment]] = {}
        for name in names:
            endpoint = stack.enter_context(moto_server())
            folder = tmp_path_factory.mktemp(name)
            futures[name] = pool.submit(apply, name, endpoint, folder)

        def wait(name: str) -> Deployment:
            if name not in futures:
                pytest.skip(f"{name} is not applied in a sample: unset CLOUDMIG_SAMPLE")
            return futures[name].result()

        yield wait


@pytest.fixture(scope="session")
def applied_hybrid(applied: Applied) -> Deployment:
    return applied("hybrid")


@pytest.fixture(scope="session")
def infra_tools() -> Path:
    """Return the folder with checkov and cfn-lint."""
    named = os.environ.get("CLOUDMIG_INFRA_BIN", ".venv-infra/bin")
    folder = Path(__file__).parents[2] / named
    if not (folder / "checkov").is_file():
        pytest.skip("no checkov: `make test-infra` installs it into .venv-infra")
    return folder


@pytest.fixture(scope="session")
def workshop(terraform: Terraform, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """Return a copy of infra/ that may be broken and looked at, but is not applied."""
    return Workshop(copy_of_infra(tmp_path_factory.mktemp("workshop")), terraform)
