"""Copies side by side: a row per destination, and one study's copies beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudmig.cli.invocation import Invocation

if TYPE_CHECKING:
    from cloudmig.bootstrap import Parts
    from cloudmig.catalog.records import BadInstance, CopyRow, QuarantineItem, TransferRow
    from cloudmig.catalog.side_by_side import DestinationCounts
    from cloudmig.telemetry import Pseudonyms

__all__ = [
    "StudyCopies", "destinations_document", "holdings_document", "look_at_study",
    "show_destinations", "show_study", "study_document",
]  # fmt: skip

#: Findings of one copy that are printed for a person; `--json` has all.
_FINDINGS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class StudyCopies:
    """One study and what is known of its copies."""

    source: str
    study_instance_uid: str
    transfer: TransferRow | None  #: None where no rule has decided about it.
    findings: Mapping[str, Sequence[BadInstance]]  #: By destination: not yet repaired.
    waiting: Sequence[QuarantineItem]  #: What waits for a person.


def destinations_document(
    counts: Mapping[str, DestinationCounts],
) -> dict[str, dict[str, int]]:
    """Return the JSON shape of the states of copies: every state is there, also at zero."""
    from cloudmig.model.states import CopyState  # noqa: PLC0415 - `--help` shall be quick

    return {
        destination: {state.value: each.states[state] for state in CopyState}
        for destination, each in counts.items()
    }


def holdings_document(
    counts: Mapping[str, DestinationCounts],
) -> dict[str, dict[str, object]]:
    """Return the JSON shape of what the copies hold, and how they were verified."""
    return {
        destination: {
            "instances": each.instances,
            "bytes": each.bytes,
            "verified_by": dict(each.verified_by),
        }
        for destination, each in counts.items()
    }


def show_destinations(invocation: Invocation, counts: Mapping[str, DestinationCounts]) -> None:
    """Print a row per destination."""
    from cloudmig.cli.wording import bytes_words, table  # noqa: PLC0415
    from cloudmig.model.states import CopyState  # noqa: PLC0415

    states = list(CopyState)
    rows = [
        [
            destination,
            *(each.states[state] for state in states),
            each.instances,
            bytes_words(each.bytes),
        ]
        for destination, each in counts.items()
    ]
    headings = ["copies at", *(state.value for state in states), "instances", "bytes"]
    invocation.console.print(table(headings, rows))


async def look_at_study(parts: Parts, text: str) -> StudyCopies:
    """Return a study's copies, by its UID or pseudonym."""
    from cloudmig.catalog.catalog import Catalog  # noqa: PLC0415
    from cloudmig.cli.looking import look_up_study  # noqa: PLC0415

    study = await look_up_study(parts, text)
    row = await parts.catalog.call(Catalog.transfer, study.source, study.study)
    findings: Mapping[str, Sequence[BadInstance]] = {}
    if row is not None:
        findings = await parts.catalog.call(Catalog.open_findings, row)
    items = await parts.catalog.call(Catalog.quarantine_items)
    waiting = [
        item
        for item in items
        if (item.source, item.known_by) == (study.source, study.study.study_instance_uid)
    ]
    return StudyCopies(study.source, study.study.study_instance_uid, row, findings, waiting)


def study_document(found: StudyCopies, pseudonyms: Pseudonyms) -> dict[str, object]:
    """Return the JSON shape of one study's copies."""
    row = found.transfer
    return {
        "study": pseudonyms.of(found.study_instance_uid),
        "source": found.source,
        "state": row.state.value if row else "undecided",
        "rule": row.rule if row else None,
        "instances": row.instances_inventory if row else None,
        "quarantine": sorted({item.reason.value for item in found.waiting}),
        "copies": [
            _copy_document(copy, found.findings.get(copy.destination, ()), pseudonyms)
            for copy in (row.copies if row else ())
        ],
    }


def _copy_document(
    copy: CopyRow, findings: Sequence[BadInstance], pseudonyms: Pseudonyms
) -> dict[str, object]:
    return {
        "destination": copy.destination,
        "state": copy.state.value,
        "storage_class": copy.storage_class or None,
        "instances": copy.instances,
        "bytes": copy.bytes,
        "completeness": copy.completeness or None,
        "manifest_revision": copy.manifest_revision or None,
        "verified_by": copy.verdict_how,
        "verified_at": copy.verified_at.isoformat() if copy.verified_at else None,
        "looked_at": copy.judged_at.isoformat() if copy.judged_at else None,
        "repairs": copy.repairs,
        "findings": [
            {
                "instance": pseudonyms.of(each.sop_instance_uid, "in")
                if each.sop_instance_uid
                else None,
                "finding": each.finding,
            }
            for each in findings
        ],
    }


def show_study(invocation: Invocation, found: StudyCopies, pseudonyms: Pseudonyms) -> None:
    """Print one study's copies beside each other."""
    from cloudmig.cli.wording import bytes_words, table  # noqa: PLC0415

    row = found.transfer
    name = pseudonyms.of(found.study_instance_uid)
    state = f"{row.state.value}, rule {row.rule}" if row else "undecided. Next: cloudmig plan"
    invocation.say(f"{name} of source {found.source}: {state}")
    if row is None or not row.copies:
        return
    copies = row.copies
    lines: list[list[object]] = [
        ["state", *(copy.state.value for copy in copies)],
        ["class", *(copy.storage_class or "-" for copy in copies)],
        ["instances", *(_or_dash(copy.instances) for copy in copies)],
        ["bytes", *("-" if copy.bytes is None else bytes_words(copy.bytes) for copy in copies)],
        ["complete by", *(copy.completeness or "-" for copy in copies)],
        ["manifest", *(_or_dash(copy.manifest_revision or None) for copy in copies)],
        ["verdict", *(copy.verdict_how or "-" for copy in copies)],
        ["looked at", *(_day_of(copy) for copy in copies)],
        ["findings", *(str(len(found.findings.get(copy.destination, ()))) for copy in copies)],
    ]
    invocation.console.print(table(["copy at", *(copy.destination for copy in copies)], lines))
    for destination, findings in found.findings.items():
        for each in findings[:_FINDINGS_SHOWN]:
            what = pseudonyms.of(each.sop_instance_uid, "in") if each.sop_instance_uid else ""
            invocation.say(f"  {destination}: {what or 'its manifest'}: {each.finding}")
    if found.waiting:
        reasons = ", ".join(sorted({item.reason.value for item in found.waiting}))
        invocation.say(f"Waits for a person: {reasons}. Next: cloudmig quarantine show {name}")


def _or_dash(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def _day_of(copy: CopyRow) -> str:
    return f"{copy.judged_at:%Y-%m-%d %H:%M}" if copy.judged_at else "-"
