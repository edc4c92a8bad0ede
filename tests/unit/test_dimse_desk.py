"""The desk gives back what an object held, also when nobody is left to answer."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cloudmig.dimse.messages import StoreCommand
from cloudmig.sources.dimse.desk import ArrivalDesk, DeskHandler
from cloudmig.staging import MemoryBudget, Spool, StagingArea, StagingLimits

STUDY, SOP = "1.2.3", "1.2.3.4"
CT, SYNTAX = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"
KIB = 1 << 10
COMMAND = StoreCommand(
    message_id=1,
    affected_sop_class_uid=CT,
    affected_sop_instance_uid=SOP,
    transfer_syntax_uid=SYNTAX,
    context_id=1,
    move_originator_aet="",
    move_originator_message_id=None,
    calling_aet="PACS",
    called_aet="US",
    peer_host="127.0.0.1",
)


def a_retrieval() -> Any:  # noqa: ANN401 - what the desk needs of one
    request = SimpleNamespace(
        study=SimpleNamespace(study_instance_uid=STUDY), expected={SOP: None},
        transfer_syntax_uid=None,
    )  # fmt: skip
    return SimpleNamespace(request=request, in_flight=0, touch=lambda: None)


def an_area(folder: Path) -> StagingArea:
    limits = StagingLimits(credit_bytes=KIB, memory_object_bytes_max=2 * KIB)
    area = StagingArea(MemoryBudget(8 * KIB), Spool(folder / "spool", bytes_max=1 << 20), limits)
    area.spool.clean()
    return area


@pytest.mark.parametrize("turns", [0, 1, 2])
async def test_a_spilled_object_whose_answer_is_cancelled_leaves_nothing(
    tmp_path: Path, turns: int
) -> None:
    """The listener closes and its grace is over while the last bytes are written."""
    area = an_area(tmp_path)
    desk = ArrivalDesk(area)
    retrieval = a_retrieval()
    with desk.register("US", retrieval):
        handler = DeskHandler(desk, "US", await area.take_credit())
        sink = handler.begin(COMMAND)
        assert not isinstance(sink, int)
        sink.write(memoryview(bytes(16 * KIB)))

        finishing = asyncio.ensure_future(sink.finish())  # type: ignore[arg-type]
        for _ in range(turns):
            await asyncio.sleep(0)
        finishing.cancel()
        await asyncio.wait([finishing])
        handler.closed()

    async with asyncio.timeout(5):
        while any(area.spool.folder.iterdir()):
            await asyncio.sleep(0.01)  # A thread may still be writing.
    assert (area.memory.bytes_used, area.spool.bytes_used) == (0, 0)
    assert retrieval.in_flight == 0
