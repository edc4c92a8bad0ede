"""Every error cloudmig raises on purpose, and what the agent does about each.

    CloudmigError
    ├── ConfigError                HALT        a setting is missing or contradicts another
    ├── CatalogError               HALT        the catalog cannot be trusted, or cannot be written
    │   ├── CatalogUnavailable     HALT        its server is gone; a run begins anew with it
    │   └── LeaseLost              RETRY       another worker owns this transfer now: let go of it
    ├── SourceError
    │   ├── SourceUnavailable      RETRY       no answer, or an abort
    │   │   └── SourceBusy         RETRY       out of resources: ask for less, come back later
    │   ├── SourceRefused          HALT        the PACS does not accept us (AE title, TLS, contexts)
    │   ├── QueryTruncated         RETRY       the PACS capped the answer; ask a narrower question
    │   └── RetrieveIncomplete     RETRY       fewer instances arrived than were announced
    ├── StagingError
    │   ├── SpoolFull              RETRY       no room in memory and spool within the allowed wait
    │   └── MalformedInstance      QUARANTINE  not DICOM, or not the instance it claims to be
    └── DestinationError
        ├── DestinationUnavailable RETRY       timeout, 429, 5xx
        │   └── ObjectMissing      RETRY       it answers, and what was to be read is not there
        ├── DestinationRefused     HALT        credentials, permissions, no such bucket
        ├── ObjectArchived         QUARANTINE  cannot be read without a restore
        └── InstanceConflict       QUARANTINE  same SOP Instance UID, different content

An instance that a destination turns down is a value (`Taken`, `Refused`), not an error: see
`cloudmig.model.outcome`. Bugs are `AssertionError`: nothing catches them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import ClassVar

__all__ = [
    "CatalogError", "CatalogUnavailable", "CloudmigError", "ConfigError", "DestinationError",
    "DestinationRefused", "DestinationUnavailable", "Disposition", "InstanceConflict", "LeaseLost",
    "MalformedInstance", "ObjectArchived", "ObjectMissing", "QueryTruncated", "RetrieveIncomplete",
    "SourceBusy", "SourceError", "SourceRefused", "SourceUnavailable", "SpoolFull",
    "StagingError", "naming_source",
]  # fmt: skip


class Disposition(Enum):
    """What happens to the work that met an error."""

    RETRY = "retry"  #: Put it back; try again after a backoff.
    QUARANTINE = "quarantine"  #: Set this study aside for a person; carry on with the rest.
    HALT = "halt"  #: Stop claiming work: every other study would meet the same error.


class CloudmigError(Exception):
    """Base of every error raised on purpose."""

    disposition: ClassVar[Disposition] = Disposition.HALT

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint  #: What an operator can do next. Never holds patient data.


class ConfigError(CloudmigError):
    """A setting is missing, unknown, or contradicts another."""


class CatalogError(CloudmigError):
    """The catalog cannot be trusted or cannot be written; nothing may go on without it."""


class CatalogUnavailable(CatalogError):
    """The catalog's server does not answer or hung up; what was asked of it may do later."""


class LeaseLost(CatalogError):
    """Another worker owns the transfer now; whatever this one did is fenced off."""

    disposition = Disposition.RETRY


class SourceError(CloudmigError):
    """The source did not do what was asked."""


class SourceUnavailable(SourceError):
    """The source gave no answer, aborted, or asked to come back later."""

    disposition = Disposition.RETRY


class SourceBusy(SourceUnavailable):
    """The source answers and has no room for us: 0xA702, or an association rejected for now."""


class SourceRefused(SourceError):
    """The source does not accept us: AE title, TLS certificate or presentation contexts."""


class QueryTruncated(SourceError):
    """The source capped an answer that cannot be split any further."""

    disposition = Disposition.RETRY


class RetrieveIncomplete(SourceError):
    """Fewer instances arrived than the source lists."""

    disposition = Disposition.RETRY


class StagingError(CloudmigError):
    """An arriving instance could not be taken in."""


class SpoolFull(StagingError):
    """Neither memory nor spool had room within the allowed wait, or the spool cannot be written."""

    disposition = Disposition.RETRY


class MalformedInstance(StagingError):
    """The bytes are not DICOM, or not the instance they claim to be."""

    disposition = Disposition.QUARANTINE


class DestinationError(CloudmigError):
    """A destination did not do what was asked."""

    destination = ""  #: Which one, where somebody knew: there are several.

    def __str__(self) -> str:
        said = super().__str__()
        return f"{self.destination}: {said}" if self.destination else said


class DestinationUnavailable(DestinationError):
    """The destination timed out, asked to slow down, or failed on its own side."""

    disposition = Disposition.RETRY


class ObjectMissing(DestinationUnavailable):
    """The destination is well and answers: what was to be read is not there."""


class DestinationRefused(DestinationError):
    """The destination does not accept us: credentials, permissions, or no such bucket."""


class ObjectArchived(DestinationError):
    """The object lies in a class that answers no read before a restore; the store is well."""

    disposition = Disposition.QUARANTINE


class InstanceConflict(DestinationError):
    """Another object with the same SOP Instance UID and different content is held already."""

    disposition = Disposition.QUARANTINE


@contextmanager
def naming_source(name: str) -> Iterator[None]:
    """Put the name of a source before what it did not do: there may be several."""
    try:
        yield
    except SourceError as error:
        if f"source {name}" not in str(error):
            error.args = (f"source {name}: {error}",)
        raise
