"""What a DICOMDIR names: the media files of its IMAGE-level records (PS3.3 F, PS3.10 section 8).

It parses what a stranger wrote, so it runs in a child process with limits on memory and time:
`python -m cloudmig.dicom.dicomdir FILE`, which answers with a JSON list a line for each record
that references a file, or an instance, or should. Records are followed by their offsets; those
that no offset leads to (edited DICOMDIRs have such) are taken in the order of the file.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cloudmig.own_modules import module_command

__all__ = ["DirectoryRecord", "DirectoryUnreadable", "read_directory"]

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_MEMORY_BYTES_MAX = 4 << 30
_CPU_S_MAX = 600
_LINE_BYTES_MAX = 1 << 20
_UNUSED = 0x0000  #: (0004,1410) Record In-use Flag: inactive.


class DirectoryUnreadable(ValueError):
    """It is no DICOMDIR, or takes more than its limits allow."""


@dataclass(frozen=True, slots=True)
class DirectoryRecord:
    """One record that references a file, or should. Texts as they stand, perhaps unusable."""

    number: int  #: Position in the Directory Record Sequence, from 1.
    #: (0004,1500) Referenced File ID, from the root of the file-set. Empty where it names none.
    file_id: tuple[str, ...]
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str  #: (0004,1511) Referenced SOP Instance UID in File.
    sop_class_uid: str
    transfer_syntax_uid: str
    study_date: str
    patient_id: str  #: Patient data, as is every file ID.


async def read_directory(
    path: Path, *, time_max_s: float = 900.0
) -> AsyncGenerator[DirectoryRecord, None]:
    """Yield the records of a DICOMDIR, read in a limited child. Raises `DirectoryUnreadable`."""
    import asyncio  # noqa: PLC0415 - the child does without

    child = await asyncio.create_subprocess_exec(
        *module_command("cloudmig.dicom.dicomdir", str(path)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        limit=_LINE_BYTES_MAX,
        start_new_session=True,  # Ctrl-C is the parent's to handle.
    )  # fmt: skip
    assert child.stdout is not None
    deadline_s = asyncio.get_running_loop().time() + time_max_s
    try:
        while True:
            async with asyncio.timeout_at(deadline_s):
                line = await child.stdout.readline()
            if not line:
                break
            number, file_id, *texts = json.loads(line)
            yield DirectoryRecord(number, tuple(file_id), *texts)
        if await child.wait():
            raise DirectoryUnreadable(f"the reader ended with {child.returncode}")
    except (TimeoutError, ValueError) as error:
        raise DirectoryUnreadable("cannot be read within its limits") from error
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()


def _records(path: str) -> Iterator[list[object]]:
    # Imported here: only the child parses.
    import pydicom  # noqa: PLC0415

    records = list(pydicom.dcmread(path).DirectoryRecordSequence)
    above = _parents_by_offset(path, records)
    context: dict[str, Dataset] = {}
    for number, record in enumerate(records, 1):
        kind = _text(record, "DirectoryRecordType")
        if kind in {"PATIENT", "STUDY", "SERIES"}:
            context[kind] = record
        file_id = _parts(record)
        sop_instance_uid = _text(record, "ReferencedSOPInstanceUIDInFile")
        # An image without a file is lost, not absent: what names an instance is told, too.
        names_any = file_id or sop_instance_uid or kind == "IMAGE"
        if not names_any or record.get("RecordInUseFlag", 0xFFFF) == _UNUSED:
            continue
        parents = above.get(number - 1, context)
        study, series = parents.get("STUDY"), parents.get("SERIES")
        yield [
            number,
            file_id,
            _text(study, "StudyInstanceUID"),
            _text(series, "SeriesInstanceUID"),
            sop_instance_uid,
            _text(record, "ReferencedSOPClassUIDInFile"),
            _text(record, "ReferencedTransferSyntaxUIDInFile"),
            _text(study, "StudyDate"),
            _text(parents.get("PATIENT"), "PatientID"),
        ]


def _parents_by_offset(path: str, records: list[Dataset]) -> dict[int, dict[str, Dataset]]:
    """Return the records above each record, for those that an offset leads to (PS3.3 F.3.2.2)."""
    import pydicom  # noqa: PLC0415

    by_offset = {getattr(record, "seq_item_tell", None): n for n, record in enumerate(records)}
    header = pydicom.dcmread(
        path, specific_tags=["OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity"]
    )
    first = header.get("OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity", 0)
    above: dict[int, dict[str, Dataset]] = {}
    to_visit: list[tuple[int, dict[str, Dataset]]] = [(int(first or 0), {})]
    while to_visit:
        offset, parents = to_visit.pop()
        number = by_offset.get(offset)
        if number is None or number in above:
            continue  # The end of a chain, an offset into nowhere, or a loop.
        record = records[number]
        above[number] = parents
        to_visit.append((int(record.get("OffsetOfTheNextDirectoryRecord") or 0), parents))
        below = {**parents, _text(record, "DirectoryRecordType"): record}
        lower = int(record.get("OffsetOfReferencedLowerLevelDirectoryEntity") or 0)
        to_visit.append((lower, below))
    return above


def _parts(record: Dataset) -> list[str]:
    """Return the Referenced File ID; an empty list where none of its parts says anything."""
    value = record.get("ReferencedFileID") or []
    parts = [value] if isinstance(value, str) else [str(part) for part in value]
    return parts if any(part.strip() for part in parts) else []


def _text(record: Dataset | None, keyword: str) -> str:
    value = None if record is None else record.get(keyword)
    return "" if value is None else str(value).strip()


def _main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES_MAX, _MEMORY_BYTES_MAX))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_S_MAX, _CPU_S_MAX))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for record in _records(sys.argv[1]):
        sys.stdout.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    _main()
