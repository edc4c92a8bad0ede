"""Eight faults between three PACS and the agent: everything arrives, or waits with its reason.

CLOUDMIG_SAMPLE=1, as in CI, takes one PACS and C-MOVE; otherwise all three, and by
CLOUDMIG_ACCEPTANCE=1 C-GET and faults that never go away, too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.peers.faults import table
from tests.peers.faults.cell import Cell
from tests.peers.faults.pacs_cells import Plan, run_cells
from tests.peers.faults.pacs_faults import PacsFault
from tests.peers.survey import PEERS

ACCEPTANCE = os.environ.get("CLOUDMIG_ACCEPTANCE") == "1"
SAMPLE = os.environ.get("CLOUDMIG_SAMPLE") == "1" and not ACCEPTANCE

#: The PACS that answers a fault in the most ways of its own: it stops at the first failed store.
PEERS_RUN = ["orthanc"] if SAMPLE else sorted(PEERS)
PASSING = [Plan(fault) for fault in PacsFault]
STAYING = [
    Plan(fault, stays=True)
    for fault in (
        PacsFault.NO_ROOM,
        PacsFault.WARNING,
        PacsFault.ABORT,
        PacsFault.WRONG_STUDY,
        PacsFault.NOTHING,
    )
]
BY_GET = [Plan(fault, "c-get") for fault in PacsFault if fault is not PacsFault.DOWN]
PLANS = PASSING if SAMPLE else [*PASSING, *STAYING, *(BY_GET if ACCEPTANCE else ())]

pytestmark = pytest.mark.timeout(1800)

_TITLE = "Faults at the PACS side"
Matrix = dict[Plan, Cell]


@pytest.fixture(scope="module", params=PEERS_RUN)
def matrix(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Matrix]:
    """Run every cell of one PACS; several at once, since they mostly wait."""
    cells = run_cells(request.param, PLANS, tmp_path_factory.mktemp(request.param))
    table.add(_TITLE, cells.values())
    yield cells
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        reporter.write_line(f"\n{table.render()}")


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.name)
def test_nothing_is_lost_by_a_fault_between_pacs_and_agent(matrix: Matrix, plan: Plan) -> None:
    cell = matrix[plan]

    assert cell.reconciled, "\n".join(cell.wrong)
