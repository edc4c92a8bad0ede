"""What an archive's HTTP statuses mean to us, one table for searches and retrieves.

no answer, 408, other 5xx   SourceUnavailable   try later
429 502 503 504             SourceBusy          it is there and has no room for us
413, 400 with keys          QueryTruncated      ask for less at a time
401 403 404 405 406 3xx     SourceRefused       a person must change something
"""

from __future__ import annotations

from cloudmig.dicomweb import DicomWebFailed
from cloudmig.errors import SourceBusy, SourceError, SourceRefused, SourceUnavailable

__all__ = ["BUSY_STATUSES", "DENIED_STATUSES", "error_for_status", "translate"]

BUSY_STATUSES = frozenset({429, 502, 503, 504})
#: What no study is to blame for: we are nobody there, or not allowed.
DENIED_STATUSES = frozenset({401, 403, 407})

_BUSY_HINT = "lower lanes of the source, or ask it again when fewer others do"
_UNTRUSTED_HINT = (
    "set ca to the authority of the archive; a certificate that has expired or is for another host"
    " has to be renewed there"
)
_UNKNOWN_HINT = "check the credentials of the source, also its token_url and scope"
_HINTS = {
    400: "the archive does not take our searches: look into its log",
    401: "check the credentials of the source",
    403: "the credentials are known and may not do this: look at the archive's permissions",
    404: "the url of the source is not that of a DICOMweb service",
    405: "the archive does not take this request: are QIDO-RS and WADO-RS switched on there?",
    406: "the archive cannot answer in DICOM JSON, nor in XML",
    407: "a proxy stands before the archive and wants to know us",
    410: "the url of the source is not that of a DICOMweb service",
    415: "the archive does not take this request: are QIDO-RS and WADO-RS switched on there?",
    501: "the archive does not take this request: are QIDO-RS and WADO-RS switched on there?",
}


def translate(error: DicomWebFailed) -> SourceError:
    """Return our error for a request that was not answered."""
    if error.is_untrusted:
        return SourceRefused(str(error), hint=_UNTRUSTED_HINT)
    if error.is_unknown:
        return SourceRefused(str(error), hint=_UNKNOWN_HINT)
    if error.status is not None and error.status != 413:
        return error_for_status(error.status, doing="ask")
    return SourceUnavailable(str(error))


def error_for_status(status: int, *, doing: str) -> SourceError:
    """Return our error for a status that says no."""
    said = f"{doing}: HTTP {status}"
    if status in BUSY_STATUSES:
        return SourceBusy(said, hint=_BUSY_HINT)
    if 300 <= status < 400:
        return SourceRefused(said, hint="redirects are not followed: correct the url")
    if status in _HINTS:
        return SourceRefused(said, hint=_HINTS[status])
    return SourceUnavailable(said)
