"""What an arrived object calls itself, wherever in it that stands."""

from __future__ import annotations

import struct
from pathlib import Path

from cloudmig.sources.arrivals import identity_of
from cloudmig.staging.area import StagingArea
from cloudmig.staging.budget import MemoryBudget
from cloudmig.staging.spool import Spool
from cloudmig.staging.writer import StagedBytes

IMPLICIT = "1.2.840.10008.1.2"


def test_a_uid_out_of_order_beyond_what_is_kept_of_a_spooled_object_is_found(
    tmp_path: Path,
) -> None:
    elements = (
        (0x0008, 0x0018, b"1.2.34"), (0x0020, 0x000E, b"1.2.56"), (0x0029, 0x1010, bytes(1000)),
        (0x0020, 0x000D, b"1.2.78"), (0x7FE0, 0x0010, bytes(8)),
    )  # fmt: skip
    data_set = b"".join(
        struct.pack("<HHI", group, element, len(value)) + value
        for group, element, value in elements
    )
    path = tmp_path / "object"
    path.write_bytes(data_set)
    held = StagedBytes(
        area=StagingArea(MemoryBudget(1 << 20), Spool(tmp_path, bytes_max=0)),
        body=None, path=path, size_bytes=len(data_set), dataset_offset=0, file_sha256="",
        dataset_sha256="", beginning=bytearray(data_set[:500]), memory_bytes=0,
    )  # fmt: skip

    identity = identity_of(held, IMPLICIT)

    assert identity is not None
    assert identity.study_instance_uid == "1.2.78"
