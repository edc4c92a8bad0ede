"""Progress on a terminal: what a person wants to see while studies move."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from cloudmig.cli.invocation import Invocation
from cloudmig.cli.wording import bytes_words, count_words
from cloudmig.pipeline.parts import Counters

__all__ = ["CountingReporter", "PassingBar", "ProgressReporter"]


class ProgressReporter:
    """A bar of studies and a line of figures, read from the agent's counters."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("studies ·"),
            TimeElapsedColumn(),
            TextColumn("· left"),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._bar.add_task("moving", total=None)
        self._live = Live(self, console=console, refresh_per_second=4, transient=False)
        self._counters: Counters | None = None
        self._halt = ""

    def watch(self, counters: Counters, *, studies_planned: int) -> None:
        """Show these counters from now on, against so many planned studies."""
        self._counters = counters
        self._bar.reset(self._task, total=studies_planned)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def __rich__(self) -> Group:
        """Draw the bar and the figures under it."""
        counters = self._counters
        if counters is None:
            return Group(Text("opening catalog, PACS and destinations ..."))
        done = counters.studies_stored + counters.studies_quarantined
        self._bar.update(self._task, completed=done)
        elapsed_s = self._bar.tasks[0].elapsed or 0.0
        rate = ""
        if elapsed_s > 1:
            rate = (
                f" · {counters.instances_stored / elapsed_s:,.0f} instances/s"
                f" · {bytes_words(counters.bytes_stored / elapsed_s)}/s"
            )
        figures = (
            f"  {count_words(counters.instances_stored, 'instance')}"
            f" · {bytes_words(counters.bytes_stored)}{rate}"
            f" · {counters.studies_quarantined:,} in quarantine"
        )
        return Group(self._bar.get_renderable(), Text(figures), Text(self._halt))

    def event(self, kind: str, **fields: object) -> None:
        """Take note of what a person should see at once; the rest is in the counters."""
        match kind:
            case "study.quarantined":
                self._live.console.print(f"quarantined: {fields.get('reason', '')}", style="yellow")
            case "destination.down":
                self._live.console.print(
                    f"{fields['destination']} is down ({fields['message']}): its copies are owed"
                    " and made when it is back, the others go on",
                    style="yellow",
                )
            case "sender.refused":
                who = f"{fields['calling_aet']}@{fields['host']}".removeprefix("@")
                why = "" if fields["called_aet"] else ", which is no configured sender"
                said = f"refused {who}{why}: {fields['hint']}"
                self._live.console.print(Text(said, style="yellow"))
            case "destination.back":
                self._live.console.print(f"{fields['destination']} answers again")
            case "source.down":
                self._live.console.print(
                    f"{fields['source']} does not answer ({fields['message']}): asking again",
                    style="yellow",
                )
            case "catalog.down":
                said = f"{fields['message']}: waiting for it, then going on; {fields['hint']}"
                self._live.console.print(Text(said, style="yellow"))
            case "verdicts.unreachable":
                self._live.console.print(
                    f"no verdicts of {fields.get('destinations', '')}: {fields.get('message', '')};"
                    " the run goes on",
                    style="yellow",
                )
            case "run.stopping":
                self._halt = "  Stopping: finishing or putting back what is under way ..."
            case _:
                return


class CountingReporter:
    """One line that counts messages as they are settled."""

    def __init__(self, console: Console, doing: str) -> None:
        self._status = console.status(f"{doing} ...")
        self._doing = doing

    def __enter__(self) -> Self:
        self._status.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._status.stop()

    def event(self, kind: str, **fields: object) -> None:
        """Count on; say once what does not answer."""
        if kind == "verdicts.progress":
            self._status.update(f"{self._doing} ... {fields.get('messages', 0):,}")
        elif kind == "verdicts.unreachable":
            self._status.console.print(
                f"{fields.get('destinations', '')}: {fields.get('message', '')}; asking again",
                style="yellow",
            )


class PassingBar:
    """A bar on a terminal that is gone afterwards; nothing where nobody looks."""

    def __init__(self, invocation: Invocation, doing: str) -> None:
        shown = not invocation.json and sys.stdout.isatty()
        self._bar = Progress(console=invocation.console, disable=not shown, transient=True)
        self._task = self._bar.add_task(doing, total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def begin(self, doing: str, total: int) -> None:
        """Start anew, with other work and its size."""
        self._bar.reset(self._task, total=total, description=doing)

    def advance(self) -> None:
        """Count one more as done."""
        self._bar.advance(self._task)

    def show(self, doing: str, *, done: int, total: int) -> None:
        """Draw how far the work is."""
        self._bar.update(self._task, description=doing, completed=done, total=total)
