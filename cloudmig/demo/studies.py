"""Made-up studies as a hospital has them: small, deterministic, made only when they are asked for.

    StudyMaker.study(n) ── Study ── Series ── Instance ── data_set() / part10()

A study is a recipe of about a kilobyte; the bytes of an instance come into being in `data_set` and
are not kept, so that an archive of 100,000 instances needs no memory. Equal seeds make equal bytes.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from pydicom.uid import (
    UID,
    BasicTextSRStorage,
    ComputedRadiographyImageStorage,
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    MRImageStorage,
    RLELossless,
    UltrasoundImageStorage,
)

__all__ = ["Instance", "Patient", "Series", "Study", "StudyMaker", "made_up_uid"]

_FAMILIES = (
    "Smith", "Jones", "Müller", "Håkansson", "Núñez", "Lefèvre", "Sørensen", "O'Brien", "Taylor",
    "Łukaszewicz", "de Souza", "Иванов", "Παπαδόπουλος", "Yamada=山田", "Nguyen", "Clark",
)  # fmt: skip
_GIVEN = ("Mary", "José", "Zoë", "Pavel", "Ingrid", "Tarou=太郎", "Chloé", "John", "Søren", "Ana")
_DESCRIPTIONS = {
    "CT": ("CT ABDOMEN", "CT HEAD", "CT CHEST"), "MR": ("MR BRAIN", "MR KNEE LEFT"),
    "CR": ("CHEST PA", "HAND LEFT"), "US": ("US ABDOMEN", "US THYROID"), "SR": ("REPORT",),
}  # fmt: skip
#: How many of a hundred studies have this modality.
_SHARES = {"CT": 38, "MR": 22, "CR": 20, "US": 12, "SR": 8}
_SOP_CLASSES = {
    "CT": CTImageStorage, "MR": MRImageStorage, "CR": ComputedRadiographyImageStorage,
    "US": UltrasoundImageStorage, "SR": BasicTextSRStorage,
}  # fmt: skip
_YEARS = 15


def made_up_uid(*parts: object) -> str:
    """Derive a UID from a name, under the root that needs no registration (PS3.5 B.2)."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


@dataclass(frozen=True, slots=True)
class Patient:
    """Whom a study is of. Nobody: the names are drawn from a list."""

    name: str
    patient_id: str
    birth_date: str
    sex: str


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance that the archive holds; `data_set` makes its bytes, each time anew."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    instance_number: int
    data_set: Callable[[], bytes] = field(compare=False, repr=False)

    def part10(self) -> bytes:
        """Return the instance as a file (PS3.10 section 7.1)."""
        return _file_meta(self) + self.data_set()


@dataclass(frozen=True, slots=True)
class Series:
    """One series: how many instances, of which kind."""

    series_instance_uid: str
    series_number: int
    modality: str
    transfer_syntax_uid: str
    instances: int
    rows: int
    columns: int

    @property
    def sop_class_uid(self) -> str:
        """Return the storage class of this modality."""
        return _SOP_CLASSES[self.modality]


@dataclass(frozen=True, slots=True)
class Study:
    """The recipe of one study. `oddities` change what is held, see `cloudmig.demo.oddities`."""

    study_instance_uid: str
    patient: Patient
    study_date: str  #: As the PACS has it: may be empty or invalid.
    study_time: str
    accession_number: str
    study_id: str
    description: str
    series: tuple[Series, ...]
    oddities: tuple[Callable[[Study, list[Instance]], list[Instance]], ...] = ()

    @property
    def modalities(self) -> tuple[str, ...]:
        """Return each modality once, sorted."""
        return tuple(sorted({series.modality for series in self.series}))

    def series_of(self, instance: Instance) -> Series | None:
        """Return the series an instance says it belongs to."""
        for series in self.series:
            if series.series_instance_uid == instance.series_instance_uid:
                return series
        return None

    def instances(self) -> list[Instance]:
        """List the instances in the order of the archive, without making any bytes."""
        made = [
            self._instance(series, number)
            for series in self.series
            for number in range(1, series.instances + 1)
        ]
        for oddity in self.oddities:
            made = oddity(self, made)
        return made

    def _instance(self, series: Series, number: int) -> Instance:
        sop_instance_uid = made_up_uid(series.series_instance_uid, number)
        return Instance(
            study_instance_uid=self.study_instance_uid,
            series_instance_uid=series.series_instance_uid,
            sop_instance_uid=sop_instance_uid,
            sop_class_uid=series.sop_class_uid,
            transfer_syntax_uid=series.transfer_syntax_uid,
            instance_number=number,
            data_set=lambda: made_up_data_set(self, series, number, sop_instance_uid),
        )


@dataclass(frozen=True, slots=True)
class StudyMaker:
    """Makes study number n, the same each time; `today` is the day the archive is looked at."""

    today: dt.date
    seed: int = 1
    canary: bool = False  #: Every patient is CANARY^NAME, to find out where names leak.
    instances_per_series_max: int = 16

    def study(self, number: int) -> Study:
        """Make study `number`: two of thirty are recent, the others spread over 15 years."""
        draw = random.Random(f"{self.seed}/study/{number}")  # noqa: S311 - no secret is made here
        study_instance_uid = made_up_uid(self.seed, "study", number)
        modality = draw.choices(tuple(_SHARES), tuple(_SHARES.values()))[0]
        days = draw.randrange(0, 60) if number % 15 == 7 else draw.randrange(400, 365 * _YEARS)
        second = draw.randrange(7 * 3600, 20 * 3600)
        return Study(
            study_instance_uid=study_instance_uid,
            patient=self._patient(draw.randrange(0, 1 + number)),
            study_date=f"{self.today - dt.timedelta(days=days):%Y%m%d}",
            study_time=f"{second // 3600:02}{second // 60 % 60:02}{second % 60:02}",
            accession_number=f"A{self.seed:02}{number:07}",
            study_id=f"{number}",
            description=draw.choice(_DESCRIPTIONS[modality]),
            series=tuple(self._series(study_instance_uid, modality, draw)),
        )

    def studies(self, count: int) -> Iterator[Study]:
        """Make the first `count` studies, one after the other."""
        return (self.study(number) for number in range(count))

    def archive(self, count: int) -> tuple[Study, ...]:
        """Make an archive with one study of an empty and one of an invalid date among them."""
        made = list(self.studies(count))
        if count >= 4:
            made[1] = replace(made[1], study_date="")
            made[3] = replace(made[3], study_date="20130231")
            made[2] = replace(made[2], study_time="")  # In no window of time on its day.
        return tuple(made)

    def _patient(self, number: int) -> Patient:
        draw = random.Random(f"{self.seed}/patient/{number}")  # noqa: S311 - no secret either
        family, _, family_written = draw.choice(_FAMILIES).partition("=")
        given, _, given_written = draw.choice(_GIVEN).partition("=")
        name = f"{family}^{given}"
        if family_written or given_written:
            name += f"={family_written or family}^{given_written or given}"
        born = self.today - dt.timedelta(days=draw.randrange(20 * 365, 95 * 365))
        return Patient(
            name="CANARY^NAME" if self.canary else name,
            patient_id=f"CANARYID{number}" if self.canary else f"H{number * 37 % 10_007:05}",
            birth_date=f"{born:%Y%m%d}",
            sex=draw.choice("MF"),
        )

    def _series(
        self, study_instance_uid: str, modality: str, draw: random.Random
    ) -> Iterator[Series]:
        most = self.instances_per_series_max
        shapes: dict[str, tuple[int, int, int, int]] = {  # series, instances, rows, columns
            "CT": (draw.randint(1, 2), draw.randint(6, most) if most > 6 else most, 96, 96),
            "MR": (draw.randint(2, 3), draw.randint(4, 8) if most > 8 else most, 64, 64),
            "CR": (1, 1, *draw.choice(((200, 160), (400, 320), (480, 400)))),
            "US": (1, min(draw.randint(2, 5), most), 256, 256),
            "SR": (1, 1, 0, 0),
        }
        count, instances, rows, columns = shapes[modality]
        syntaxes: dict[str, tuple[UID, ...]] = {
            "CT": (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRLittleEndian,
                   RLELossless),
            "MR": (ImplicitVRLittleEndian, ExplicitVRLittleEndian),
            "US": (JPEGBaseline8Bit, JPEGBaseline8Bit, ExplicitVRLittleEndian),
        }  # fmt: skip
        syntax = draw.choice(syntaxes.get(modality, (ExplicitVRLittleEndian,)))
        for number in range(1, count + 1):
            yield Series(
                series_instance_uid=made_up_uid(study_instance_uid, "series", number),
                series_number=number,
                modality=modality,
                transfer_syntax_uid=syntax,
                instances=instances,
                rows=rows,
                columns=columns,
            )


def made_up_data_set(study: Study, series: Series, number: int, sop_instance_uid: str) -> bytes:
    """Encode the data set of one instance; a late import keeps the recipes cheap to load."""
    from cloudmig.demo.data_sets import encode_data_set  # noqa: PLC0415 - see above

    return encode_data_set(study, series, number, sop_instance_uid)


def _file_meta(instance: Instance) -> bytes:
    """Encode group 0002 (PS3.10 table 7.1-1) by hand: a UID here may be one no writer accepts."""

    def element(number: int, vr: bytes, value: bytes) -> bytes:
        if vr == b"OB":
            return struct.pack("<HH2sHI", 2, number, vr, 0, len(value)) + value
        padded = value + b"\0" * (len(value) % 2)
        return struct.pack("<HH2sH", 2, number, vr, len(padded)) + padded

    elements = b"".join(
        (
            element(0x0001, b"OB", b"\0\1"),
            element(0x0002, b"UI", instance.sop_class_uid.encode()),
            element(0x0003, b"UI", instance.sop_instance_uid.encode()),
            element(0x0010, b"UI", instance.transfer_syntax_uid.encode()),
            element(0x0012, b"UI", made_up_uid("implementation").encode()),
        )
    )
    length = element(0x0000, b"UL", struct.pack("<I", len(elements)))
    return bytes(128) + b"DICM" + length + elements
