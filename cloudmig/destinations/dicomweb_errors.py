"""What a DICOMweb store's refusals mean to us: statuses and Failure Reasons, one table each.

no answer, 408 425 429 5xx      DestinationUnavailable   try later
401 403 404 405 406 415 501 3xx DestinationRefused       a person must change something
A9xx Cxxx 0122 0124             Refused                  this instance, here, never
any other Failure Reason        look, then try later     PS3.18 table I.2-2 leaves it open
"""

from __future__ import annotations

from cloudmig.destinations.dicomweb_profiles import DicomWebProfile
from cloudmig.dicomweb import DicomWebFailed
from cloudmig.errors import DestinationError, DestinationRefused, DestinationUnavailable

__all__ = ["error_for_status", "is_final", "reason_text", "translate"]

_UNTRUSTED_HINT = (
    "set ca to the authority of the store; a certificate that has expired or is for another host"
    " has to be renewed there"
)
_UNKNOWN_HINT = "check the credentials of the destination, also its token_url and scope"
_HINTS = {
    401: "check the credentials of the destination",
    403: "the credentials are known and may not do this: look at the store's permissions",
    404: "the url of the destination is not that of a DICOMweb service",
    405: "the service does not take this request: is STOW-RS switched on there?",
    406: "the service cannot answer in DICOM JSON",
    407: "a proxy stands before the store and wants to know us",
    415: "the service takes no application/dicom",
    501: "the service does not take this request: is STOW-RS switched on there?",
}
_RETRIEVE_HINTS = {
    405: "nothing can be read there: is WADO-RS switched on?",
    406: "the service does not send objects as they are stored (transfer-syntax=*), so that nothing"
    " there can be compared",
    415: "nothing can be read there: is WADO-RS switched on?",
    501: "nothing can be read there: is WADO-RS switched on?",
}

#: Final by themselves (PS3.18 table I.2-2, PS3.4 table B.2-1): SOP class not supported, refused.
_FINAL = frozenset({0x0122, 0x0124})


def translate(error: DicomWebFailed) -> DestinationError:
    """Return our error for a request that failed."""
    if error.is_untrusted:
        return DestinationRefused(str(error), hint=_UNTRUSTED_HINT)
    if error.is_unknown:
        return DestinationRefused(str(error), hint=_UNKNOWN_HINT)
    if error.status is not None and is_refusal(error.status):
        doing = "retrieve" if error.is_retrieve else "ask"
        return error_for_status(error.status, doing=doing)
    return DestinationUnavailable(str(error))


def is_refusal(status: int) -> bool:
    """Say whether a status means that nobody may, or that this is not the place."""
    return status in _HINTS or 300 <= status < 400


def error_for_status(status: int, *, doing: str) -> DestinationError:
    """Return our error for a status that answers for all instances at once."""
    if 300 <= status < 400:
        return DestinationRefused(
            f"{doing}: HTTP {status}", hint="redirects are not followed: correct the url"
        )
    if is_refusal(status):
        hint = (_RETRIEVE_HINTS if doing == "retrieve" else {}).get(status, _HINTS[status])
        return DestinationRefused(f"{doing}: HTTP {status}", hint=hint)
    return DestinationUnavailable(f"{doing}: HTTP {status}")


def is_final(reason: int | None, profile: DicomWebProfile) -> bool:
    """Say whether an instance that failed for this reason and is not there never will be."""
    if reason is None or reason in profile.passing_reasons:
        return False
    family = reason >> 8
    is_known = reason in _FINAL or family == 0xA9 or 0xC0 <= family <= 0xCF
    return is_known or reason in profile.final_reasons


def reason_text(reason: int | None) -> str:
    """Return a Failure Reason as the standard writes it."""
    return "no reason given" if reason is None else f"failure reason {reason:04X}H"
