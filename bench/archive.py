"""Write the archives the contenders migrate: deterministic, no pixels worth compressing.

One header is encoded per study with pydicom; per image only fixed-width values are patched in it
and a window of a noise buffer is written behind it, so the speed is that of the disk. What was
written is the truth every delivery is checked against, by the digest of the data set bytes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import random
import struct
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian

NOISE_BYTES = 8 << 20
#: What makes a study larger is dropped by dcmqridx without a word, and refused by dcmqrscp.
DCMTK_STUDY_BYTES_MAX = 1 << 30
#: Stands in the encoded header until an image's own SOP Instance UID is patched over it.
UID_SLOT = b"2.25." + b"9" * 39
NUMBER_SLOT = b"8642"


@dataclass(frozen=True, slots=True)
class Area:
    """One storage area of the PACS, called by an AE title of its own."""

    ae_title: str
    studies: int
    instances_per_study: int
    rows: int
    columns: int
    frames: int = 1
    #: Registered in an index of dcmqrscp; without, there is nothing but images in the folder.
    in_pacs: bool = True

    @property
    def pixel_bytes(self) -> int:
        """Length of the pixel data of one instance, at 16 bits a pixel."""
        return self.rows * self.columns * 2 * self.frames


@dataclass(frozen=True, slots=True)
class Study:
    """What was put into the PACS for one study."""

    study_instance_uid: str
    instances: int
    file_bytes: int
    data_set_sha256s: frozenset[bytes]


def write_area(area: Area, folder: Path) -> list[Study]:
    """Write an area's files below a folder and register them in dcmqrscp's index there."""
    folder.mkdir(parents=True)
    if not area.in_pacs:
        return _write_studies(area, folder)
    if area.pixel_bytes * area.instances_per_study > DCMTK_STUDY_BYTES_MAX:
        # The index looks at the size when a file is registered, not when it is sent.
        _write_studies(dataclasses.replace(area, frames=2), folder)
        _register(folder)
        return _write_studies(area, folder)
    studies = _write_studies(area, folder)
    _register(folder)
    return studies


def _write_studies(area: Area, folder: Path) -> list[Study]:
    noise = random.Random(1).randbytes(NOISE_BYTES)
    return [_write_study(area, number, folder, noise) for number in range(area.studies)]


def _register(folder: Path) -> None:
    for study_folder in sorted(path for path in folder.iterdir() if path.is_dir()):
        files = [str(path) for path in sorted(study_folder.iterdir())]
        subprocess.run(["/usr/bin/dcmqridx", "-q", str(folder), *files], check=True)


def data_set_sha256(path: Path) -> bytes:
    """Return the SHA-256 of a Part 10 file behind its group 0002 (PS3.10 7.1)."""
    with path.open("rb") as file:
        file.seek(132 + 8)  # behind the preamble, "DICM" and the head of (0002,0000)
        (meta_length,) = struct.unpack("<I", file.read(4))
        file.seek(meta_length, 1)
        return hashlib.file_digest(file, "sha256").digest()


def _write_study(area: Area, number: int, folder: Path, noise: bytes) -> Study:
    study_instance_uid = _uid(area.ae_title, number)
    header = _header(area, number, study_instance_uid)
    study_folder = folder / f"study{number:04d}"
    study_folder.mkdir(exist_ok=True)
    digests = set()
    file_bytes = 0
    for index in range(area.instances_per_study):
        sop_instance_uid = _uid(area.ae_title, number, index).encode()
        head = header.replace(UID_SLOT, sop_instance_uid)
        head = head.replace(NUMBER_SLOT, b"%04d" % (index + 1))
        path = study_folder / f"{index:05d}.dcm"
        offset = 2 * random.Random(f"{area.ae_title} {number} {index}").randrange(NOISE_BYTES // 2)
        with path.open("wb") as file:
            file.write(head)
            for piece in _pixels(noise, offset, area.pixel_bytes):
                file.write(piece)
        digests.add(data_set_sha256(path))
        file_bytes += path.stat().st_size
    assert len(digests) == area.instances_per_study, "every instance differs from every other"
    return Study(study_instance_uid, area.instances_per_study, file_bytes, frozenset(digests))


def _pixels(noise: bytes, offset: int, length: int) -> Iterator[memoryview]:
    """Yield `length` bytes of the noise buffer, read in a circle from an offset."""
    view = memoryview(noise)
    while length:
        piece = view[offset : offset + length]
        length -= len(piece)
        offset = 0
        yield piece


def _header(area: Area, number: int, study_instance_uid: str) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage if area.frames == 1 else EnhancedCTImageStorage
    meta.MediaStorageSOPInstanceUID = UID(UID_SLOT.decode())
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(_uid("implementation"))
    image = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    image.SOPClassUID = meta.MediaStorageSOPClassUID
    image.SOPInstanceUID = UID_SLOT.decode()
    image.StudyDate = f"2019{1 + number % 12:02d}{1 + number % 28:02d}"
    image.StudyTime = f"{8 + number % 10:02d}1500"
    image.AccessionNumber = f"BENCH{number:05d}"
    image.Modality = "CT"
    image.PatientName = f"Bench^Patient {number}"
    image.PatientID = f"B{number:06d}"
    image.StudyInstanceUID = study_instance_uid
    image.SeriesInstanceUID = _uid(area.ae_title, number, "series")
    image.StudyID = str(number)
    image.SeriesNumber = 1
    image.InstanceNumber = int(NUMBER_SLOT)
    image.SamplesPerPixel = 1
    image.PhotometricInterpretation = "MONOCHROME2"
    if area.frames > 1:
        image.NumberOfFrames = area.frames
    image.Rows, image.Columns = area.rows, area.columns
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
    image.PixelRepresentation = 0
    encoded = io.BytesIO()
    pydicom.dcmwrite(encoded, image, enforce_file_format=True)
    assert encoded.getvalue().count(UID_SLOT) == 2
    assert encoded.getvalue().count(NUMBER_SLOT) == 1
    return encoded.getvalue() + struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OW", 0, area.pixel_bytes)


def _uid(*key: object) -> str:
    """Derive a UID of always 44 characters (PS3.5 B.2), as many as the slot it is patched into."""
    for salt in range(1000):
        digest = hashlib.sha256(repr((key, salt)).encode()).digest()
        value = uuid.UUID(bytes=digest[:16], version=4).int
        if value >= 10**38:
            return f"2.25.{value}"
    raise AssertionError("unreachable")
