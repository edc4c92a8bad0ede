"""The matrix as text: printed at the end of the run and kept in a report."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path

from tests.peers.faults.cell import Cell

__all__ = ["REPORT", "add", "render"]

REPORT = Path(__file__).parents[3] / ".cache" / "reports" / "faults.md"

_cells: dict[str, dict[tuple[str, str], Cell]] = {}
_lock = threading.Lock()


def add(title: str, cells: Iterable[Cell]) -> None:
    """Add cells to the table of that title and write the report anew."""
    with _lock:
        table = _cells.setdefault(title, {})
        table.update({(each.peer, each.fault): each for each in cells})
        REPORT.parent.mkdir(parents=True, exist_ok=True)
        kept = _sections_of_others() if REPORT.exists() else ""
        REPORT.write_text(render() + kept, encoding="utf-8")


def render() -> str:
    """Return every table in Markdown."""
    parts = []
    for title, table in _cells.items():
        cells = list(table.values())
        good = sum(each.reconciled for each in cells)
        parts += [f"## {title}: {good} of {len(cells)} cells reconciled", ""]
        parts += [_row("peer", "fault", *_COLUMNS), _row(*["---"] * (2 + len(_COLUMNS)))]
        parts += [_row(each.peer, each.fault, *_values(each)) for each in cells]
        parts.append("")
    return "\n".join(parts) + "\n"


def _sections_of_others() -> str:
    """Return the tables of earlier runs that this one does not make."""
    sections = REPORT.read_text(encoding="utf-8").split("## ")[1:]
    others = [each for each in sections if each.split(":")[0] not in _cells]
    return "".join(f"## {each}" for each in others)


_COLUMNS = (
    "injected", "attempts", "stored", "quarantined", "reconciled", "seconds", "what happened",
)  # fmt: skip


def _values(cell: Cell) -> list[str]:
    return [
        str(cell.injected),
        str(cell.attempts),
        str(cell.stored),
        str(cell.quarantined),
        "yes" if cell.reconciled else "NO",
        f"{cell.seconds:.0f}",
        "; ".join([*cell.wrong, cell.note] if cell.note else cell.wrong),
    ]


def _row(*values: str) -> str:
    return "| " + " | ".join(value.replace("|", "/").replace("\n", " ") for value in values) + " |"
