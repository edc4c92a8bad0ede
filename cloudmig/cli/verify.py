"""`cloudmig verify`: read the copies back and compare."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from cloudmig.cli.invocation import (
    ConfigOption,
    ExitCode,
    Invocation,
    JsonOption,
    LogLevel,
    LogLevelOption,
    end,
)

if TYPE_CHECKING:
    from cloudmig.pipeline.verification import Finding, VerifySummary
    from cloudmig.telemetry import Pseudonyms

__all__ = ["document", "findings_document", "show_findings", "verify"]

#: What the ways of verifying mean, for a person.
_MEANING = {
    "READ_BACK": "every byte read from the store",
    "READ_BACK_ELEMENTS": "elements and pixel bits compared with another copy",
    "STORE_CHECKSUM": "what the store computed itself",
    "CLOUD": "the functions' own code, run here",
}


def verify(
    context: typer.Context,
    part: Annotated[
        str,
        typer.Option("--part", metavar="N/M", help="Only the N-th of M parts, by study."),
    ] = "1/1",
    again: Annotated[
        bool, typer.Option("--again", help="Those verified before, too.", show_default=False)
    ] = False,
    as_cloud: Annotated[
        bool,
        typer.Option(
            "--as-cloud",
            help="Run the code of the cloud's functions here; s3:// destinations only.",
            show_default=False,
        ),
    ] = False,
    ask_source: Annotated[
        bool,
        typer.Option(
            "--ask-source",
            help="Ask the source for what a DICOMweb store wrote anew and no other copy shows.",
            show_default=False,
        ),
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    log_level: LogLevelOption = LogLevel.WARNING,
) -> None:
    """Read every copy back by name and compare both digests with the manifest.

    Where a storage class cannot be read, the store's own checksum is compared; the verdict says
    how. What differs is named, and repaired by the next `cloudmig run`.

    A DICOMweb store may write an instance in its own way: elements and pixel bits are compared then
    with another copy. With --ask-source, where there is none, with what the source sends: once per
    such instance, and not while `cloudmig run` runs.

    With --as-cloud the functions' code judges, as it does beside the bucket: it also looks at
    classes and encryption, and for objects beside a study's that no manifest names. Those in no
    study's place are found by `cloudmig reconcile`.
    """
    invocation = Invocation.of(context, config=config, as_json=as_json, log_level=log_level)
    number, parts = _part(part)
    if as_cloud and ask_source:
        raise typer.BadParameter("--as-cloud asks no source: leave out one of the two")
    summary, pseudonyms = invocation.run(
        lambda: _verify(
            invocation, number, parts, again=again, as_cloud=as_cloud, ask_source=ask_source
        )
    )
    invocation.answer(document(summary, pseudonyms))
    _show(invocation, summary, pseudonyms, parts)
    if summary.failed or summary.extras or summary.unreadable:
        end(ExitCode.QUARANTINE)


def _part(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise typer.BadParameter("--part must look like 1/7: the first of seven parts")
    return int(found[1]), int(found[2])


async def _verify(
    invocation: Invocation,
    part: int,
    parts: int,
    *,
    again: bool,
    as_cloud: bool,
    ask_source: bool,
) -> tuple[VerifySummary, Pseudonyms]:
    from cloudmig.bootstrap import open_agent  # noqa: PLC0415 - `--help` shall be quick
    from cloudmig.telemetry import SilentReporter  # noqa: PLC0415

    if as_cloud:
        from cloudmig.agent.as_cloud import verify_as_cloud as look  # noqa: PLC0415
    elif ask_source:
        from cloudmig.agent.asking import verify_with_sources as look  # noqa: PLC0415
    else:
        from cloudmig.pipeline.verification import verify_copies as look  # noqa: PLC0415

    async with open_agent(invocation.configuration(), SilentReporter()) as opened:
        invocation.log(opened.pseudonyms)
        summary = await look(opened, part=part, parts=parts, again=again)
        return summary, opened.pseudonyms


def document(summary: VerifySummary, pseudonyms: Pseudonyms) -> dict[str, object]:
    """Return the JSON shape."""
    return {
        "copies": summary.copies,
        "instances": summary.instances,
        "agreed": summary.agreed,
        "failed": summary.failed,
        "undecided": summary.undecided,
        "unreadable": summary.unreadable,
        "extra_objects": summary.extras,
        "without_reference": summary.without_reference,
        "asked_of_source": summary.asked,
        "source_unanswered": summary.unanswered,
        "hint": _hint(summary),
        "how": dict(summary.how),
        "findings": findings_document(summary.findings, pseudonyms),
    }


def _hint(summary: VerifySummary) -> str:
    """Return what helps where nothing is there to compare with, empty where that is not so."""
    if summary.without_reference and not summary.asked:
        return (
            "`cloudmig verify --ask-source` compares with what the source sends before it judges;"
            " after this verdict `cloudmig run` asks the source, once each"
        )
    if summary.unreadable:
        return (
            "mend the store and its disk, or take the object away there: the next `cloudmig verify`"
            " calls it missing then, and `cloudmig run` puts it there anew"
        )
    if summary.unanswered:
        return "`cloudmig doctor` says why the source is silent; they stay unverified until then"
    return ""


def findings_document(
    findings: Sequence[Finding], pseudonyms: Pseudonyms
) -> list[dict[str, object]]:
    """Return the JSON shape of differences."""
    return [
        {
            "source": finding.source,
            "destination": finding.destination,
            "study": pseudonyms.of(finding.study_instance_uid),
            "instance": (
                pseudonyms.of(finding.sop_instance_uid, "in") if finding.sop_instance_uid else None
            ),
            "finding": finding.finding,
        }
        for finding in findings
    ]


def _show(
    invocation: Invocation, summary: VerifySummary, pseudonyms: Pseudonyms, parts: int
) -> None:
    from cloudmig.cli.wording import count_words  # noqa: PLC0415

    if invocation.json:
        return
    if not summary.copies:
        invocation.say("No stored copy waits to be verified. All of them anew: --again")
        return
    copies = count_words(summary.copies, "copy", "copies")
    invocation.say(
        f"{copies} with {count_words(summary.instances, 'instance')} looked at:"
        f" {summary.agreed:,} agree with their manifest, {summary.failed:,} do not."
    )
    for how, number in summary.how.items():
        meaning = f" ({_MEANING[how]})" if how in _MEANING else ""
        invocation.say(f"  by {how}{meaning}: {count_words(number, 'copy', 'copies')}")
    if summary.undecided:
        invocation.say(
            f"  {summary.undecided:,} could not be decided: archived, and the store tells no"
            " checksum."
        )
    if summary.unreadable:
        copies = count_words(summary.unreadable, "copy", "copies")
        invocation.say(
            f"  {copies} could not be decided: some of their objects cannot be read, though the"
            " store answers"
        )
    _show_reference(invocation, summary)
    if summary.extras:
        lie = "object lies" if summary.extras == 1 else "objects lie"
        invocation.say(f"  {summary.extras:,} {lie} in no manifest: cloudmig quarantine list")
    show_findings(invocation, summary.findings, pseudonyms)
    if summary.failed == summary.copies > 1 and all(
        each.finding == "manifest missing" for each in summary.findings
    ):
        invocation.say(
            "Not one copy has its manifest there: is the destination's url the right one?"
        )
    if summary.failed:
        invocation.say("Next: cloudmig run repairs them, then cloudmig verify")
    elif parts > 1:
        invocation.say("Next: the other parts, then cloudmig close")
    elif summary.undecided or summary.unreadable or summary.unanswered or summary.without_reference:
        invocation.say("Next: see to what could not be decided; cloudmig close refuses before that")
    else:
        invocation.say("Next: cloudmig close")


def _show_reference(invocation: Invocation, summary: VerifySummary) -> None:
    from cloudmig.cli.wording import count_words  # noqa: PLC0415

    if summary.asked:
        invocation.say(
            f"  {count_words(summary.asked, 'instance')} asked of the source, to compare with"
        )
    if summary.without_reference:
        invocation.say(
            f"  {count_words(summary.without_reference, 'instance')} of DICOMweb copies differ in"
            " bytes, and no proven copy is there to compare elements and pixels with"
        )
    if summary.unanswered:
        copies = count_words(summary.unanswered, "copy", "copies")
        invocation.say(f"  {copies} could not be decided: the source did not answer")
    if hint := _hint(summary):
        invocation.say(f"  What to do: {hint}")


def show_findings(
    invocation: Invocation, findings: Sequence[Finding], pseudonyms: Pseudonyms
) -> None:
    """Print a table of differences, where there are any."""
    from cloudmig.cli.wording import table  # noqa: PLC0415

    if not findings:
        return
    rows = [
        [
            finding.destination,
            pseudonyms.of(finding.study_instance_uid),
            pseudonyms.of(finding.sop_instance_uid, "in")
            if finding.sop_instance_uid
            else "manifest",
            finding.finding,
        ]
        for finding in findings
    ]
    invocation.console.print(table(["destination", "study", "instance", "finding"], rows))
