"""An image under the name of a transfer syntax that it is not in: nobody could read it."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian

from cloudmig.demo.pacs import Script
from cloudmig.staging import StagingLimits
from tests.integration.migration_world import World, a_study

HEVC = "1.2.840.10008.1.2.4.107"
STUDY = a_study(1, series=(2, 1))


@pytest.mark.parametrize("memory_object_bytes_max", [64 << 20, 1])
async def test_plain_pixels_under_the_name_of_a_compressed_syntax_are_not_taken(
    memory_object_bytes_max: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for in one transfer syntax alone they come under their own name."""
    limits = StagingLimits(credit_bytes=1, memory_object_bytes_max=memory_object_bytes_max)
    monkeypatch.setattr("cloudmig.bootstrap.opening.StagingLimits", lambda **_: limits)
    world = World(tmp_path, (STUDY,), Script(mislabels=HEVC), retrieve="c-get")
    with world.serving():
        summary = await world.migrate()

    assert not summary.halted
    assert world.quarantined() == {}
    assert world.held() == world.truth()
    stored = [pydicom.dcmread(path).file_meta for path in (tmp_path / "store").rglob("*.dcm")]
    assert {str(each.TransferSyntaxUID) for each in stored} == {ExplicitVRLittleEndian}
