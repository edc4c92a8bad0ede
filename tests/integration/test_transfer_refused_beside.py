"""A home that begins to refuse us between two contents of an instance holds no other one back."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from cloudmig.errors import DestinationRefused, DestinationUnavailable
from cloudmig.pipeline.attempt import Attempt, CopyInProgress
from cloudmig.pipeline.keeping import keep_beside
from cloudmig.pipeline.parts import Parts
from cloudmig.ports import Arrival
from tests.integration.dicomweb_world import a_study_of


class Shut:
    """A home that takes nothing any more."""

    name = "shut"

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def store(self, *_: object, **__: object) -> None:
        raise self.error


@pytest.mark.parametrize("error", [DestinationRefused("no rights"), DestinationUnavailable("down")])
async def test_a_second_content_is_owed_to_a_home_that_takes_nothing(error: Exception) -> None:
    """Its session ran out behind the first content: the run halted, with another home to fill."""
    [staged] = a_study_of(1)
    copy = CopyInProgress(cast("Any", Shut(error)), "", cast("Any", None), {}, {}, {}, {})
    config = SimpleNamespace(destinations={"shut": None, "open": None})
    parts = cast("Parts", SimpleNamespace(refusals={}, config=config))
    nothing = cast("Any", None)
    attempt = Attempt(parts, nothing, nothing, nothing, {"shut": copy})

    kept = await keep_beside(attempt, cast("Arrival", SimpleNamespace(staged=staged)))

    assert not kept
    assert copy.owed == str(error)
    assert list(parts.refusals or {}) == ["shut"] * isinstance(error, DestinationRefused)
