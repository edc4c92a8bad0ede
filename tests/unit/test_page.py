"""A page is written whole, or an error says why not."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudmig.errors import CatalogError
from cloudmig.pipeline.page import write_page


def test_a_page_takes_the_place_of_the_last(tmp_path: Path) -> None:
    path = tmp_path / "reports" / "closing.html"
    write_page(path, "one")
    write_page(path, "two")

    assert [each.name for each in path.parent.iterdir()] == ["closing.html"]
    assert path.read_text() == "two"


def test_a_page_that_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "reports").touch()

    with pytest.raises(CatalogError, match="cannot be written") as caught:
        write_page(tmp_path / "reports" / "closing.html", "one")
    assert "reports" in caught.value.hint
