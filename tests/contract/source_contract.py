"""What a source promises (`ports.InventorySource`, `ports.StudySource`), as a suite for each kind.

Subclass `SourceContract` and write `opened`, an async context manager that gives a source which
holds `studies` (made-up ones of `cloudmig.demo.studies`: `study.instances()`, `.part10()`) and
stages what arrives in `area`; and `absent`, one whose archive is not there. Class attributes
loosen a promise where a kind of source cannot keep it, and say so.

    class TestDirectory(SourceContract):
        @asynccontextmanager
        async def opened(self, studies, area, folder, *, object_bytes_max=...):
            write_files(folder, studies)
            yield DirectorySource(...)
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import NamedTuple

import pytest

from cloudmig.demo.studies import Instance, Study
from cloudmig.dicom.part10 import file_prefix
from cloudmig.errors import SourceError, SourceUnavailable
from cloudmig.model.instance import ExpectedInstance
from cloudmig.model.references import InstanceRef, StudyRef
from cloudmig.model.window import DateWindow, StudyQuestion
from cloudmig.pipeline.parts import Source
from cloudmig.ports import RetrieveEvidence, RetrieveRequest
from cloudmig.staging import MemoryBudget, Spool, StagingArea, StagingLimits
from tests.integration.migration_world import a_study

__all__ = [
    "STUDIES", "Arrived", "SourceContract", "an_area", "expected_of", "pull", "refs_of",
]  # fmt: skip

MIB = 1 << 20

STUDIES = (
    a_study(1, series=(3, 2), study_date="20190304"),
    a_study(2, series=(1,), modality="MR", study_date="20200229"),
    a_study(3, series=(2, 2), study_date=""),
)


class Arrived(NamedTuple):
    """What was seen of an arrival before it was settled."""

    instance: InstanceRef | None
    body: bytes
    sop_class_uid: str
    transfer_syntax_uid: str
    file_sha256: str
    dataset_sha256: str
    unexpected: bool
    trouble: str
    in_memory: bool


def an_area(folder: Path, *, memory_bytes: int = 64 * MIB, spool_bytes: int = 64 * MIB,
            limits: StagingLimits | None = None) -> StagingArea:  # fmt: skip
    """Return an empty staging area."""
    area = StagingArea(
        MemoryBudget(memory_bytes), Spool(folder / "spool", bytes_max=spool_bytes), limits
    )
    area.spool.clean()
    return area


def refs_of(study: Study) -> dict[InstanceRef, Instance]:
    """Return the instances of a study by reference."""
    return {
        InstanceRef(each.study_instance_uid, each.series_instance_uid, each.sop_instance_uid): each
        for each in study.instances()
    }


def expected_of(study: Study) -> dict[str, ExpectedInstance]:
    """Return the expected set as a perfect listing has it."""
    return {
        ref.sop_instance_uid: ExpectedInstance(ref, each.sop_class_uid)
        for ref, each in refs_of(study).items()
    }


async def pull(
    source: Source, request: RetrieveRequest
) -> tuple[list[Arrived], RetrieveEvidence, SourceError | None]:
    """Run a retrieve to its end and settle all; return what came, the evidence and the error."""
    arrived: list[Arrived] = []
    gone: SourceError | None = None
    async with source.retrieve(request) as retrieval:
        try:
            async for arrival in retrieval:
                staged = arrival.staged
                body = staged.path.read_bytes() if staged.path else bytes(staged.body or b"")
                arrived.append(
                    Arrived(
                        staged.instance, body, staged.sop_class_uid, staged.transfer_syntax_uid,
                        staged.file_sha256, staged.dataset_sha256, arrival.unexpected,
                        arrival.trouble, staged.body is not None,
                    )
                )  # fmt: skip
                arrival.settle(stored=True)
        except SourceError as error:
            gone = error
    return arrived, retrieval.evidence, gone


def whole(study: Study) -> RetrieveRequest:
    return RetrieveRequest(StudyRef(study.study_instance_uid), expected_of(study))


def given_back(area: StagingArea) -> bool:
    return (area.memory.bytes_used, area.spool.bytes_used) == (0, 0)


class SourceContract:
    """The promises."""

    studies: Sequence[Study] = STUDIES
    names_sop_classes = True  #: Its list says which class an instance is of.
    may_be_absent = True  #: An archive that is not there is unavailable, not refused.

    def opened(
        self,
        studies: Sequence[Study],
        area: StagingArea,
        folder: Path,
        *,
        object_bytes_max: int = 1 << 30,
    ) -> AbstractAsyncContextManager[Source]:
        """Return a source, prepared, that holds the studies."""
        raise NotImplementedError

    def absent(self, area: StagingArea, folder: Path) -> AbstractAsyncContextManager[Source]:
        """Return a source whose archive is not there."""
        raise NotImplementedError

    # Inventory

    async def test_the_universal_question_finds_every_study(self, tmp_path: Path) -> None:
        async with self.opened(self.studies, an_area(tmp_path), tmp_path) as source:
            found = [each async for each in source.find_studies(StudyQuestion())]

        by_uid = {each.study: each for each in found}
        assert len(found) == len(by_uid) == len(self.studies)
        for study in self.studies:
            summary = by_uid[StudyRef(study.study_instance_uid)]
            assert summary.study_date_text == study.study_date
            assert set(summary.modalities) in ({*study.modalities}, set())
            assert summary.instances_claimed in (len(study.instances()), None)
            assert summary.answer["PatientID"] == study.patient.patient_id
            assert summary.answer["PatientName"] == study.patient.name

    async def test_patients_are_told_apart_by_a_key_that_is_not_their_id(
        self, tmp_path: Path
    ) -> None:
        async with self.opened(self.studies, an_area(tmp_path), tmp_path) as source:
            found = [each async for each in source.find_studies(StudyQuestion())]

        keys = {each.patient_key: each.answer["PatientID"] for each in found}
        assert len(keys) == len({study.patient.patient_id for study in self.studies})
        assert all(key != patient_id for key, patient_id in keys.items())

    @pytest.mark.parametrize("question", [
        StudyQuestion(DateWindow(dt.date(2019, 1, 1), dt.date(2019, 12, 31))),
        StudyQuestion(DateWindow(dt.date(2020, 2, 29), dt.date(2020, 2, 29))),
        StudyQuestion(DateWindow(dt.date(1950, 1, 1), dt.date(1950, 1, 2))),
    ], ids=["a year", "a day", "nothing"])  # fmt: skip
    async def test_what_a_date_question_means_is_among_its_answers(
        self, question: StudyQuestion, tmp_path: Path
    ) -> None:
        async with self.opened(self.studies, an_area(tmp_path), tmp_path) as source:
            found = {each.study: each async for each in source.find_studies(question)}

        window = question.dates
        assert window is not None
        meant = {
            ref for ref, each in found.items() if each.study_date and each.study_date in window
        }
        assert meant == {
            StudyRef(study.study_instance_uid) for study in self.studies
            if study.study_date and dt.date.fromisoformat(study.study_date) in window
        }  # fmt: skip

    async def test_what_a_patient_prefix_means_is_among_its_answers(self, tmp_path: Path) -> None:
        wanted = self.studies[0]
        question = StudyQuestion(patient_id_prefix=wanted.patient.patient_id[:-1])
        async with self.opened(self.studies, an_area(tmp_path), tmp_path) as source:
            found = {each.study async for each in source.find_studies(question)}

        assert StudyRef(wanted.study_instance_uid) in found

    # Lists

    async def test_a_list_names_exactly_the_instances(self, tmp_path: Path) -> None:
        async with self.opened(self.studies, an_area(tmp_path), tmp_path) as source:
            for study in self.studies:
                listing = await source.list_instances(StudyRef(study.study_instance_uid))

                refs = refs_of(study)
                assert {each.instance for each in listing.instances} == refs.keys()
                assert len(listing.instances) == len(refs)
                assert listing.complete
                assert listing.series_found == len(study.series)
                for each in listing.instances:
                    known = {refs[each.instance].sop_class_uid}
                    assert each.sop_class_uid in (known if self.names_sop_classes else known | {""})

    async def test_the_list_of_an_unknown_study_names_nothing(self, tmp_path: Path) -> None:
        async with self.opened(self.studies, an_area(tmp_path), tmp_path) as source:
            listing = await source.list_instances(StudyRef("1.2.3.4.5"))

        assert listing.instances == ()

    # Retrieves

    async def test_a_whole_study_arrives_as_it_is_held(self, tmp_path: Path) -> None:
        area = an_area(tmp_path)
        async with self.opened(self.studies, area, tmp_path) as source:
            for study in self.studies:
                arrived, evidence, gone = await pull(source, whole(study))

                assert gone is None
                refs = refs_of(study)
                assert [each.instance for each in arrived if each.instance not in refs] == []
                assert len(arrived) == len(refs)
                for each in arrived:
                    assert each.instance is not None
                    held = refs[each.instance]
                    data_set = held.data_set()
                    # Ours before the data set, and the data set as it is: the file is determined.
                    assert each.body == data_set_file(held, data_set)
                    assert each.file_sha256 == hashlib.sha256(each.body).hexdigest()
                    assert each.dataset_sha256 == hashlib.sha256(data_set).hexdigest()
                    assert each.sop_class_uid == held.sop_class_uid
                    assert each.transfer_syntax_uid == held.transfer_syntax_uid
                    assert (each.unexpected, each.trouble) == (False, "")
                assert evidence.strays == 0
        assert given_back(area)

    async def test_a_narrow_request_brings_exactly_what_it_names(self, tmp_path: Path) -> None:
        area, study = an_area(tmp_path), self.studies[0]
        expected = expected_of(study)
        some = {uid: expected[uid] for uid in list(expected)[1:4]}
        request = RetrieveRequest(StudyRef(study.study_instance_uid), some, narrow=True)
        async with self.opened(self.studies, area, tmp_path) as source:
            arrived, _, gone = await pull(source, request)

        assert gone is None
        assert {each.instance.sop_instance_uid for each in arrived if each.instance} == some.keys()
        assert len(arrived) == len(some)
        assert given_back(area)

    async def test_what_was_not_expected_says_so(self, tmp_path: Path) -> None:
        area, study = an_area(tmp_path), self.studies[0]
        expected = expected_of(study)
        forgotten = next(iter(expected))
        del expected[forgotten]
        request = RetrieveRequest(StudyRef(study.study_instance_uid), expected)
        async with self.opened(self.studies, area, tmp_path) as source:
            arrived, _, _ = await pull(source, request)

        told = {
            each.instance.sop_instance_uid: each.unexpected for each in arrived if each.instance
        }
        assert told == {**dict.fromkeys(expected, False), forgotten: True}

    async def test_the_same_instance_makes_the_same_file_each_time(self, tmp_path: Path) -> None:
        study = self.studies[0]
        async with self.opened(self.studies, an_area(tmp_path), tmp_path) as source:
            first, _, _ = await pull(source, whole(study))
            second, _, _ = await pull(source, whole(study))

        assert {each.file_sha256 for each in first} == {each.file_sha256 for each in second}

    async def test_studies_pulled_at_once_are_not_mixed_up(self, tmp_path: Path) -> None:
        area = an_area(tmp_path)
        async with self.opened(self.studies, area, tmp_path) as source:
            results = await asyncio.gather(*(pull(source, whole(each)) for each in self.studies))

        for study, (arrived, evidence, gone) in zip(self.studies, results, strict=True):
            assert gone is None
            assert {each.instance for each in arrived} == refs_of(study).keys()
            assert evidence.strays == 0
        assert given_back(area)

    async def test_what_memory_cannot_hold_arrives_in_the_spool(self, tmp_path: Path) -> None:
        """No credit is to be had: every object is written out, and is the same object."""
        limits = StagingLimits(credit_bytes=4096, credit_wait_max_s=0.01)
        area, study = an_area(tmp_path, memory_bytes=0, limits=limits), self.studies[0]
        async with self.opened(self.studies, area, tmp_path) as source:
            arrived, _, gone = await pull(source, whole(study))

        assert gone is None
        refs = refs_of(study)
        assert {each.instance for each in arrived} == refs.keys()
        for each in arrived:
            assert each.instance is not None
            assert not each.in_memory
            assert each.body == data_set_file(refs[each.instance], refs[each.instance].data_set())
        assert given_back(area)

    async def test_an_object_beyond_our_limit_is_named_and_not_kept(self, tmp_path: Path) -> None:
        area, study = an_area(tmp_path), self.studies[0]
        async with self.opened(self.studies, area, tmp_path, object_bytes_max=200) as source:
            arrived, evidence, _ = await pull(source, whole(study))

        assert arrived == []
        assert evidence.too_large
        assert evidence.too_large <= expected_of(study).keys()
        assert given_back(area)

    async def test_what_nobody_takes_is_given_back(self, tmp_path: Path) -> None:
        """Whoever leaves in the middle leaves nothing behind."""
        area, study = an_area(tmp_path), self.studies[0]
        async with self.opened(self.studies, area, tmp_path) as source:
            async with source.retrieve(whole(study)) as retrieval:
                async for arrival in retrieval:
                    arrival.settle(stored=False)
                    break
            async with asyncio.timeout(5):
                while not given_back(area):
                    await asyncio.sleep(0.01)  # The end of an association takes its time.

            arrived, _, gone = await pull(source, whole(study))

        assert gone is None, "the source is of use afterwards"
        assert len(arrived) == len(refs_of(study))

    # What else

    async def test_a_source_that_is_there_answers(self, tmp_path: Path) -> None:
        async with self.opened(self.studies, an_area(tmp_path), tmp_path) as source:
            await source.ping()
            assert source.name
            assert all(isinstance(each, str) for each in source.alternatives(["1.2.840.10008.1"]))

    async def test_a_source_that_is_not_there_is_unavailable(self, tmp_path: Path) -> None:
        area, study = an_area(tmp_path), self.studies[0]
        kind = SourceUnavailable if self.may_be_absent else SourceError
        async with self.absent(area, tmp_path) as source:
            with pytest.raises(kind):
                await source.ping()
            with pytest.raises(kind):
                await source.list_instances(StudyRef(study.study_instance_uid))
            arrived, _, gone = await pull(source, whole(study))

        assert arrived == []
        assert isinstance(gone, kind)
        assert given_back(area)


def data_set_file(held: Instance, data_set: bytes) -> bytes:
    """Return the file that a data set becomes."""
    prefix = file_prefix(held.sop_class_uid, held.sop_instance_uid, held.transfer_syntax_uid)
    return prefix + data_set
