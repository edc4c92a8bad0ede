"""The report page of a closing statement: one HTML file that needs nothing else to be read."""

from __future__ import annotations

import asyncio
import html
from collections.abc import Mapping, Sequence
from pathlib import Path

from cloudmig.catalog.records import QuarantineItem, UnexplainedStudy
from cloudmig.catalog.statement import Equation, Statement
from cloudmig.pipeline.parts import Parts

__all__ = ["write_report"]

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2733; --paper: #fff; --soft: #5b6b7b; --line: #d9e0e7;
  --verified: #1f7a5c; --quarantined: #c77700; --excluded: #5b7bb4; --unexplained: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6ebf0; --paper: #14191f; --soft: #9aa8b5;
  --line: #2c3742; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
.verdict { padding: .6rem 1rem; border-left: .35rem solid; margin: 1rem 0; }
.holds { border-color: var(--verified); } .open { border-color: var(--unexplained); }
.bar { display: flex; height: 1.6rem; border-radius: .3rem; overflow: hidden; margin: .4rem 0;
  background: var(--line); }
.bar div { min-width: 2px; } .legend { color: var(--soft); font-size: .9rem; }
.legend b { color: var(--ink); } .dot { display: inline-block; width: .7rem; height: .7rem;
  border-radius: 50%; margin: 0 .3rem 0 .9rem; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; } th, td { text-align: left;
  padding: .35rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
.number { text-align: right; font-variant-numeric: tabular-nums; } code { font-size: .88em; }
footer { margin-top: 3rem; color: var(--soft); font-size: .85rem; }
"""

_FOOTER = (
    "<footer>Studies are named by pseudonyms of this installation;"
    " <code>cloudmig status --resolve</code> maps them back.</footer></html>"
)


async def write_report(
    parts: Parts,
    statement: Statement,
    obstacles: Sequence[str],
    unexplained: Sequence[UnexplainedStudy],
    quarantine: Sequence[QuarantineItem],
) -> Path:
    """Write the page into the report folder and return its path. Studies are pseudonyms."""
    now = parts.now()
    path = parts.config.agent.report_dir / f"closing-{now:%Y%m%dT%H%M%S}.html"
    page = _page(parts, statement, obstacles, unexplained, quarantine, f"{now:%Y-%m-%d %H:%M} UTC")

    def write() -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".part")
        draft.write_text(page, encoding="utf-8")
        draft.replace(path)

    await asyncio.to_thread(write)
    return path


def _page(
    parts: Parts,
    statement: Statement,
    obstacles: Sequence[str],
    unexplained: Sequence[UnexplainedStudy],
    quarantine: Sequence[QuarantineItem],
    written: str,
) -> str:
    name = parts.pseudonyms.of
    verdict = (
        '<p class="verdict holds"><b>Everything is explained.</b> Every study and every instance of'
        " the inventory is verified at each of its destinations, waits for a person with a reason,"
        " or stays by a named rule.</p>"
        if not obstacles
        else '<p class="verdict open"><b>Not closed.</b> '
        + "; ".join(html.escape(each) for each in obstacles)
        + "</p>"
    )
    verdicts = ", ".join(f"{how}: {count:,} copies" for how, count in statement.verdicts.items())
    return "".join((
        "<!doctype html><html lang=en><meta charset=utf-8>",
        '<meta name=viewport content="width=device-width,initial-scale=1">',
        f"<title>cloudmig closing statement</title><style>{_STYLE}</style>",
        f"<h1>Closing statement</h1><p class=legend>written {written}</p>",
        verdict,
        "<h2>Studies</h2>", _equation(statement.studies),
        "<h2>Instances</h2>", _equation(statement.instances),
        "<h2>How it was verified</h2>",
        f"<p>{html.escape(verdicts or 'nothing yet')}</p>",
        f"<p>Completeness by two equal pulls only: {statement.weak_copies:,} copies</p>",
        "<h2>Quarantine</h2>",
        _table(
            ("study", "reason", "what it means"),
            [(item.shown_as(parts.pseudonyms), item.reason.value, item.reason.explanation)
             for item in quarantine],
        ),
        "<h2>Unexplained</h2>",
        _table(
            ("study", "source", "waits for"),
            [(name(each.study.study_instance_uid), each.source, each.why) for each in unexplained],
        ),
        _FOOTER,
    ))  # fmt: skip


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


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return "<p class=legend>none</p>"
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    headings = "".join(f"<th>{cell}</th>" for cell in head)
    return f"<table><tr>{headings}</tr>{body}</table>"
