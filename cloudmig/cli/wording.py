"""Numbers and tables as people read them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

__all__ = ["bytes_words", "count_words", "duration_words", "table"]


def bytes_words(size_bytes: float) -> str:
    """Return `1.5 GB`: decimal, as stores bill and networks count."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def count_words(count: int, noun: str, plural: str = "") -> str:
    """Return `1 study` or `1,200 studies`."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def duration_words(duration_s: float) -> str:
    """Return `45 s`, `3 min 20 s` or `2 h 5 min`."""
    whole = round(duration_s)
    if whole < 60:
        return f"{duration_s:.1f} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Return a plain table; numbers stand to the right. No text in it is taken as markup.

    A row is one line, for `grep`, and nothing in it is ever cut, however narrow the screen or the
    pipe: a number that was would be another number.
    """
    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    listed = [list(row) for row in rows]
    shown = [
        [f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in listed
    ]
    for position, heading in enumerate(headings):
        numbers = bool(listed) and all(isinstance(row[position], int) for row in listed)
        texts = (heading, *(row[position] for row in shown))
        drawn.add_column(
            heading, justify="right" if numbers else "left", min_width=max(map(cell_len, texts))
        )
    for row in shown:
        drawn.add_row(*map(Text, row))
    return drawn
