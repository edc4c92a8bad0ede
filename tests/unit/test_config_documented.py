"""docs/configuration.md describes every setting with its true default, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cloudmig.config import (
    AgentSettings,
    DestinationSettings,
    DicomWebSettings,
    DirectorySettings,
    HealthSettings,
    ListenSettings,
    PacsSettings,
    Rule,
    SlaSettings,
    SlaTierSettings,
    WebCredentials,
    WebSourceSettings,
)
from cloudmig.config.settings import Section

PAGE = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
SECTIONS: dict[str, type[Section]] = {
    "`[agent]`": AgentSettings,
    "`[listen]`": ListenSettings,
    "`[health]`": HealthSettings,
    "`[sources.<name>]`": PacsSettings,
    '`[sources.<name>]` with `url = "file://..."`': DirectorySettings,
    '`[sources.<name>]` with `url = "https://..."`': WebSourceSettings,
    "`[sources.<name>.dicomweb]`": WebCredentials,
    "`[destinations.<name>]`": DestinationSettings,
    "`[destinations.<name>.dicomweb]`": DicomWebSettings,
    "`[[rules]]`": Rule,
    "`[sla]`": SlaSettings,
    "`[sla.tiers.<tier>]`": SlaTierSettings,
}


def rows(heading: str) -> dict[str, str]:
    """Return setting -> text of its second column."""
    section = PAGE.partition(f"## {heading}")[2].partition("\n## ")[0]
    found = {}
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `"):
            found |= dict.fromkeys(re.findall(r"`(\w+)`", cells[0]), cells[1])
    return found


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_setting_is_described_and_none_that_does_not_exist(heading: str) -> None:
    assert set(rows(heading)) == set(SECTIONS[heading].model_fields)


@pytest.mark.parametrize("heading", [each for each in SECTIONS if each != "`[[rules]]`"])
def test_numbers_are_described_with_their_true_default(heading: str) -> None:
    described = rows(heading)
    for name, field in SECTIONS[heading].model_fields.items():
        default = field.default
        if isinstance(default, bool) or not isinstance(default, int | float):
            continue
        if "bytes" in name:
            continue  # Written with units.
        assert described[name] == f"`{default:g}`", name
