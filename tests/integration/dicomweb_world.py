"""A scripted DICOMweb store and a destination before it, for tests of what may go wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from cloudmig.destinations.dicomweb import DicomWebDestination
from cloudmig.destinations.dicomweb_profiles import dicomweb_profile
from cloudmig.dicomweb import Authorizer, DicomWebClient, HttpLimits
from cloudmig.model.instance import StagedInstance
from cloudmig.model.outcome import StoreOutcome
from cloudmig.model.references import InstanceRef
from tests.contract.destination_contract import ARCHIVE, an_instance, staged
from tests.contract.stow_server import ScriptedStow

__all__ = ["Web", "a_study_of", "open_web"]

#: What a request may hold where a profile says nothing else.
FULL_BATCHES = {"batch_instances_max": 100, "batch_bytes_max": 256 << 20}


@dataclass
class Web:
    """Both ends."""

    server: ScriptedStow
    destination: DicomWebDestination

    async def store_all(self, items: Sequence[StagedInstance]) -> list[Any]:
        """Store at once; an error is returned in the place of its outcome."""
        calls = (self.destination.store(item) for item in items)
        return await asyncio.gather(*calls, return_exceptions=True)

    def held(self, item: StagedInstance) -> bytes | None:
        """Return what the server holds under the instance's UIDs."""
        assert item.instance is not None
        key = item.instance.study_instance_uid, item.instance.sop_instance_uid
        return self.server.held.get(key)


def a_study_of(count: int, *, size_bytes: int = 100) -> list[StagedInstance]:
    """Return instances of one study nobody has stored yet."""
    first = an_instance()
    refs = [
        InstanceRef(
            first.study_instance_uid, first.series_instance_uid, f"{first.sop_instance_uid}.{n}"
        )
        for n in range(1, count + 1)
    ]
    return [staged(ref, b"%d" % n * size_bytes) for n, ref in enumerate(refs)]


@asynccontextmanager
async def open_web(
    server: ScriptedStow | None = None,
    *,
    profile: str = "orthanc",
    authorizer: Authorizer | None = None,
    limits: HttpLimits | None = None,
    overrides: dict[str, Any] | None = None,
    **settings: Any,  # noqa: ANN401
) -> AsyncIterator[Web]:
    """Run a server and open a destination on it; batches are those of the issue."""
    overrides = {**FULL_BATCHES, **(overrides or {})}
    async with (server or ScriptedStow()).running() as running:
        client = DicomWebClient(running.url, authorizer=authorizer, limits=limits)
        destination = DicomWebDestination(
            "web", client, dicomweb_profile(profile, overrides), archive=ARCHIVE, **settings
        )
        try:
            yield Web(running, destination)
        finally:
            await destination.close()


def outcomes_of(results: Sequence[Any]) -> list[StoreOutcome]:
    """Return results that hold no error."""
    errors = [each for each in results if isinstance(each, BaseException)]
    assert not errors, errors
    return list(results)
