"""What the receiver of C-STORE owes to who takes its objects."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from cloudmig.dimse import commands
from cloudmig.dimse.contexts import AcceptedContext
from cloudmig.dimse.limits import Limits
from cloudmig.dimse.messages import StoreCommand
from cloudmig.dimse.storing import StoreReceiver

CT, EXPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"


class Association:
    """Stands in for the association an object comes on."""

    def answer(self, pdu: bytes) -> None: ...

    def hold_commands(self, hold: bool) -> None: ...

    def hold_reading(self, hold: bool) -> None: ...

    def give_up(self, cause: str, bug: BaseException | None = None) -> None:
        raise AssertionError(cause)


class LateSink:
    """Takes one object and does not know its status yet."""

    def __init__(self) -> None:
        self.status: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def write(self, data: memoryview) -> Awaitable[None] | None: ...

    def finish(self) -> Awaitable[int]:
        return self.status

    def too_large(self) -> None: ...

    def discard(self) -> None: ...


class Handler:
    def __init__(self, sink: LateSink) -> None:
        self._sink = sink

    def begin(self, _command: StoreCommand) -> LateSink:
        return self._sink

    def closed(self) -> None: ...


async def test_a_finish_that_is_cancelled_in_the_turn_it_began_is_told_so() -> None:
    """Wrapped in a task it was not: a task cancelled before its first step runs nothing at all."""
    sink = LateSink()
    receiver = StoreReceiver(
        Association(), Handler(sink), Limits(), calling_aet="A", called_aet="B", peer_host="h"
    )
    request = commands.encode_command(
        {
            commands.AFFECTED_SOP_CLASS_UID: CT,
            commands.COMMAND_FIELD: commands.C_STORE_RQ,
            commands.MESSAGE_ID: 1,
            commands.COMMAND_DATA_SET_TYPE: commands.HAS_DATA_SET,
            commands.AFFECTED_SOP_INSTANCE_UID: "1.2.3",
        }
    )
    receiver.begin(
        AcceptedContext(1, CT, EXPLICIT), commands.parse_command(request), has_data_set=True
    )
    receiver.write(memoryview(b"pixels"), is_last=True)

    assert receiver.work is not None
    receiver.work.cancel()
    await asyncio.sleep(0)

    assert sink.status.cancelled()
