"""What the index says of studies: summaries, expected sets, and the files to read for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from cloudmig.model.files import FileKind
from cloudmig.model.instance import ExpectedInstance
from cloudmig.model.references import InstanceRef, StudyRef, is_usable_uid
from cloudmig.model.study import StudySummary, UnnamedStudy
from cloudmig.ports import Listing
from cloudmig.sources.directory.as_indexed import FileFacts
from cloudmig.sources.directory.index import FileIndex, answer_texts

__all__ = ["IndexedFile", "duplicates_of", "files_of", "listing_of", "summaries"]

#: A file has its place in a study for ever, whatever lies under its name now, if it is wanted.
_IN_STUDY = "kind <> 'not_named'"
_SUMMARY_KEYWORDS = ("StudyDate", "StudyTime", "PatientID", "IssuerOfPatientID")


@dataclass(frozen=True, slots=True)
class IndexedFile:
    """One file as the last inventory saw it."""

    file_id: int
    path: bytes
    size_bytes: int
    mtime_ns: int
    kind: FileKind
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    dataset_sha256: str | None

    @property
    def facts(self) -> FileFacts:
        """What must still be true of it when it is read."""
        return FileFacts(self.path, self.size_bytes, self.mtime_ns, self.transfer_syntax_uid)


_FILE_COLUMNS = (
    "file_id, path, size_bytes, mtime_ns, kind, series_instance_uid, sop_instance_uid,"
    " sop_class_uid, transfer_syntax_uid, dataset_sha256"
)


def summaries(
    index: FileIndex, patient_key: Callable[[str, str], str]
) -> Iterator[list[StudySummary]]:
    """Yield the answers about one study after the other, each distinct answer of it."""
    after = 0
    while page := index.all(
        "SELECT study_id, study_instance_uid FROM study WHERE study_id > ?"
        " ORDER BY study_id LIMIT 500",
        (after,),
    ):
        for study_id, study_instance_uid in page:
            yield _summaries_of(index, study_id, study_instance_uid, patient_key)
        after = page[-1][0]
    last = ""
    while page := index.all(
        "SELECT DISTINCT study_instance_uid FROM claim WHERE state = 'missing'"
        " AND study_instance_uid > ? AND study_instance_uid NOT IN"
        " (SELECT study_instance_uid FROM study) ORDER BY study_instance_uid LIMIT 500",
        (last,),
    ):
        for (study_instance_uid,) in page:
            yield [_claimed_summary(index, study_instance_uid, patient_key)]
        last = page[-1][0]


def _summaries_of(
    index: FileIndex,
    study_id: int,
    study_instance_uid: str,
    patient_key: Callable[[str, str], str],
) -> list[StudySummary]:
    rows = index.all(
        f"SELECT a.answer, count(*) FROM file f JOIN answer a USING (answer_id)"  # noqa: S608
        f" WHERE f.study_id = ? AND f.{_IN_STUDY} GROUP BY a.answer_id"
        " ORDER BY a.answer_id",
        (study_id,),
    )
    if not rows:
        return []  # Its files are not wanted any more.
    modalities = tuple(
        text
        for (text,) in index.all(
            f"SELECT DISTINCT modality FROM file WHERE study_id = ? AND {_IN_STUDY}"  # noqa: S608
            " AND modality <> '' ORDER BY modality",
            (study_id,),
        )
    )
    if not is_usable_uid(study_instance_uid):
        return [
            _summary(
                UnnamedStudy.of(answer_texts(told) | {"StudyInstanceUID": study_instance_uid}),
                answer_texts(told) | {"StudyInstanceUID": study_instance_uid},
                modalities,
                count,
                patient_key,
            )
            for told, count in rows
        ]
    study = StudyRef(study_instance_uid)
    count = len(listing_of(index, study).instances) + _nameless(index, study_id)
    return [
        _summary(
            study,
            answer_texts(told) | {"StudyInstanceUID": study_instance_uid},
            modalities,
            count,
            patient_key,
        )
        for told, _ in rows
    ]


def _summary(
    study: StudyRef | UnnamedStudy,
    answer: dict[str, str],
    modalities: tuple[str, ...],
    count: int,
    patient_key: Callable[[str, str], str],
) -> StudySummary:
    date, time, patient_id, issuer = (answer.get(each, "") for each in _SUMMARY_KEYWORDS)
    return StudySummary(
        study,
        study_date_text=date,
        study_time_text=time,
        modalities=modalities,
        instances_claimed=count,
        patient_key=patient_key(patient_id, issuer),
        answer=answer,
    )


def _claimed_summary(
    index: FileIndex, study_instance_uid: str, patient_key: Callable[[str, str], str]
) -> StudySummary:
    """Return what a listing says of a study of which no file is to be found."""
    rows = index.all(
        "SELECT min(told), count(DISTINCT sop_instance_uid) FROM claim"
        " WHERE state = 'missing' AND study_instance_uid = ?",
        (study_instance_uid,),
    )
    [(told, count)] = rows
    answer = answer_texts(told) | {"StudyInstanceUID": study_instance_uid}
    return _summary(StudyRef(study_instance_uid), answer, (), count, patient_key)


def _study_id(index: FileIndex, study: StudyRef) -> int | None:
    row = index.one(
        "SELECT study_id FROM study WHERE study_instance_uid = ?", (study.study_instance_uid,)
    )
    return None if row is None else int(row[0])


def _nameless(index: FileIndex, study_id: int) -> int:
    row = index.one(
        "SELECT count(*) FROM file WHERE study_id = ? AND kind = 'unusable_uid'", (study_id,)
    )
    assert row is not None
    return int(row[0])


def listing_of(index: FileIndex, study: StudyRef) -> Listing:
    """Return the expected set: what lies on disk, what lay there, what a listing says does."""
    expected: dict[str, ExpectedInstance] = {}
    kinds: set[str] = set()
    rows: list[tuple[Any, ...]] = index.all(
        f"SELECT kind, series_instance_uid, sop_instance_uid, sop_class_uid"  # noqa: S608
        f" FROM file JOIN study USING (study_id) WHERE study_instance_uid = ?"
        f" AND {_IN_STUDY} ORDER BY kind = 'instance' DESC, path",
        (study.study_instance_uid,),
    )
    rows += index.all(
        "SELECT 'missing', series_instance_uid, sop_instance_uid, '' FROM claim"
        " WHERE study_instance_uid = ? AND state = 'missing' ORDER BY claim_id",
        (study.study_instance_uid,),
    )
    for kind, series_instance_uid, sop_instance_uid, sop_class_uid in rows:
        kinds.add(kind)
        if is_usable_uid(sop_instance_uid) and is_usable_uid(series_instance_uid):
            instance = InstanceRef(study.study_instance_uid, series_instance_uid, sop_instance_uid)
            expected.setdefault(sop_instance_uid, ExpectedInstance(instance, sop_class_uid))
    series = {each.instance.series_instance_uid for each in expected.values()}
    return Listing(
        tuple(expected.values()),
        complete=True,
        series_found=len(series),
        whole=not kinds.isdisjoint({"conflict", "torn", "unusable_uid"}),
    )


def files_of(index: FileIndex, study: StudyRef) -> list[IndexedFile]:
    """Return the files to read for a study: first contents, then others of the same UIDs."""
    return [
        _indexed(row)
        for row in index.all(
            f"SELECT {_FILE_COLUMNS} FROM file WHERE study_id = ?"  # noqa: S608
            " AND kind IN ('instance', 'conflict', 'torn', 'unusable_uid')"
            " ORDER BY kind = 'instance' DESC, path",
            (_study_id(index, study),),
        )
    ]


def duplicates_of(index: FileIndex, study: StudyRef, file: IndexedFile) -> list[IndexedFile]:
    """Return files with the same content, for when the first one cannot be read."""
    return [
        _indexed(row)
        for row in index.all(
            f"SELECT {_FILE_COLUMNS} FROM file WHERE study_id = ? AND sop_instance_uid = ?"  # noqa: S608
            " AND kind = 'duplicate' AND dataset_sha256 = ? ORDER BY path",
            (_study_id(index, study), file.sop_instance_uid, file.dataset_sha256),
        )
    ]


def _indexed(row: tuple[Any, ...]) -> IndexedFile:
    series, sop, sop_class, syntax = (text or "" for text in row[5:9])
    return IndexedFile(
        row[0], row[1], row[2], row[3], FileKind(row[4]), series, sop, sop_class, syntax, row[9]
    )
