"""`cloudmig verdicts`: collect what the functions of the cloud side have to say."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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
from cloudmig.cli.stopping import stopping

if TYPE_CHECKING:
    from cloudmig.agent.verdicts import VerdictSummary
    from cloudmig.telemetry import Pseudonyms, Reporter

__all__ = ["verdicts"]


def verdicts(
    context: typer.Context,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow",
            help="Go on with what comes, until Ctrl-C; as JSON lines where no terminal is.",
            show_default=False,
        ),
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    log_level: LogLevelOption = LogLevel.WARNING,
) -> None:
    """Collect the verdicts that wait in the queues of the destinations, then end.

    A copy that agrees with its manifest is verified by them. What differs is named, and repaired by
    the next `cloudmig run`, which collects verdicts, too, while it runs. Ends with 1 when something
    differs, or could not be read.
    """
    invocation = Invocation.of(context, config=config, as_json=as_json, log_level=log_level)
    summary, pseudonyms = invocation.run(lambda: _collect(invocation, follow=follow))
    if not _tells_lines(invocation, follow=follow):
        invocation.answer(document(summary, pseudonyms))
        _show(invocation, summary, pseudonyms)
    if summary.stopped:
        end(ExitCode.STOPPED)
    if summary.differs or summary.unreadable:
        end(ExitCode.QUARANTINE)


async def _collect(invocation: Invocation, *, follow: bool) -> tuple[VerdictSummary, Pseudonyms]:
    from cloudmig.agent.verdicts import collect_verdicts  # noqa: PLC0415 - `--help` shall be quick
    from cloudmig.bootstrap import open_agent  # noqa: PLC0415

    stop = asyncio.Event()
    with _reporting(invocation, follow=follow) as reporter, stopping(stop):
        async with open_agent(invocation.configuration(), reporter) as parts:
            invocation.log(parts.pseudonyms)
            summary = await collect_verdicts(parts, stop=stop, follow=follow)
    if _tells_lines(invocation, follow=follow):
        told = document(summary, parts.pseudonyms)
        del told["findings"]  # Each had a line of its own.
        reporter.event("verdicts.finished", **told)
    return summary, parts.pseudonyms


def _tells_lines(invocation: Invocation, *, follow: bool) -> bool:
    """Say whether everything is told as it happens: to whom does not look at a terminal."""
    return follow and (invocation.json or not sys.stdout.isatty())


@contextmanager
def _reporting(invocation: Invocation, *, follow: bool) -> Iterator[Reporter]:
    """Choose what hears of progress: a line that counts for a person, lines for a program."""
    from cloudmig.telemetry import JsonLinesReporter, Pseudonyms, SilentReporter  # noqa: PLC0415

    if _tells_lines(invocation, follow=follow):
        state_dir = invocation.configuration().agent.state_dir
        yield JsonLinesReporter(Pseudonyms.from_state_dir(state_dir))
        return
    if invocation.json or not sys.stdout.isatty():
        yield SilentReporter()
        return
    from cloudmig.cli.progress import CountingReporter  # noqa: PLC0415

    with CountingReporter(invocation.console, "collecting verdicts") as reporter:
        yield reporter


def document(summary: VerdictSummary, pseudonyms: Pseudonyms) -> dict[str, object]:
    """Return the JSON shape: every word is there, also at zero."""
    from cloudmig.catalog.cloud_verdicts import Word  # noqa: PLC0415
    from cloudmig.cli.verify import findings_document  # noqa: PLC0415

    return {
        "messages": summary.messages,
        **{word.value: summary.words[word] for word in Word},
        "good_objects": summary.good_objects,
        "extra_objects": summary.extras,
        "restores": summary.restores,
        "unreadable": summary.unreadable,
        "findings": findings_document(summary.findings, pseudonyms),
    }


#: What each word means, for a person; the rest need no sentence.
_SENTENCES = {
    "agreed": "agree with their manifest: verified by CLOUD",
    "differs": "do not agree with their manifest",
    "noted": "are about single objects that are not as they should be",
    "explained": "are about objects that wait for their manifest, and are ours",
    "waits": "wait until their study is written",
    "undecided": "could not be decided: `cloudmig verify` can",
    "superseded": "are about manifests that have been replaced since, or copies under repair",
    "older": "had been heard before, or a later one had",
    "unknown": "are about studies or stores that this catalog does not have",
}


def _show(invocation: Invocation, summary: VerdictSummary, pseudonyms: Pseudonyms) -> None:
    from cloudmig.cli.verify import show_findings  # noqa: PLC0415
    from cloudmig.cli.wording import count_words  # noqa: PLC0415

    if invocation.json:
        return
    if not summary.messages and not summary.words.total():
        # After --follow nothing is known of a queue that did not answer.
        invocation.say("No verdict came." if summary.stopped else "No verdict waits.")
        return
    invocation.say(f"{count_words(summary.messages, 'message')} collected:")
    for word, count in sorted(summary.words.items(), key=lambda each: each[0].value):
        if count:
            invocation.say(f"  {count:,} {_SENTENCES[word.value]}")
    if summary.good_objects:
        invocation.say(f"  {summary.good_objects:,} say that an object is as it should be")
    if summary.extras:
        lie = "object lies" if summary.extras == 1 else "objects lie"
        invocation.say(f"  {summary.extras:,} {lie} in no manifest: cloudmig quarantine list")
    if summary.restores:
        invocation.say(f"  {summary.restores:,} are about restores: cloudmig status --json")
    if summary.unreadable:
        invocation.say(
            f"  {summary.unreadable:,} cannot be read and stay in the queue, for the dead letters"
        )
    show_findings(invocation, summary.findings, pseudonyms)
    if summary.findings:
        invocation.say("Next: cloudmig run repairs what differs, then cloudmig verdicts")
