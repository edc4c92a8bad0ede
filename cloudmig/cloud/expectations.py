"""What an object should be beside its bytes, and the finding where it is not: pure rules."""

from __future__ import annotations

from dataclasses import dataclass

from cloudmig.cloud.looking import UNDECIDED, Sight
from cloudmig.cloud.places import Place, PlaceKind

__all__ = ["Expectations", "finding_of"]

#: Compliance cannot be lifted, governance can: who asks for the weaker has it in the stronger.
_LOCKS = {"GOVERNANCE": {"GOVERNANCE", "COMPLIANCE"}, "COMPLIANCE": {"COMPLIANCE"}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectations:
    """What one destination's objects should be."""

    prefix: str = ""  #: What stands before `v1/` in the bucket: empty, or with a slash at its end.
    read: str = "checksum"  #: `stream` reads every byte; `checksum` believes the store's SHA-256.
    #: None: encryption is not looked at. Empty: any will do. Else the one key it must be.
    kms_key_arn: str | None = None
    lock_mode: str = ""  #: Empty | GOVERNANCE | COMPLIANCE
    later_classes: frozenset[str] = frozenset()  #: Where a lifecycle may have moved objects to.
    metadata: bool = True  #: The store keeps metadata: an object without ours is a stranger's.

    def __post_init__(self) -> None:
        if self.prefix and not self.prefix.endswith("/"):
            raise ValueError("the prefix must end with a slash")
        if self.read not in {"checksum", "stream"}:
            raise ValueError("read is `checksum` or `stream`")
        if self.lock_mode not in {"", *_LOCKS}:
            raise ValueError("the lock mode is GOVERNANCE or COMPLIANCE")

    def shelter_of(self, encryption: str, kms_key_arn: str, lock_mode: str) -> str:
        """Return the finding about what protects an object, or nothing."""
        if self.kms_key_arn is not None and not encryption:
            return "not encrypted"
        if self.kms_key_arn and kms_key_arn != self.kms_key_arn:
            return "not encrypted"
        if self.lock_mode and lock_mode not in _LOCKS[self.lock_mode]:
            return "not locked"
        return ""


def finding_of(place: Place, sight: Sight, expected: Expectations) -> str:
    """Return what is wrong with an object by its own word, the worst first; empty: nothing.

    nothing there              missing, if the agent could have written it
    a key of no form of ours   stranger
    none of our metadata       stranger
    other bytes than they say  altered
    no DICOM file              not DICOM, except in quarantine
    other UIDs than the key    wrong key
    unprotected                not encrypted, not locked
    """
    strange = place.kind in {PlaceKind.STRANGE, PlaceKind.MANIFEST}
    if not sight.is_there:
        return "" if strange else "missing"
    if strange or (expected.metadata and not sight.claimed_file_sha256):
        return "stranger"
    return (
        _content(place, sight)
        or _header(place, sight)
        or expected.shelter_of(sight.encryption, sight.kms_key_arn, sight.lock_mode)
    )


def _content(place: Place, sight: Sight) -> str:
    if sight.how == UNDECIDED:
        return ""
    claims = (
        (sight.claimed_file_sha256, sight.file_sha256),
        (sight.claimed_dataset_sha256, sight.dataset_sha256),
    )
    # A store without metadata claims nothing; a checksum alone tells nothing of the data set.
    if any(claimed and found and claimed != found for claimed, found in claims):
        return "altered"
    if place.kind is PlaceKind.QUARANTINE and sight.file_sha256 != place.digest:
        return "wrong key"
    return ""


def _header(place: Place, sight: Sight) -> str:
    if place.kind is PlaceKind.QUARANTINE or sight.is_cold or sight.is_header_beyond:
        return ""
    if sight.header is None:
        return "not DICOM"
    found = sight.header.identity
    if (found.study_instance_uid, found.series_instance_uid, found.sop_instance_uid) != (
        place.study_instance_uid, place.series_instance_uid, place.sop_instance_uid,
    ):  # fmt: skip
        return "wrong key"
    dataset = sight.dataset_sha256
    if place.kind is PlaceKind.CONFLICT and dataset and not dataset.startswith(place.digest):
        return "wrong key"
    return ""
