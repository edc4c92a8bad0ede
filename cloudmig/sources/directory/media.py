"""Which media files the DICOMDIRs of a folder name (PS3.10 section 8, PS3.3 F)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

from cloudmig.dicom.dicomdir import DirectoryRecord, DirectoryUnreadable, read_directory
from cloudmig.model.files import Account, ClaimState
from cloudmig.sources.directory.claims import Claim, FolderNames, add_claims
from cloudmig.sources.directory.index import FileIndex

__all__ = ["claim_by_directories"]

_CLAIMS_A_COMMIT = 2000


async def claim_by_directories(index: FileIndex, root: Path) -> None:
    """Write down what every DICOMDIR of the index names. One that cannot be read is bad."""
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        names = FolderNames(descriptor)
        paths = index.all("SELECT path FROM file WHERE kind = 'dicomdir' ORDER BY path")
        for (path,) in paths:
            batch: list[Claim] = []
            async with aclosing(_claims(names, root, path)) as claims:
                async for claim in claims:
                    batch.append(claim)
                    if len(batch) >= _CLAIMS_A_COMMIT:
                        await asyncio.to_thread(add_claims, index, batch)
                        batch = []
            await asyncio.to_thread(add_claims, index, batch)
    finally:
        os.close(descriptor)


async def _claims(names: FolderNames, root: Path, path: bytes) -> AsyncGenerator[Claim, None]:
    folder, _, _ = path.rpartition(b"/")
    try:
        async with aclosing(read_directory(root / os.fsdecode(path))) as records:
            async for record in records:
                yield _claim(names, path, folder, record)
    except DirectoryUnreadable:
        yield Claim(Account.DICOMDIR, path, 0, path, state=ClaimState.BAD)


def _claim(names: FolderNames, path: bytes, folder: bytes, record: DirectoryRecord) -> Claim:
    media_file, outside = _place(names, folder, record)
    return Claim(
        Account.DICOMDIR,
        path,
        record.number,
        media_file,
        record.study_instance_uid,
        record.series_instance_uid,
        record.sop_instance_uid,
        {
            "SOPClassUID": record.sop_class_uid,
            "TransferSyntaxUID": record.transfer_syntax_uid,
            "StudyDate": record.study_date,
            "PatientID": record.patient_id,
        },
        ClaimState.OUTSIDE if outside else None,
    )


def _place(names: FolderNames, folder: bytes, record: DirectoryRecord) -> tuple[bytes, bool]:
    """Return the path that a record means, and whether it leads out of the file-set."""
    if not record.file_id:
        return b"", False  # Its instance may lie under some name all the same.
    parts = [os.fsencode(part.replace("\\", "/")) for part in record.file_id]
    split = [each for part in parts for each in part.strip().split(b"/")]
    outside = any(each in {b"", b".", b".."} or b"\0" in each for each in split)
    as_told = b"/".join([folder, *split] if folder else split)
    return (None if outside else names.resolve(folder, split)) or as_told, outside
