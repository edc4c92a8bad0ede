"""Log lines, events, metric names, and pseudonyms for UIDs.

Nothing that leaves this process for a screen, a log or a collector holds patient data (design 8):
fields that could are blanked, UIDs become keyed pseudonyms, in the text of messages too.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import secrets
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Final, Protocol, TextIO

import structlog

from cloudmig.errors import CloudmigError
from cloudmig.pseudonyms import Pseudonyms

__all__ = [
    "LOG_LEVELS", "METRICS", "JsonLinesReporter", "Pseudonyms", "Reporter", "SilentReporter",
    "clean", "get_logger", "set_up_logging", "traceback_text",
]  # fmt: skip

LOG_LEVELS: Final = ("debug", "info", "warning", "error")

#: Every metric of a run's health page (`agent/health.py`), with its help text.
METRICS: Final[Mapping[str, str]] = {
    "cloudmig_instances_stored": "Instances that got their receipts, since the process started.",
    "cloudmig_bytes_stored": "Bytes of instances that got their receipts, since the start.",
    "cloudmig_studies_stored": "Studies whose every copy is complete, since the start.",
    "cloudmig_studies_quarantined": "Studies set aside for a person, since the start.",
    "cloudmig_studies_put_back": "Attempts that ended early and will be made again.",
    "cloudmig_memory_in_flight_bytes": "Bytes of instances held in memory.",
    "cloudmig_spool_bytes": "Bytes of instances held in the spool.",
    "cloudmig_catalog_up": "0 while the run waits for its catalog.",
    "cloudmig_source_up": "0 while a source does not answer.",
    "cloudmig_destination_up": "0 while a destination is left alone because it failed too often.",
    "cloudmig_studies": "Studies in the catalog, by source and state.",
    "cloudmig_copies": "Copies in the catalog, by destination and state.",
    "cloudmig_findings_waiting": "What waits for a person, by reason.",
    "cloudmig_counted_timestamp_seconds": "When the catalog was counted last.",
}

#: Keys whose value may be patient data, whatever it is. Compared without case and underscores.
_PATIENT_FIELDS = frozenset({
    "accessionnumber", "answer", "birthdate", "dataset", "identifier", "issuerofpatientid",
    "otherpatientids", "otherpatientnames", "patient", "patientaddress", "patientage",
    "patientbirthdate", "patientid", "patientidprefix", "patientname", "patientsex",
    "referringphysicianname", "requestingphysician", "studydescription", "studyid",
    "physiciansofrecord", "performingphysicianname", "operatorsname", "institutionname",
})  # fmt: skip

#: Keys that hold a UID of an object, and the prefix of their pseudonym.
_UID_FIELDS = {
    "study": "st", "studyinstanceuid": "st", "series": "se", "seriesinstanceuid": "se",
    "instance": "in", "sopinstanceuid": "in",
}  # fmt: skip

_BLANK = "[patient data]"


class Reporter(Protocol):
    """What hears of progress."""

    def event(self, kind: str, **fields: object) -> None:
        """Take note of what happened; never raises, never blocks for long."""
        ...


class SilentReporter:
    """Hears nothing."""

    def event(self, kind: str, **fields: object) -> None:
        """Do nothing."""


class JsonLinesReporter:
    """One JSON object per event and line."""

    def __init__(
        self,
        pseudonyms: Pseudonyms,
        out: TextIO | None = None,
        *,
        now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
    ) -> None:
        self._pseudonyms = pseudonyms
        self._out = out if out is not None else sys.stdout
        self._now = now

    def event(self, kind: str, **fields: object) -> None:
        """Write the event. UIDs become pseudonyms, patient data is blanked."""
        at = self._now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = {"at": at, "event": kind, **clean(fields, self._pseudonyms)}
        self._out.write(json.dumps(line, default=str) + "\n")
        self._out.flush()


def clean(fields: Mapping[str, object], pseudonyms: Pseudonyms) -> dict[str, object]:
    """Return the fields as they may be shown."""
    shown: dict[str, object] = {}
    for key, value in fields.items():
        plain = key.replace("_", "").lower()
        if plain in _PATIENT_FIELDS:
            shown[key] = _BLANK
        elif plain in _UID_FIELDS and isinstance(value, str):
            name = key.removesuffix("_instance_uid")
            prefix = _UID_FIELDS[plain]
            known = value.startswith(f"{prefix}-") or not value
            shown["instance" if name == "sop" else name] = (
                value if known else pseudonyms.of(value, prefix)
            )
        else:
            shown[key] = _clean_value(value, pseudonyms)
    return shown


def _clean_value(value: object, pseudonyms: Pseudonyms) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return f"[{len(value)} bytes]"
    if isinstance(value, Mapping):
        return clean({str(key): inner for key, inner in value.items()}, pseudonyms)
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean_value(inner, pseudonyms) for inner in value]
    return pseudonyms.in_text(str(value))


def traceback_text(error: BaseException) -> str:
    """Return where an error came from, without the words of foreign errors: they may quote values.

    Our own messages hold no patient data (errors.py), so they are kept.
    """
    lines = []
    cause: BaseException | None = error
    while cause is not None:
        lines += [
            f"{type(cause).__module__}.{type(cause).__qualname__}"
            + (f": {cause}" if isinstance(cause, CloudmigError) else "")
        ]
        lines += [
            f"  {frame.filename}:{frame.lineno} in {frame.name}"
            for frame in traceback.extract_tb(cause.__traceback__)
        ]
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return "\n".join(lines)


def _format_exception(
    _: object, __: str, entry: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    found = entry.pop("exc_info", None)
    error = sys.exc_info()[1] if found is True else found
    if isinstance(error, tuple):
        error = error[1]
    if isinstance(error, BaseException):
        entry["exception"] = traceback_text(error)
    return entry


#: Libraries that would print names, or one line per PDU.
_QUIETED = ("pynetdicom", "pydicom", "botocore", "boto3", "urllib3", "sqlalchemy", "alembic",
            "aiohttp", "asyncio", "werkzeug", "s3transfer")  # fmt: skip


def set_up_logging(
    level: str, pseudonyms: Pseudonyms | None = None, out: TextIO | None = None
) -> None:
    """Send JSON log lines to stderr. Without a state folder, a key of this process serves."""
    assert level in LOG_LEVELS, "the command line checked it"
    names = pseudonyms if pseudonyms is not None else Pseudonyms(secrets.token_bytes(32))

    def blank(_: object, __: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        return clean(entry, names)

    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        _format_exception,
        blank,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out if out is not None else sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.PositionalArgumentsFormatter(), *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(default=str),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _QUIETED:
        library = logging.getLogger(name)
        library.handlers.clear()
        quotes_values = name in {"pynetdicom", "pydicom"}
        library.setLevel(logging.CRITICAL if quotes_values else logging.WARNING)
        library.propagate = not quotes_values
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # Those of pydicom quote values, too.


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return a logger: `log.info("study stored", event_kind=..., study=study_instance_uid)`."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger
