"""The doctor names what a destination is asked for that a store of its kind has not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cloudmig.agent.doctor import Finding, Verdict, examine
from cloudmig.config import parse


@pytest.fixture
def data(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "file").touch()
    return {
        "agent": {"state_dir": str(tmp_path / "state"), "spool_bytes_max": "1 MiB"},
        "sources": {"main": {"archive": "main", "url": f"file://{tmp_path}/export"}},
        "destinations": {"archive": {"url": f"file://{tmp_path}/home"}},
        "rules": [
            {"name": "old", "age_days_min": 90, "copy_to": ["archive"]},
            {"name": "everything else stays", "keep_on_site": True},
        ],
    }


async def problems(data: dict[str, Any]) -> dict[str, Finding]:
    findings = await examine(parse(data), wait_max_s=3)
    return {each.check: each for each in findings if each.verdict is Verdict.PROBLEM}


@pytest.mark.parametrize("of_the_rule", [False, True])
async def test_a_class_that_its_store_has_not_is_a_problem(
    data: dict[str, Any], *, of_the_rule: bool
) -> None:
    where = data["rules"][0] if of_the_rule else data["destinations"]["archive"]
    where["storage_class"] = "STANDARD_IA"

    found = await problems(data)

    assert found.keys() == {"storage_class"}
    assert ('rule "old"' in found["storage_class"].message) == of_the_rule
    del where["storage_class"]
    assert await problems(data) == {}


async def test_encryption_that_a_folder_has_not_is_a_problem(data: dict[str, Any]) -> None:
    data["destinations"]["archive"]["kms_key_id"] = "key"

    found = await problems(data)

    assert "no SSE-KMS" in found["profile"].message
