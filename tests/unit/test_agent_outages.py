"""An outage that many studies meet at once is one outage."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

from cloudmig.agent.outages import Outages
from cloudmig.errors import SourceUnavailable
from cloudmig.model.references import StudyRef
from cloudmig.model.states import TransferState
from cloudmig.model.transfer import TransferJob
from cloudmig.pipeline.parts import Parts
from cloudmig.pipeline.transfer import Ending


class SilentSource:
    """Nobody listens."""

    async def ping(self) -> None:
        raise SourceUnavailable("nobody listens")


@dataclass
class Recorder:
    pauses_s: list[object] = field(default_factory=list)

    def event(self, name: str, **fields: object) -> None:
        assert name == "source.down"
        self.pauses_s.append(fields["again_in_s"])


async def test_studies_that_meet_one_outage_together_do_not_make_it_longer() -> None:
    """Eight in flight waited for a minute for a PACS that was back after ten seconds."""
    reporter = Recorder()
    parts = SimpleNamespace(
        config=SimpleNamespace(destinations={}),
        breakers={},
        reporter=reporter,
        sources={"main": SilentSource()},
    )
    outages = Outages(cast("Parts", parts))
    ending = Ending(
        TransferState.PLANNED, "gone", failed=True, error=SourceUnavailable("connection lost")
    )

    for number in range(8):
        job = TransferJob(number, "main", StudyRef(f"1.2.{number}"), 1, 0, None, ())
        assert not (await outages.judge(job, ending)).failed

    assert reporter.pauses_s == [1.0]
