"""Thirteen faults between the agent and two stores: every copy is right and there once.

Swift refuses a damaged body; moto believes it, and `verify` must find it. CLOUDMIG_SAMPLE=1, as in
CI, takes Swift alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.peers.faults import table
from tests.peers.faults.cell import Cell
from tests.peers.faults.store_cells import STORES, run_cells
from tests.peers.faults.store_faults import StoreFault

ACCEPTANCE = os.environ.get("CLOUDMIG_ACCEPTANCE") == "1"
SAMPLE = os.environ.get("CLOUDMIG_SAMPLE") == "1" and not ACCEPTANCE
STORES_RUN = ["swift"] if SAMPLE else sorted(STORES)

pytestmark = pytest.mark.timeout(1800)

_TITLE = "Faults at the store side"
Matrix = dict[StoreFault, Cell]


@pytest.fixture(scope="module", params=STORES_RUN)
def matrix(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Matrix]:
    """Run every cell of one store."""
    cells = run_cells(request.param, list(StoreFault), tmp_path_factory.mktemp(request.param))
    table.add(_TITLE, cells.values())
    yield cells
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        reporter.write_line(f"\n{table.render()}")


@pytest.mark.parametrize("fault", list(StoreFault), ids=lambda fault: fault.value)
def test_nothing_is_lost_by_a_fault_between_agent_and_store(
    matrix: Matrix, fault: StoreFault
) -> None:
    cell = matrix[fault]

    assert cell.reconciled, "\n".join(cell.wrong)
