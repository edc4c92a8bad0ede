"""What the report pages share: one style, light and dark, and tables; nothing from elsewhere."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

from cloudmig.errors import CatalogError

__all__ = ["FOOTER", "STYLE", "table", "write_page"]

STYLE = """
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
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
code { font-size: .88em; }
.scroll { overflow-x: auto; }
footer { margin-top: 3rem; color: var(--soft); font-size: .85rem; }
"""

FOOTER = (
    "<footer>Studies are named by pseudonyms of this installation;"
    " <code>cloudmig status --resolve</code> maps them back.</footer></html>"
)


def table(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[int] = ()
) -> str:
    """Return a table of plain text; the columns at `numbers` stand to the right."""
    if not rows:
        return "<p class=legend>none</p>"

    def cell(tag: str, place: int, text: str) -> str:
        return f"<{tag}{' class=number' if place in numbers else ''}>{html.escape(text)}</{tag}>"

    headings = "".join(cell("th", place, text) for place, text in enumerate(head))
    body = "".join(
        "<tr>" + "".join(cell("td", place, text) for place, text in enumerate(row)) + "</tr>"
        for row in rows
    )
    return f"<div class=scroll><table><tr>{headings}</tr>{body}</table></div>"


def write_page(path: Path, page: str) -> None:
    """Write a page whole or not at all."""
    draft = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(page, encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        raise CatalogError(
            f"a page cannot be written: {error.strerror}",
            hint=f"Make {path.parent} writable, with room for it, and run the command again.",
        ) from error
