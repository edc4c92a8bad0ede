"""Why a C-GET or C-MOVE that a PACS accepted brought nothing, by what we saw of it."""

from __future__ import annotations

from collections.abc import Sequence

from cloudmig.agent.doctor.findings import Finding, problem
from cloudmig.ports import RetrieveEvidence
from cloudmig.sources.dimse import Stranger

__all__ = ["get_brought_nothing", "move_brought_nothing"]

_MOVE_DESTINATION_UNKNOWN = 0xA801  # PS3.4 C.4.2.1.5


def get_brought_nothing(subject: str, name: str, evidence: RetrieveEvidence) -> Finding:
    """Return the finding of source `name` for a C-GET."""
    return problem(
        "retrieve",
        subject,
        f"C-GET brought nothing ({_how_it_ended(evidence)})",
        f'Set sources.{name}.retrieve = "c-move", or look into the log of the PACS.',
    )


def move_brought_nothing(
    subject: str, name: str, us: str, evidence: RetrieveEvidence, refused: Sequence[Stranger]
) -> Finding:
    """Return the finding of source `name` for a C-MOVE.

    - `us`: what the PACS must have registered.
    - `refused`: who was turned away since the examination began. Another PACS may be among them.
    """
    said = _how_it_ended(evidence)
    if evidence.status == _MOVE_DESTINATION_UNKNOWN:
        return problem(
            "move_destination",
            subject,
            f"the PACS does not know us as a destination of C-MOVE ({said})",
            f"Register us there: {us}.",
        )
    what, hint = _what_was_seen(name, us, evidence, refused)
    return problem("move_back", subject, f"C-MOVE was accepted and {what} ({said})", hint)


def _what_was_seen(
    name: str, us: str, evidence: RetrieveEvidence, refused: Sequence[Stranger]
) -> tuple[str, str]:
    if evidence.offered:
        return (
            "the PACS called us, and sent nothing",
            "Look into its log: it may have lost this instance, or not be able to convert it.",
        )
    # A wrong name for us is nobody's but a PACS's: it knows our address and port.
    for who in sorted(refused, key=lambda each: not each.called_aet):
        peer = f"{who.calling_aet or 'AE_TITLE'}@{who.host}"
        if who.called_aet:
            return (
                f"{peer} called us {who.called_aet}, which is none of our names",
                f"Correct what the PACS has registered: {us}.",
            )
        return (
            f"{peer} called us, which is no configured sender",
            f'If it is the PACS, add "{peer}" to sources.{name}.peers.',
        )
    return (
        "nobody called us",
        f"Check what the PACS has registered: {us}. Open the firewall from the PACS to that port.",
    )


def _how_it_ended(evidence: RetrieveEvidence) -> str:
    return "no final status" if evidence.status is None else f"status {evidence.status:04X}"
