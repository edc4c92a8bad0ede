"""What `cloudmig verify` says to do next."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudmig.cli.invocation import Invocation, LogLevel
from cloudmig.cli.verify import _show
from cloudmig.pipeline.verification import VerifySummary
from cloudmig.pseudonyms import Pseudonyms


@pytest.mark.parametrize(("left", "is_done"), [
    ({}, True), ({"undecided": 1}, False), ({"unreadable": 1}, False), ({"unanswered": 1}, False),
    ({"without_reference": 1}, False),
])  # fmt: skip
def test_nobody_is_sent_to_close_what_close_refuses(
    left: dict[str, int], is_done: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = VerifySummary(copies=2, instances=5, agreed=1, **left)  # type: ignore[arg-type]

    _show(Invocation(Path("x"), False, LogLevel.WARNING), summary, Pseudonyms(b"s" * 32), 1)

    said = capsys.readouterr().out
    assert ("Next: cloudmig close" in said) is is_done
    assert ("cloudmig close refuses before that" in said) is not is_done
