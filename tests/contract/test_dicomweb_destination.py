"""A DICOMweb store keeps the promises of a destination, and says where it cannot."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable

import pytest

from cloudmig.destinations.dicomweb import DicomWebDestination
from cloudmig.destinations.dicomweb_profiles import dicomweb_profile
from cloudmig.destinations.evidence_elsewhere import EvidenceElsewhere
from cloudmig.destinations.opening import StoreSettings, open_object_store, protect
from cloudmig.dicomweb import DicomWebClient
from cloudmig.errors import InstanceConflict
from cloudmig.model.instance import Slot
from cloudmig.model.outcome import Refused, Stored
from cloudmig.objects import instance_key
from cloudmig.ports import Destination
from tests.contract.destination_contract import (
    ARCHIVE,
    DestinationContract,
    an_instance,
    read_all,
    staged,
)
from tests.contract.stow_server import ScriptedStow


class TestDicomWeb(DestinationContract):
    """One content per instance, and nothing can be replaced; evidence lies in a bucket."""

    profile = "plain"

    @pytest.fixture
    async def server(self) -> AsyncIterator[ScriptedStow]:
        async with ScriptedStow().running() as server:
            yield server

    @pytest.fixture
    async def inner(self, server: ScriptedStow) -> AsyncIterator[DicomWebDestination]:
        inner = DicomWebDestination(
            "web", DicomWebClient(server.url), dicomweb_profile(self.profile), archive=ARCHIVE
        )
        yield inner
        await inner.close()

    @pytest.fixture
    async def destination(self, inner: DicomWebDestination) -> Destination:
        return _with_evidence(inner)

    @pytest.fixture
    def versions_of(self, server: ScriptedStow) -> Callable[[str], int]:
        def count(key: str) -> int:
            return sum(key.endswith(f"/{uid}.dcm") for _, uid in server.held)

        return count

    async def test_every_slot_is_a_place_of_its_own(self, destination: Destination) -> None:
        """Only the first content has a place here; the others are refused, and say why."""
        instance = an_instance()
        await destination.store(staged(instance))

        conflict = await destination.store(staged(instance, b"other"), slot=Slot.CONFLICT)
        nameless = await destination.store(staged(instance, b"odd"), slot=Slot.QUARANTINE)

        assert isinstance(conflict, Refused)
        assert "one content" in conflict.reason
        assert isinstance(nameless, Refused)

    async def test_a_bad_object_is_replaced_and_the_repair_is_found(
        self, destination: Destination
    ) -> None:
        """It cannot be: a person is told to delete it."""
        instance = an_instance()
        spoilt = await destination.store(staged(instance, b"spoilt"))
        assert isinstance(spoilt, Stored)

        with pytest.raises(InstanceConflict) as caught:
            await destination.replace(staged(instance, b"good"), spoilt.receipt)

        assert "delete" in caught.value.hint
        assert (await read_all(destination, spoilt.receipt.location)).endswith(b"spoilt")

    async def test_a_repair_can_itself_be_repaired(
        self, destination: Destination, server: ScriptedStow
    ) -> None:
        """As often as somebody deletes what is bad."""
        instance = an_instance()
        good = staged(instance, b"good")
        bad = await destination.store(staged(instance, b"spoilt"))
        assert isinstance(bad, Stored)
        server.held.clear()

        repaired = await destination.replace(good, bad.receipt)

        assert repaired.location.key == instance_key(ARCHIVE, instance)
        assert await read_all(destination, repaired.location) == good.body

    async def test_a_spoilt_repair_is_never_taken_for_a_good_one(
        self, destination: Destination, server: ScriptedStow
    ) -> None:
        """What counts is what is read, not what was sent."""
        instance = an_instance()
        good = staged(instance, b"good")
        first = await destination.store(good)
        assert isinstance(first, Stored)
        server.held[instance.study_instance_uid, instance.sop_instance_uid] += b"spoilt"

        with pytest.raises(InstanceConflict):
            await destination.replace(good, first.receipt)


class TestDicomWebTrusted(TestDicomWeb):
    """The answers of this store are believed."""

    profile = "orthanc"


class TestDicomWebReadBack(TestDicomWeb):
    """Everything is read back."""

    profile = "dcm4chee"


class TestDicomWebProtected(TestDicomWeb):
    """With all wrappers, as the agent uses it."""

    @pytest.fixture
    async def destination(self, inner: DicomWebDestination) -> Destination:
        return _with_evidence(protect(inner).destination)


def _with_evidence(images: Destination) -> Destination:
    settings = StoreSettings(url=f"memory://{uuid.uuid4().hex}")
    return EvidenceElsewhere(images, open_object_store("bucket", settings, archive=ARCHIVE))
