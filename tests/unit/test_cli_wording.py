"""Tables as people and `grep` read them."""

from __future__ import annotations

import pytest
from rich.console import Console

from cloudmig.cli.wording import table


@pytest.mark.parametrize("width", [20, 60, 80, 200])
def test_a_row_is_one_line_and_nothing_in_it_is_cut(width: int) -> None:
    console = Console(width=width, soft_wrap=True, record=True)
    rows = [
        ("archive-for-radiology-1", 1_234_567, 12_345_678, 987_654_321, "196.8 TB"),
        ("archive-for-radiology-2", 1, 0, 22, "0 B"),
    ]

    console.print(table(["copies at", "planned", "verified", "instances", "bytes"], rows))

    headings, *lines = console.export_text().splitlines()
    assert headings.split() == ["copies", "at", "planned", "verified", "instances", "bytes"]
    assert [line.split() for line in lines] == [
        ["archive-for-radiology-1", "1,234,567", "12,345,678", "987,654,321", "196.8", "TB"],
        ["archive-for-radiology-2", "1", "0", "22", "0", "B"],
    ]
