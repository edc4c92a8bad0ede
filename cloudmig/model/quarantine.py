"""Why a study waits for a person."""

from __future__ import annotations

from enum import Enum

__all__ = ["QuarantineReason"]


class QuarantineReason(Enum):
    """A reason code; `explanation` is what a person reads beside it."""

    MISSING_INSTANCES = "missing_instances"
    CONFLICT = "conflict"
    UID_MISMATCH = "uid_mismatch"
    CONVERTED = "converted"
    TORN = "torn"
    UNUSABLE_UID = "unusable_uid"
    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    ALWAYS_FAILS = "always_fails"
    REFUSED_BY_DESTINATION = "refused_by_destination"
    VERIFICATION_FAILED = "verification_failed"
    NOTHING_LISTED = "nothing_listed"
    STRANGER = "stranger"
    ORPHAN = "orphan"
    EVIDENCE_DAMAGED = "evidence_damaged"
    BROKEN_FILES = "broken_files"

    @property
    def explanation(self) -> str:
        """Return one sentence for an operator: what happened and what can be done."""
        return _EXPLANATIONS[self]


_EXPLANATIONS = {
    QuarantineReason.MISSING_INSTANCES: "The source lists instances that it does not send, however"
    " it is asked. Restored in the PACS, release the study, to be asked for again; gone for good,"
    " they stay on record here: all others are stored and verified, and the closing signs off the"
    " rest.",
    QuarantineReason.CONFLICT: "One SOP Instance UID has two contents. A bucket holds both, a"
    " DICOMweb store the one that it had: decide which one is right. Where that store has the wrong"
    " one, delete it there and release the study.",
    QuarantineReason.UID_MISMATCH: "The source named one instance and sent another.",
    QuarantineReason.CONVERTED: "The source says that it holds an instance in one transfer syntax"
    " and sent it in another: it was converted, and not taken. Let the archive send what it holds,"
    " or fetch by DIMSE, then release the study; what still comes converted is then taken so.",
    QuarantineReason.TORN: "An instance comes cut off: it ends before its last element does. It is"
    " stored so. Look for a whole one in the PACS or a backup; the release asks for it once more,"
    " and stores another content beside this one.",
    QuarantineReason.UNUSABLE_UID: "A UID is missing or cannot name an object. Of an instance"
    " the bytes are kept under their digest. A study without one cannot be asked for: correct it"
    " in the PACS and take the inventory again, then release it.",
    QuarantineReason.MALFORMED: "The bytes are no readable DICOM data set. They are kept under"
    " their digest.",
    QuarantineReason.TOO_LARGE: "An instance is larger than the configured limit. Raise"
    " agent.object_bytes_max and agent.spool_bytes_max, then release the study.",
    QuarantineReason.ALWAYS_FAILS: "Every attempt failed while other studies could be moved.",
    QuarantineReason.REFUSED_BY_DESTINATION: "A destination will not take an instance.",
    QuarantineReason.VERIFICATION_FAILED: "A stored copy differed from its manifest, and repair"
    " failed twice.",
    QuarantineReason.NOTHING_LISTED: "The source listed this study in the inventory, and lists no"
    " instance of it now: it may have been deleted or moved there since. Restored in the PACS,"
    " release it, to be asked for again; gone on purpose, it stays on record here.",
    QuarantineReason.STRANGER: "An object lies among the images of a study and in none of its"
    " manifests: somebody else put it there. Find out who; the study itself is not touched by it.",
    QuarantineReason.ORPHAN: "An object lies in the bucket and no manifest of its study names it,"
    " a day after it came. The agent may not delete; look at it, remove it if it is of no use.",
    QuarantineReason.BROKEN_FILES: "Files of a directory cannot be read as DICOM or are cut off,"
    " or a listing cannot be understood: images may hide there or have lost a part. `cloudmig"
    " files` names each. Mend or remove them and take the inventory again, or release them to leave"
    " them as they are.",
    QuarantineReason.EVIDENCE_DAMAGED: "A manifest that a newer one has replaced is gone or was"
    " changed. The newest proves the study as it is; what came before can no longer be shown.",
}
