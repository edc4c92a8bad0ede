"""`[sla]`: mistakes and contradictions are named with the setting's full name."""

from __future__ import annotations

from typing import Any

import pytest

from cloudmig.config import Configuration, parse
from cloudmig.errors import ConfigError


def parsed(sla: dict[str, Any]) -> Configuration:
    return parse({
        "sources": {"main": {"archive": "main", "host": "pacs", "port": 104, "aet": "PACS"}},
        "destinations": {"cloud": {"url": "s3://images"}, "disk": {"url": "file:///srv/images"}},
        "rules": [{"name": "all", "copy_to": ["cloud", "disk"]}],
        "sla": sla,
    })  # fmt: skip


def test_a_section_becomes_service_levels() -> None:
    sla = parsed({
        "objective": 0.99, "samples": 100, "dicomweb": "https://viewer/dicom-web/",
        "dicomweb_of": "cloud",
        "tiers": {"GLACIER": {"restore_s": "12 h"}, "STANDARD": {"first_byte_s": "50 ms"}},
    }).sla  # fmt: skip

    assert sla.dicomweb == "https://viewer/dicom-web"
    assert sla.levels().level_of("GLACIER").restore_s == 43_200
    assert sla.levels().level_of("STANDARD").first_byte_s == 0.05
    assert sla.levels().level_of("STANDARD_IA").first_byte_s == 0.5


@pytest.mark.parametrize(
    ("sla", "said"),
    [
        ({"objective": 1}, "sla.objective must be less than 1"),
        ({"samples": 5}, "sla.samples (5) is too few for an objective of 0.95"),
        ({"sample": 5}, "unknown setting sla.sample; did you mean samples?"),
        (
            {"tiers": {"STANDARD": {"first_byte": 5}}},
            "unknown setting sla.tiers.STANDARD.first_byte; did you mean first_byte_s?",
        ),
        ({"tiers": {"standard": {}}}, "sla.tiers.standard"),
        (
            {"tiers": {"STANDARD": {"first_byte_s": 3}}},
            "sla.tiers.STANDARD.first_byte_s (3) is above first_instance_s (1)",
        ),
        ({"tiers": {"STANDARD": {"restore_s": 3}}}, "sla.tiers.STANDARD.restore_s means nothing"),
        ({"destinations": ["clud"]}, 'sla.destinations names "clud", which is not configured'),
        ({"destinations": ["disk"]}, 'sla.destinations names "disk", which is no s3:// store'),
        ({"destinations": ["cloud", "cloud"]}, "destinations names one twice"),
        ({"dicomweb": "ftp://x"}, "sla.dicomweb must be a URL"),
        ({"dicomweb": "https://user:secret@x/"}, "without credentials"),
        ({"dicomweb_of": "cloud"}, "dicomweb_of means nothing without dicomweb"),
        ({"tiers": {"DICOMWEB": {}}}, "tiers.DICOMWEB means nothing without dicomweb"),
    ],
)
def test_a_mistake_is_named(sla: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parsed(sla)

    assert said in str(caught.value)
    assert "secret" not in str(caught.value)
