"""How the story is told: pretty on a terminal, plain lines elsewhere, one document with --json."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Protocol, TextIO

__all__ = ["JsonTeller", "PlainTeller", "PrettyTeller", "Teller", "teller_for"]


class Teller(Protocol):
    """What the story says while it goes on, and at its end."""

    def step(self, title: str) -> None:
        """Begin a chapter."""

    def line(self, text: str, *, style: str = "") -> None:
        """Say one thing. The style is a hint."""

    def end(self, document: Mapping[str, object]) -> None:
        """Hand over everything as data."""


class PlainTeller:
    """One line after the other, for logs and pipes."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def step(self, title: str) -> None:
        self._write(f"\n== {title}")

    def line(self, text: str, *, style: str = "") -> None:
        del style
        self._write(f"   {text}")

    def end(self, document: Mapping[str, object]) -> None:
        del document

    def _write(self, text: str) -> None:
        self._out.write(text + "\n")
        self._out.flush()


class JsonTeller:
    """Silence, and one JSON document at the end."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def step(self, title: str) -> None:
        del title

    def line(self, text: str, *, style: str = "") -> None:
        del text, style

    def end(self, document: Mapping[str, object]) -> None:
        self._out.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
        self._out.flush()


class PrettyTeller:
    """Colours and rules, for people."""

    def __init__(self, out: TextIO) -> None:
        from rich.console import Console  # noqa: PLC0415 - only on a terminal

        self._console = Console(file=out, highlight=False, soft_wrap=True)

    def step(self, title: str) -> None:
        from rich.text import Text  # noqa: PLC0415

        self._console.print()
        self._console.print(Text(title, style="bold cyan"))

    def line(self, text: str, *, style: str = "") -> None:
        from rich.text import Text  # noqa: PLC0415

        self._console.print(Text(f"  {text}", style=style))

    def end(self, document: Mapping[str, object]) -> None:
        del document


def teller_for(*, as_json: bool, out: TextIO | None = None) -> Teller:
    """Choose by where the words go."""
    target = out or sys.stdout
    if as_json:
        return JsonTeller(target)
    return PrettyTeller(target) if target.isatty() else PlainTeller(target)
