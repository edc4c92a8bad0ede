"""An image under the name of a transfer syntax that it is not in: nobody could read it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian

from cloudmig.demo.pacs import Script
from cloudmig.demo.studies import Instance, Study
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


@pytest.mark.parametrize("value", [b"", b"\xfe\xff\x00\xe0" + bytes(4)], ids=["none", "a length"])
async def test_fragments_with_a_length_and_no_pixels_at_all_are_not_taken_for_plain_ones(
    value: bytes, tmp_path: Path
) -> None:
    """They come under no other name: turned away, the image would be lost."""

    def oddly(_: Study, made: list[Instance]) -> list[Instance]:
        return [
            replace(each, transfer_syntax_uid=HEVC, data_set=lambda each=each: _with(each, value))
            for each in made
        ]

    world = World(tmp_path, (replace(STUDY, oddities=(oddly,)),))
    with world.serving():
        await world.migrate()
        await world.explain_everything()

    assert world.quarantined() == {}
    assert world.held() == world.truth()


def _with(instance: Instance, value: bytes) -> bytes:
    """Return an instance with other pixels."""
    made = instance.data_set()
    start = made.index(b"\xe0\x7f\x10\x00")
    return made[: start + 8] + len(value).to_bytes(4, "little") + value
