"""Reads a key back into what it names: the other way round than `cloudmig.objects`.

A key comes from a stranger as often as from the agent, so nothing in it is believed before the
whole of it has the form that the agent writes, the spread of the study included.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from cloudmig.model.references import StudyRef, is_usable_uid
from cloudmig.objects import ARCHIVE_NAME, LAYOUT, study_prefix

__all__ = ["Place", "PlaceKind", "read_place", "study_key"]

#: The sort key of a study's own item. No object's item may have it.
STUDY_ITEM = "study"

_OF_STUDY = re.compile(
    r"v1/(?P<archive>[^/]+)/(?P<spread>[^/]+)/(?P<study>[^/]+)/(?P<rest>.+)", re.DOTALL
)
_OBJECT = re.compile(
    r"(?P<series>[0-9.]+)/(?P<sop>[0-9.]+)(~(?P<digest>[0-9a-f]{16}))?\.dcm(~r(?P<repair>[1-9][0-9]?))?"
)
_MANIFEST = re.compile(r"manifest/(?P<revision>[1-9][0-9]{0,8})\.json\.gz")
_QUARANTINE = re.compile(
    r"(?P<group>v1/(?P<archive>[^/]+)/quarantine/)"
    r"(?P<rest>(?P<digest>[0-9a-f]{64})\.dcm(~r[1-9][0-9]?)?)"
)


class PlaceKind(Enum):
    """What an object under such a key would be."""

    INSTANCE = "instance"
    CONFLICT = "conflict"  #: A second content under one SOP Instance UID.
    QUARANTINE = "quarantine"  #: What has no usable UIDs, under its digest.
    MANIFEST = "manifest"
    STRANGE = "strange"  #: Nothing the agent would ever write.


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A key below a destination's prefix, read."""

    key: str  #: Relative to the prefix.
    kind: PlaceKind
    group: str  #: What stands before `rest`: a study's prefix wherever the key lies in one.
    rest: str
    archive: str = ""
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    sop_instance_uid: str = ""
    digest: str = ""  #: What the key says of the content: 16 hex of a conflict, 64 in quarantine.
    revision: int = 0  #: Of a manifest.

    def partition_key(self, bucket: str, prefix: str) -> str:
        """Return the partition key of the object's item: one partition per study."""
        return f"{bucket}/{prefix}{self.group}"


def study_key(bucket: str, prefix: str, archive: str, study_instance_uid: str) -> str:
    """Return the partition key of a study's items. Raises `ValueError` for an unusable UID."""
    if ARCHIVE_NAME.fullmatch(archive) is None:
        raise ValueError("not the name of an archive")
    return f"{bucket}/{prefix}{study_prefix(archive, StudyRef(study_instance_uid))}"


def read_place(full_key: str, prefix: str) -> Place | None:
    """Return what a full key names, or None where it is none of ours: not below `<prefix>v1/`."""
    key = full_key.removeprefix(prefix)
    if not full_key.startswith(prefix) or not key.startswith(f"{LAYOUT}/"):
        return None
    if found := _QUARANTINE.fullmatch(key):
        if ARCHIVE_NAME.fullmatch(found["archive"]):
            return Place(
                key=key,
                kind=PlaceKind.QUARANTINE,
                group=found["group"],
                rest=found["rest"],
                archive=found["archive"],
                digest=found["digest"],
            )
    elif (found := _OF_STUDY.fullmatch(key)) and _is_study(found):
        return _in_study(key, found)
    rest = key.removeprefix(f"{LAYOUT}/") or "/"  # No part of an item's key may be empty.
    return Place(key=key, kind=PlaceKind.STRANGE, group=f"{LAYOUT}/", rest=rest)


def _is_study(found: re.Match[str]) -> bool:
    if not (ARCHIVE_NAME.fullmatch(found["archive"]) and is_usable_uid(found["study"])):
        return False
    # `study` is the name of the study's own item: an object of that name is kept elsewhere.
    prefix = study_prefix(found["archive"], StudyRef(found["study"]))
    return found.string.startswith(prefix) and found["rest"] != STUDY_ITEM


def _in_study(key: str, found: re.Match[str]) -> Place:
    rest = found["rest"]
    kind, series, sop, digest, revision = PlaceKind.STRANGE, "", "", "", 0
    if named := _MANIFEST.fullmatch(rest):
        kind, revision = PlaceKind.MANIFEST, int(named["revision"])
    elif (named := _OBJECT.fullmatch(rest)) and (
        is_usable_uid(named["series"]) and is_usable_uid(named["sop"])
    ):
        series, sop, digest = named["series"], named["sop"], named["digest"] or ""
        kind = PlaceKind.CONFLICT if digest else PlaceKind.INSTANCE
    return Place(
        key=key,
        kind=kind,
        group=key.removesuffix(rest),
        rest=rest,
        archive=found["archive"],
        study_instance_uid=found["study"],
        series_instance_uid=series,
        sop_instance_uid=sop,
        digest=digest,
        revision=revision,
    )
