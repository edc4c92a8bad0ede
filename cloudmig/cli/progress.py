"""Progress on a terminal: what a person wants to see while studies move."""

from __future__ import annotations

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

from cloudmig.cli.wording import bytes_words, count_words

__all__ = ["ProgressReporter"]


class ProgressReporter:
    """A bar of studies and a line of figures, fed by events; one line per quarantined study."""

    def __init__(self, console: Console, *, studies_planned: int) -> None:
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
        self._task = self._bar.add_task("moving", total=studies_planned)
        self._live = Live(self, console=console, refresh_per_second=4, transient=False)
        self.instances = 0
        self.bytes = 0
        self.quarantined = 0
        self._halt = ""

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
        elapsed_s = self._bar.tasks[0].elapsed or 0.0
        rate = ""
        if elapsed_s > 0:
            rate = (
                f" · {self.instances / elapsed_s:.0f} instances/s"
                f" · {bytes_words(self.bytes / elapsed_s)}/s"
            )
        figures = (
            f"  {count_words(self.instances, 'instance')} · {bytes_words(self.bytes)}{rate}"
            f" · {self.quarantined} in quarantine"
        )
        return Group(self._bar.get_renderable(), Text(figures), Text(self._halt))

    def event(self, kind: str, **fields: object) -> None:
        """Count what moved. Fields that name no number are of no use here."""
        match kind:
            case "run.started" | "run.progress" if isinstance(fields.get("studies_planned"), int):
                self._bar.update(self._task, total=float(str(fields["studies_planned"])))
            case "instance.stored":
                self.instances += 1
                size = fields.get("bytes", fields.get("size_bytes", 0))
                self.bytes += size if isinstance(size, int) else 0
            case "study.stored":
                self._bar.advance(self._task)
            case "study.quarantined":
                self.quarantined += 1
                self._bar.advance(self._task)
                reason = fields.get("reason", "")
                self._live.console.print(f"quarantined: {reason}", style="yellow")
            case "run.stopping":
                self._halt = "  Stopping: finishing or putting back what is under way ..."
            case _:
                return
