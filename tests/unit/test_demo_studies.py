"""The made-up studies: deterministic, valid, spoiled on demand."""

from __future__ import annotations

import datetime as dt
import io
import itertools
import shutil
import subprocess
from pathlib import Path

import pydicom
import pytest

from cloudmig.demo.archive import demo_archive
from cloudmig.demo.oddities import (
    conflicting,
    garbage,
    heavy,
    listed_twice,
    renamed,
    truncated,
    two_patients,
    without_images,
)
from cloudmig.demo.studies import Instance, Study, StudyMaker

TODAY = dt.date(2026, 11, 22)
JPEG = "1.2.840.10008.1.2.4.50"


def a_study(modality: str = "CT", *, syntax: str | None = None) -> Study:
    for study in StudyMaker(TODAY).studies(500):
        if study.modalities == (modality,) and (
            syntax is None or study.series[0].transfer_syntax_uid == syntax
        ):
            return study
    raise LookupError(modality)


def parsed(instance: Instance) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(instance.part10()))


def test_equal_seeds_make_equal_bytes_and_other_seeds_others() -> None:
    first, again = (StudyMaker(TODAY, seed=3).study(5) for _ in range(2))
    other = StudyMaker(TODAY, seed=4).study(5)

    assert [i.part10() for i in first.instances()] == [i.part10() for i in again.instances()]
    assert other.study_instance_uid != first.study_instance_uid


def test_sixty_studies_have_every_modality_and_no_two_equal_instances() -> None:
    studies = StudyMaker(TODAY).archive(60)
    instances = list(itertools.chain.from_iterable(study.instances() for study in studies))

    assert {study.modalities for study in studies} == {("CT",), ("MR",), ("CR",), ("US",), ("SR",)}
    assert len({instance.sop_instance_uid for instance in instances}) == len(instances) > 300
    assert len({instance.data_set() for instance in instances}) == len(instances)
    assert len({instance.transfer_syntax_uid for instance in instances}) == 4
    years = {study.study_date[:4] for study in studies if study.study_date}
    assert len(years) > 10
    assert [study.study_date for study in studies].count("") == 1
    assert any(not name.isascii() for name in (study.patient.name for study in studies))


@pytest.mark.parametrize("modality", ["CT", "MR", "CR", "US", "SR"])
def test_the_data_set_says_what_the_instance_says(modality: str) -> None:
    for instance in a_study(modality).instances():
        data_set = parsed(instance)

        assert data_set.SOPInstanceUID == instance.sop_instance_uid
        assert data_set.file_meta.MediaStorageSOPInstanceUID == instance.sop_instance_uid
        assert data_set.file_meta.TransferSyntaxUID == instance.transfer_syntax_uid
        assert data_set.SOPClassUID == instance.sop_class_uid
        assert data_set.StudyInstanceUID == instance.study_instance_uid
        assert data_set.Modality == modality
        assert instance.part10().endswith(instance.data_set())


def test_a_picture_has_as_many_bytes_as_its_header_says() -> None:
    data_set = parsed(a_study("CR").instances()[0])

    assert len(data_set.PixelData) == data_set.Rows * data_set.Columns * 2


@pytest.mark.skipif(not shutil.which("dcmdjpeg"), reason="needs DCMTK's dcmdjpeg")
def test_the_jpeg_pictures_can_be_decoded(tmp_path: Path) -> None:
    source = tmp_path / "compressed.dcm"
    source.write_bytes(a_study("US", syntax=JPEG).instances()[0].part10())

    subprocess.run(["dcmdjpeg", source, tmp_path / "plain.dcm"], check=True)

    decoded = pydicom.dcmread(tmp_path / "plain.dcm")
    assert len(decoded.PixelData) == 256 * 256
    assert len(set(decoded.PixelData)) > 5


def test_the_canary_is_every_patient_of_its_archive() -> None:
    study = StudyMaker(TODAY, canary=True).study(0)

    assert parsed(study.instances()[0]).PatientName == "CANARY^NAME"


def test_ten_thousand_recipes_make_no_bytes() -> None:
    maker = StudyMaker(TODAY)

    assert maker.study(9_999).instances()[0].data_set()
    assert sum(1 for _ in maker.studies(10_000)) == 10_000


def test_a_conflict_is_one_uid_with_two_contents() -> None:
    first, second = conflicting(a_study(), 2).instances()[2:4]

    assert first.sop_instance_uid == second.sop_instance_uid
    assert first.data_set() != second.data_set()
    assert parsed(first).PixelData == parsed(second).PixelData
    assert parsed(second).InstitutionName == "Example Clinic B"


def test_oddities_spoil_one_instance_and_leave_the_others() -> None:
    study = a_study()
    whole = [instance.data_set() for instance in study.instances()]

    assert len(truncated(study).instances()[0].data_set()) < len(whole[0])
    assert garbage(study, 1).instances()[1].data_set().startswith(b"\xde\xad\xbe\xef")
    assert [i.data_set() for i in garbage(study, 1).instances()[2:]] == whole[2:]
    assert len(listed_twice(study).instances()) == len(whole) + 1
    assert len(heavy(study, extra_bytes=1_000_000).instances()[0].data_set()) > 1_000_000
    assert without_images(study).instances() == []
    one, other = two_patients(study)
    assert one.study_instance_uid == other.study_instance_uid
    assert one.patient != other.patient


@pytest.mark.parametrize("sop_instance_uid", ["../../../etc/x", ""])
@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"])
def test_a_hostile_uid_is_in_the_data_set_too(sop_instance_uid: str, syntax: str) -> None:
    study = renamed(a_study(syntax=syntax), 1, sop_instance_uid=sop_instance_uid)
    instance = study.instances()[1]

    assert instance.sop_instance_uid == sop_instance_uid
    stored = parsed(instance).get_item("SOPInstanceUID").value or b""
    assert stored.rstrip(b"\0").decode() == sop_instance_uid


def test_the_demo_archive_has_its_three_secrets() -> None:
    archive = demo_archive(60, today=TODAY)
    uids = [i.sop_instance_uid for study in archive.studies for i in study.instances()]

    assert len(uids) - len(set(uids)) == 1
    assert archive.script.missing < set(uids)
    assert archive.script.study_limit is not None
    assert archive.script.study_limit < len(archive.studies)


def test_a_well_behaved_archive_has_none() -> None:
    archive = demo_archive(20, today=TODAY, well_behaved=True)

    assert archive.script.to_json() == "{}"
