"""The bar of a long command is for whoever looks at a terminal, and for nobody else."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from cloudmig.cli.invocation import Invocation, LogLevel
from cloudmig.cli.progress import PassingBar


class Terminal(io.StringIO):
    """What is shown to a person."""

    def isatty(self) -> bool:
        return True


def shown(stdout: io.StringIO, monkeypatch: pytest.MonkeyPatch, *, as_json: bool = False) -> str:
    monkeypatch.setattr(sys, "stdout", stdout)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    with PassingBar(Invocation(Path("x"), as_json, LogLevel.ERROR), "looking around") as bar:
        bar.begin("reading studies", 2)
        bar.advance()
        bar.show("comparing, 2 objects", done=1, total=4)
    return stdout.getvalue()


def test_a_person_sees_the_last_state_and_then_it_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(Terminal(), monkeypatch)

    assert "comparing, 2 objects" in text
    assert "25%" in text
    assert text.endswith("\x1b[1A\x1b[2K"), "the line is erased"


@pytest.mark.parametrize(("stdout", "as_json"), [(io.StringIO(), False), (Terminal(), True)])
def test_a_program_sees_no_bar(
    stdout: io.StringIO, as_json: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shown(stdout, monkeypatch, as_json=as_json).strip() == ""
