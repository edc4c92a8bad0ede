"""A staged instance lies in one place."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudmig.model.instance import StagedInstance
from cloudmig.model.references import InstanceRef


@pytest.mark.parametrize("places", [{}, {"body": b"x", "path": Path("x")}])
def test_a_staged_instance_is_in_memory_or_in_the_spool(places: dict[str, object]) -> None:
    with pytest.raises(AssertionError, match="exactly one place"):
        StagedInstance(
            instance=InstanceRef("1.2", "1.3", "1.4"),
            sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            size_bytes=1,
            file_sha256="",
            dataset_sha256="",
            **places,  # type: ignore[arg-type]
        )
