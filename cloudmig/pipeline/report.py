"""A closing statement and its page: one HTML file that needs nothing else to be read."""

from __future__ import annotations

import asyncio
import datetime as dt
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cloudmig.catalog.records import QuarantineItem, UnexplainedStudy
from cloudmig.catalog.statement import Equation, Statement
from cloudmig.model.files import FileEquation
from cloudmig.pipeline.page import FOOTER, STYLE, table, write_page
from cloudmig.pseudonyms import Pseudonyms

__all__ = ["ClosingStatement", "write_report"]

#: What each way of verifying looks at.
_HOW = {
    "READ_BACK": "every byte, read by the agent",
    "READ_BACK_ELEMENTS": "every element and every bit of the pixels, read by the agent and"
    " compared with another copy: the DICOMweb store writes them in its own way",
    "STORE_CHECKSUM": "the checksum that the store computed itself, asked by the agent",
    "CLOUD": "the verdict of the functions beside the bucket, or of their code run on site",
}


@dataclass(frozen=True, slots=True)
class ClosingStatement:
    """What `cloudmig close` says. Refused while anything is unexplained."""

    statement: Statement
    closed: int  #: Studies signed off now.
    obstacles: tuple[str, ...]  #: Why it was refused; empty when it was not.
    unexplained: tuple[UnexplainedStudy, ...]
    quarantine: tuple[QuarantineItem, ...]
    report: Path
    files: Mapping[str, Sequence[FileEquation]] = field(default_factory=dict)  #: By source.
    #: What did not fit together while a source was asked, by source. The equations are about what
    #: it named: they cannot show what it did not.
    disagreements: Mapping[str, Sequence[str]] = field(default_factory=dict)
    #: Copies that were given up by a person's word, by destination: no verdict counts them.
    given_up: Mapping[str, int] = field(default_factory=dict)

    @property
    def refused(self) -> bool:
        return bool(self.obstacles)

    @property
    def remarks(self) -> list[str]:
        """Return what the equations do not say by themselves."""
        return list(self.statement.remarks) + [
            f"copies at {name} that were given up for good, and that no study is judged by: {n:,}"
            for name, n in self.given_up.items()
        ]


async def write_report(pseudonyms: Pseudonyms, closing: ClosingStatement, at: dt.datetime) -> None:
    """Write the page to its place. Studies are pseudonyms."""
    await asyncio.to_thread(write_page, closing.report, _page(pseudonyms, closing, at))


def _page(pseudonyms: Pseudonyms, closing: ClosingStatement, at: dt.datetime) -> str:
    statement, name = closing.statement, pseudonyms.of
    verdict = (
        '<p class="verdict holds"><b>Everything is explained.</b> Every study and every instance of'
        " the inventory is verified at each of its destinations, waits for a person with a reason,"
        " or stays by a named rule.</p>"
        if not closing.obstacles
        else '<p class="verdict open"><b>Not closed.</b> '
        + "; ".join(html.escape(each) for each in closing.obstacles)
        + "</p>"
    )
    return "".join((
        "<!doctype html><html lang=en><meta charset=utf-8>",
        '<meta name=viewport content="width=device-width,initial-scale=1">',
        f"<title>cloudmig closing statement</title><style>{STYLE}</style>",
        f"<h1>Closing statement</h1><p class=legend>written {at:%Y-%m-%d %H:%M} UTC</p>",
        verdict,
        "<h2>Studies</h2>", _equation(statement.studies),
        "<h2>Instances</h2>", _equation(statement.instances),
        *(f"<p class=legend>{html.escape(each)}</p>" for each in closing.remarks),
        *_files(closing.files),
        *_disagreements(closing.disagreements),
        "<h2>How it was verified</h2>",
        table(
            ("verdict", "copies", "what was looked at"),
            [(how, f"{count:,}", _HOW.get(how, "")) for how, count in statement.verdicts.items()],
        ),
        f"<p>Completeness by two equal pulls only: {statement.weak_copies:,} copies</p>",
        "<h2>Quarantine</h2>",
        table(
            ("study", "reason", "what it means"),
            [(item.shown_as(pseudonyms), item.reason.value, item.reason.explanation)
             for item in closing.quarantine],
        ),
        "<h2>Unexplained</h2>",
        table(
            ("study", "source", "waits for"),
            [(name(each.study.study_instance_uid), each.source, str(each))
             for each in closing.unexplained],
        ),
        FOOTER,
    ))  # fmt: skip


def _files(files: Mapping[str, Sequence[FileEquation]]) -> list[str]:
    """Show what lies in the folders that were read, where there are any."""
    if not files:
        return []
    rows = [
        (source, each.account.value, kind.replace("_", " "), f"{count:,}")
        for source, equations in files.items()
        for each in equations
        for kind, count in [*each.kinds.items(), ("together", each.total)]
    ]
    return ["<h2>Files</h2>", table(("source", "of", "kind", "count"), rows)]


def _disagreements(disagreements: Mapping[str, Sequence[str]]) -> list[str]:
    """Show what did not fit together, whether or not everything found is explained."""
    rows = [(source, each) for source, said in disagreements.items() for each in said]
    words = (
        "<p>The equations are about what a source named. It may hold more than that where its"
        " answers did not fit together: judge these before you rely on the statement.</p>"
        if rows
        else ""
    )
    head = "<h2>What did not fit together in the inventory</h2>"
    return [head, words, table(("source", "what"), rows)]


def _equation(equation: Equation) -> str:
    excluded = sum(equation.excluded.values())
    unexplained = sum(equation.unexplained.values())
    counts = {
        "verified": equation.verified,
        "quarantined": equation.quarantined,
        "excluded": excluded,
        "unexplained": unexplained,
    }
    whole = max(1, equation.inventory)
    bar = "".join(
        f'<div style="width:{100 * count / whole:.3f}%;background:var(--{kind})"'
        f' title="{kind}: {count:,}"></div>'
        for kind, count in counts.items()
        if count
    )
    legend = "".join(
        f'<span class=dot style="background:var(--{kind})"></span>{kind} <b>{count:,}</b>'
        for kind, count in counts.items()
    )
    return (
        f"<div class=bar>{bar}</div><p class=legend>inventory <b>{equation.inventory:,}</b>{legend}"
        f"</p>{_reasons('excluded by rule', equation.excluded)}"
        f"{_reasons('unexplained', equation.unexplained)}"
    )


def _reasons(title: str, counts: Mapping[str, int]) -> str:
    if not counts:
        return ""
    words = ", ".join(f"{html.escape(name)}: {count:,}" for name, count in counts.items())
    return f"<p class=legend>{title}: {words}</p>"
