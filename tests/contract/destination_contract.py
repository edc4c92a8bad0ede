"""What `cloudmig.ports.Destination` promises, as a suite for every implementation and wrapper.

Subclass `DestinationContract` and give it a `destination` fixture. `holding` says how many versions
of a key the store holds, where it can be asked.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from cloudmig.dicom.part10 import file_prefix
from cloudmig.model.instance import Location, Slot, StagedInstance
from cloudmig.model.outcome import Stored, Taken
from cloudmig.model.references import InstanceRef
from cloudmig.objects import object_key
from cloudmig.ports import Destination

ARCHIVE = "main"
CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"

_numbers = itertools.count(1)


def an_instance() -> InstanceRef:
    """Return an instance nobody has stored yet."""
    number = next(_numbers)
    return InstanceRef(f"1.2.{number}", f"1.2.{number}.1", f"1.2.{number}.1.1")


def staged(
    instance: InstanceRef,
    dataset: bytes = b"\x08\x00\x05\x00CS\x00\x00",
    *,
    preamble: bytes = b"",
    path: Path | None = None,
) -> StagedInstance:
    """Return a Part 10 object, in memory, or in the spool when a path is given."""
    prefix = file_prefix(CT_STORAGE, instance.sop_instance_uid, EXPLICIT_LITTLE_ENDIAN)
    body = preamble + prefix[len(preamble) :] + dataset
    if path is not None:
        path.write_bytes(body)
    return StagedInstance(
        instance=instance,
        sop_class_uid=CT_STORAGE,
        transfer_syntax_uid=EXPLICIT_LITTLE_ENDIAN,
        size_bytes=len(body),
        file_sha256=hashlib.sha256(body).hexdigest(),
        dataset_sha256=hashlib.sha256(dataset).hexdigest(),
        body=body if path is None else None,
        path=path,
    )


def key_of(item: StagedInstance, slot: Slot = Slot.PRIMARY) -> str:
    return object_key(ARCHIVE, item, slot)


def bytes_of(item: StagedInstance) -> bytes:
    return bytes(item.body) if item.body is not None else item.path.read_bytes()  # type: ignore[union-attr]


async def read_all(destination: Destination, location: Location) -> bytes:
    return b"".join([piece async for piece in destination.read(location)])


class DestinationContract:
    """The promises. A subclass may loosen one only by saying so in a class attribute."""

    has_storage_classes = False

    @pytest.fixture
    def destination(self) -> Destination:
        raise NotImplementedError

    @pytest.fixture
    def versions_of(self) -> Callable[[str], int] | None:
        """Return what counts the versions under a key, where the store can be asked."""
        return None

    async def test_what_was_stored_is_found_and_read_back(self, destination: Destination) -> None:
        item = staged(an_instance())

        outcome = await destination.store(item)

        assert isinstance(outcome, Stored)
        assert outcome.fresh
        assert outcome.receipt.file_sha256 == item.file_sha256
        assert outcome.receipt.dataset_sha256 == item.dataset_sha256
        assert outcome.receipt.size_bytes == item.size_bytes
        assert outcome.receipt.location.key == key_of(item)
        assert await destination.find(outcome.receipt.location) == outcome.receipt
        assert await read_all(destination, outcome.receipt.location) == item.body

    async def test_an_absent_object_is_not_found(self, destination: Destination) -> None:
        assert await destination.find(Location(key_of(staged(an_instance())))) is None

    async def test_storing_twice_is_storing_once(
        self, destination: Destination, versions_of: Callable[[str], int] | None
    ) -> None:
        item = staged(an_instance())
        first = await destination.store(item)

        second = await destination.store(item)

        assert isinstance(first, Stored)
        assert second == Stored(first.receipt, fresh=False)
        assert versions_of is None or versions_of(key_of(item)) == 1

    async def test_another_data_set_is_told_and_not_written(
        self, destination: Destination, versions_of: Callable[[str], int] | None
    ) -> None:
        instance = an_instance()
        original = staged(instance, b"original")
        await destination.store(original)

        outcome = await destination.store(staged(instance, b"another"))

        assert isinstance(outcome, Taken)
        assert outcome.held.dataset_sha256 == original.dataset_sha256
        assert await read_all(destination, outcome.held.location) == original.body
        assert versions_of is None or versions_of(key_of(original)) == 1

    async def test_the_same_data_set_in_other_file_bytes_is_held_already(
        self, destination: Destination
    ) -> None:
        instance = an_instance()
        original = staged(instance, b"the data set")
        await destination.store(original)
        other_file = staged(instance, b"the data set", preamble=b"TIFF header")
        assert other_file.file_sha256 != original.file_sha256

        outcome = await destination.store(other_file)

        assert isinstance(outcome, Stored)
        assert not outcome.fresh
        assert outcome.receipt.file_sha256 == original.file_sha256

    async def test_a_bytearray_is_a_body(self, destination: Destination) -> None:
        item = staged(an_instance())
        assert item.body is not None
        mutable = StagedInstance(
            item.instance, item.sop_class_uid, item.transfer_syntax_uid, item.size_bytes,
            item.file_sha256, item.dataset_sha256, body=bytearray(item.body),
        )  # fmt: skip

        outcome = await destination.store(mutable)

        assert isinstance(outcome, Stored)
        assert await read_all(destination, outcome.receipt.location) == item.body

    async def test_a_spooled_object_is_stored_from_its_file(
        self, destination: Destination, tmp_path: Path
    ) -> None:
        item = staged(an_instance(), b"spooled" * 100_000, path=tmp_path / "spooled")

        outcome = await destination.store(item)

        assert isinstance(outcome, Stored)
        assert await read_all(destination, outcome.receipt.location) == bytes_of(item)

    async def test_every_slot_is_a_place_of_its_own(self, destination: Destination) -> None:
        instance = an_instance()
        items = {
            slot: staged(instance, f"for {slot.value}".encode())
            for slot in (Slot.PRIMARY, Slot.CONFLICT, Slot.QUARANTINE)
        }

        for slot, item in items.items():
            outcome = await destination.store(item, slot=slot)
            assert isinstance(outcome, Stored)
            assert outcome.receipt.location.key == key_of(item, slot)

        for slot, item in items.items():
            assert await read_all(destination, Location(key_of(item, slot))) == item.body

    async def test_a_part_of_an_object_can_be_read(self, destination: Destination) -> None:
        item = staged(an_instance(), b"0123456789")
        await destination.store(item)

        end = item.size_bytes
        tail = await read_all(destination, Location(key_of(item), offset=end - 4))
        middle = await read_all(destination, Location(key_of(item), offset=end - 8, length=3))

        assert tail == b"6789"
        assert middle == b"234"

    async def test_a_hundred_at_once_make_one_object(
        self, destination: Destination, versions_of: Callable[[str], int] | None
    ) -> None:
        item = staged(an_instance())

        outcomes = await asyncio.gather(*(destination.store(item) for _ in range(100)))

        assert all(isinstance(outcome, Stored) for outcome in outcomes)
        assert sum(outcome.fresh for outcome in outcomes if isinstance(outcome, Stored)) == 1
        assert versions_of is None or versions_of(key_of(item)) == 1

    async def test_a_bad_object_is_replaced_and_the_repair_is_found(
        self, destination: Destination
    ) -> None:
        instance = an_instance()
        spoilt = await destination.store(staged(instance, b"spoilt"))
        assert isinstance(spoilt, Stored)
        good = staged(instance, b"good")

        repaired = await destination.replace(good, spoilt.receipt)
        again = await destination.replace(good, spoilt.receipt)

        assert again == repaired
        assert await destination.find(repaired.location) == repaired
        assert await read_all(destination, repaired.location) == good.body

    async def test_a_repair_can_itself_be_repaired(self, destination: Destination) -> None:
        instance = an_instance()
        first = await destination.store(staged(instance, b"spoilt"))
        assert isinstance(first, Stored)
        second = await destination.replace(staged(instance, b"spoilt again"), first.receipt)
        good = staged(instance, b"good")

        third = await destination.replace(good, second)

        assert await read_all(destination, third.location) == good.body

    async def test_a_spoilt_repair_is_never_taken_for_a_good_one(
        self, destination: Destination
    ) -> None:
        """Its metadata may be right where its bytes are not."""
        instance = an_instance()
        first = await destination.store(staged(instance, b"spoilt"))
        assert isinstance(first, Stored)
        good = staged(instance, b"good")
        second = await destination.replace(good, first.receipt)

        third = await destination.replace(good, second)

        assert third.location != second.location

    async def test_a_deleted_object_is_put_again(self, destination: Destination) -> None:
        kept = await destination.store(staged(an_instance()))
        gone = staged(an_instance())
        assert isinstance(kept, Stored)
        bad = type(kept.receipt)(Location(key_of(gone)), 1, "00", "00", '"gone"')

        repaired = await destination.replace(gone, bad)

        assert repaired.location.key == key_of(gone)
        assert await read_all(destination, repaired.location) == gone.body

    async def test_evidence_is_immutable(self, destination: Destination) -> None:
        key = f"v1/{ARCHIVE}/00/{an_instance().study_instance_uid}/manifest/1.json.gz"

        assert await destination.get_evidence(key) is None
        assert await destination.put_evidence(key, b"first")
        assert not await destination.put_evidence(key, b"second")
        assert await destination.get_evidence(key) == b"first"

    async def test_the_storage_class_arrives_and_evidence_stays_in_the_standard_one(
        self, destination: Destination
    ) -> None:
        if not self.has_storage_classes:
            pytest.skip("this store has no storage classes")
        item = staged(an_instance())
        key = f"v1/{ARCHIVE}/00/{an_instance().study_instance_uid}/manifest/1.json.gz"

        outcome = await destination.store(item, storage_class="STANDARD_IA")
        await destination.put_evidence(key, b"evidence")

        assert isinstance(outcome, Stored)
        held = await destination.find(outcome.receipt.location)
        evidence = await destination.find(Location(key))
        assert held is not None
        assert evidence is not None
        assert (held.storage_class, evidence.storage_class) == ("STANDARD_IA", "STANDARD")
        assert outcome.receipt.storage_class == "STANDARD_IA"
