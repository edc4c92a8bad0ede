"""How far the walk through a folder is: a bar for people, JSON lines on stderr for programs."""

from __future__ import annotations

import json
import sys

from cloudmig.cli.invocation import Invocation
from cloudmig.cli.progress import PassingBar
from cloudmig.cli.wording import bytes_words

__all__ = ["SurveyProgress"]

#: Counts only: what may be said of a folder whose names may be patients'.
_TOLD = (
    "source", "entries", "bytes", "files", "files_total", "bytes_total", "files_per_s",
    "bytes_per_s",
)  # fmt: skip


class SurveyProgress(PassingBar):
    """A reporter (`telemetry.Reporter`) that shows the events of a survey."""

    def __init__(self, invocation: Invocation) -> None:
        super().__init__(invocation, "inventory")
        self._json = invocation.json

    def event(self, kind: str, **fields: object) -> None:
        """Show how far it is."""
        if kind not in {"inventory.walking", "inventory.reading", "inventory.judging"}:
            return
        if self._json:
            told = {name: fields[name] for name in _TOLD if name in fields}
            sys.stderr.write(json.dumps({"event": kind, **told}) + "\n")
            return
        source = fields["source"]
        match kind:
            case "inventory.walking":
                size = bytes_words(_number(fields["bytes"]))
                self.show(f"{source}: {fields['entries']:,} files, {size}", done=0, total=1)
            case "inventory.reading":
                speed = bytes_words(_number(fields["bytes_per_s"]))
                self.show(
                    f"{source}: {fields['files_per_s']:,} headers/s of files, {speed}/s",
                    done=_number(fields["files"]),
                    total=_number(fields["files_total"]),
                )
            case _:
                self.show(f"{source}: comparing", done=0, total=1)


def _number(value: object) -> int:
    assert isinstance(value, int | float)
    return int(value)
