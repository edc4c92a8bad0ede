"""What real archives hold that they should not: each function takes a study and spoils it.

They change what the archive *holds*. What a PACS *does* to whoever asks is
`cloudmig.demo.pacs.script`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace

from pydicom.uid import ImplicitVRLittleEndian

from cloudmig.demo.studies import Instance, Patient, Study, made_up_uid

__all__ = [
    "conflicting", "garbage", "heavy", "listed_twice", "renamed", "truncated", "two_patients",
    "without_images",
]  # fmt: skip


def conflicting(study: Study, index: int = 0) -> Study:
    """Hold a second instance under the SOP Instance UID of the first, with another content."""

    def second(instance: Instance) -> list[Instance]:
        return [instance, replace(instance, data_set=lambda: _other_hospital(instance))]

    return _spoiled(study, index, second)


def listed_twice(study: Study, index: int = 0) -> Study:
    """Hold the same instance twice, byte for byte."""
    return _spoiled(study, index, lambda instance: [instance, instance])


def truncated(study: Study, index: int = 0) -> Study:
    """Hold only the first part of a data set, as a full disk leaves it."""

    def cut(instance: Instance) -> list[Instance]:
        def first_part() -> bytes:
            whole = instance.data_set()
            return whole[: len(whole) * 2 // 3]

        return [replace(instance, data_set=first_part)]

    return _spoiled(study, index, cut)


def garbage(study: Study, index: int = 0) -> Study:
    """Hold bytes that are no data set at all under a good name."""
    return _spoiled(
        study,
        index,
        lambda instance: [replace(instance, data_set=lambda: b"\xde\xad\xbe\xef" * 999)],
    )


def renamed(study: Study, index: int = 0, *, sop_instance_uid: str = "../../../etc/x") -> Study:
    """Give an instance a SOP Instance UID that is none: a path, or nothing."""

    def rename(instance: Instance) -> list[Instance]:
        def under_new_name() -> bytes:
            return with_sop_instance_uid(instance, sop_instance_uid)

        return [replace(instance, sop_instance_uid=sop_instance_uid, data_set=under_new_name)]

    return _spoiled(study, index, rename)


def heavy(study: Study, index: int = 0, *, extra_bytes: int = 10_000_000) -> Study:
    """Make an instance large with a private element behind its pixels (PS3.5 7.8)."""

    def fatten(instance: Instance) -> list[Instance]:
        def with_ballast() -> bytes:
            return instance.data_set() + _ballast(instance, extra_bytes)

        return [replace(instance, data_set=with_ballast)]

    return _spoiled(study, index, fatten)


def two_patients(study: Study) -> tuple[Study, Study]:
    """Return the study and a second one under the same Study Instance UID, of somebody else."""
    other = Patient("Other^Person", "OTHER01", "19500101", "O")
    series = replace(
        study.series[0],
        series_instance_uid=made_up_uid(study.study_instance_uid, "other patient"),
        instances=1,
    )
    return study, replace(study, patient=other, series=(series,))


def without_images(study: Study) -> Study:
    """Return the study as a row of the database with nothing under it."""
    return replace(study, series=(), oddities=())


def with_sop_instance_uid(instance: Instance, sop_instance_uid: str) -> bytes:
    """Return the data set under another SOP Instance UID, every other byte as it was."""
    data_set = instance.data_set()
    old = _uid_element(instance, instance.sop_instance_uid)
    assert old in data_set, "the element is coded as this module codes it"
    return data_set.replace(old, _uid_element(instance, sop_instance_uid), 1)


def _uid_element(instance: Instance, sop_instance_uid: str) -> bytes:
    value = sop_instance_uid.encode() + b"\0" * (len(sop_instance_uid) % 2)
    if instance.transfer_syntax_uid == ImplicitVRLittleEndian:
        return struct.pack("<HHI", 0x0008, 0x0018, len(value)) + value
    return struct.pack("<HH2sH", 0x0008, 0x0018, b"UI", len(value)) + value


def _other_hospital(instance: Instance) -> bytes:
    return instance.data_set().replace(b"Example Hospital", b"Example Clinic B", 1)


def _ballast(instance: Instance, extra_bytes: int) -> bytes:
    length = extra_bytes + extra_bytes % 2
    creator = b"CLOUDMIG DEMO "
    if instance.transfer_syntax_uid == ImplicitVRLittleEndian:
        head = struct.pack("<HHI", 0x7FE1, 0x0010, len(creator)) + creator
        return head + struct.pack("<HHI", 0x7FE1, 0x1001, length) + bytes(length)
    head = struct.pack("<HH2sH", 0x7FE1, 0x0010, b"LO", len(creator)) + creator
    return head + struct.pack("<HH2sHI", 0x7FE1, 0x1001, b"OB", 0, length) + bytes(length)


def _spoiled(study: Study, index: int, change: Callable[[Instance], list[Instance]]) -> Study:
    def oddity(_: Study, instances: list[Instance]) -> list[Instance]:
        return [*instances[:index], *change(instances[index]), *instances[index + 1 :]]

    return replace(study, oddities=(*study.oddities, oddity))
