"""Pictures of the retrieval report, as SVG in the page: no script, no font, nothing from elsewhere.

Colours are the page's variables, so that the pictures follow light and dark with it.
"""

from __future__ import annotations

import datetime as dt
import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

from cloudmig.cloud.percentiles import Percentiles

__all__ = [
    "STYLE", "Candle", "budget_strip", "bytes_words", "candles", "restore_strip", "seconds_words",
]  # fmt: skip

STYLE = """
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg text { font: 11px system-ui, sans-serif; fill: var(--soft); }
svg .title { font-size: 12px; font-weight: 600; fill: var(--ink); }
svg .grid { stroke: var(--line); stroke-width: 1; }
svg .limit { stroke: var(--unexplained); stroke-width: 1.2; stroke-dasharray: 4 3; }
svg .body { fill: var(--excluded); fill-opacity: .38; }
svg .median { fill: var(--excluded); } svg .tail { stroke: var(--excluded); stroke-width: 1.5; }
svg .late .body, svg .late .median { fill: var(--unexplained); }
svg .late .tail { stroke: var(--unexplained); }
svg .good { fill: var(--verified); } svg .warn { fill: var(--quarantined); }
svg .bad { fill: var(--unexplained); }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr));
  gap: .5rem 1.2rem; margin: .4rem 0 1rem; }
"""

_WIDTH, _HEIGHT = 300, 156
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 6, 24, 20


@dataclass(frozen=True, slots=True)
class Candle:
    """One moment of one measure."""

    at: dt.datetime
    values: Percentiles


def seconds_words(duration_s: float) -> str:
    """Return `12 ms`, `1.5 s`, `4 min` or `11.5 h`, to about three digits."""
    if duration_s < 0.9995:
        return f"{duration_s * 1000:.3g} ms"
    if duration_s < 119.5:
        return f"{duration_s:.3g} s"
    if duration_s < 7170:
        return f"{duration_s / 60:.3g} min"
    return f"{duration_s / 3600:.3g} h"


def bytes_words(size_bytes: int) -> str:
    """Return `12 kB` or `1.5 GB`, to about three digits."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.3g} {unit}"
    return f"{size_bytes / 1e3:.3g} kB"


def candles(title: str, found: Sequence[Candle], limit_s: float) -> str:
    """Draw p50 to p95 as a body, p99 as a tail, over time; the scale is logarithmic."""
    if not found:
        return ""
    values = [value for each in found for value in (each.values.p50, each.values.p99)]
    scale = _Scale.over([*values, limit_s])
    begin, end = found[0].at, found[-1].at
    # A place for each, whatever time lies between: the strip above has its cells so, too.
    step = (_WIDTH - _LEFT - _RIGHT) / len(found)
    width = max(2.0, min(12.0, step * 0.6))
    drawn = [_grid(scale), _limit(scale, limit_s)]
    for number, each in enumerate(found):
        x = _LEFT + (number + 0.5) * step
        drawn.append(_candle(x, width, each, scale, late=each.values.p95 > limit_s))
    return _svg(title, _WIDTH, _HEIGHT, [*drawn, *_dates(begin, end, _WIDTH, _HEIGHT - 5)])


def _candle(x: float, width: float, each: Candle, scale: _Scale, *, late: bool) -> str:
    p50, p95, p99 = (
        scale.y(value) for value in (each.values.p50, each.values.p95, each.values.p99)
    )
    height = max(1.0, p50 - p95)
    told = (
        f"{each.at:%Y-%m-%d %H:%M}: p50 {seconds_words(each.values.p50)},"
        f" p95 {seconds_words(each.values.p95)}, p99 {seconds_words(each.values.p99)}"
    )
    return (
        f'<g class="{"late" if late else "kept"}"><title>{told}</title>'
        f'<line class=tail x1="{x:.1f}" x2="{x:.1f}" y1="{p95:.1f}" y2="{p99:.1f}"/>'
        f'<line class=tail x1="{x - width / 3:.1f}" x2="{x + width / 3:.1f}" y1="{p99:.1f}"'
        f' y2="{p99:.1f}"/>'
        f'<rect class=body x="{x - width / 2:.1f}" y="{p95:.1f}" width="{width:.1f}"'
        f' height="{height:.1f}"/>'
        f'<rect class=median x="{x - width / 2:.1f}" y="{p50 - 1:.1f}" width="{width:.1f}"'
        ' height="2"/></g>'
    )


@dataclass(frozen=True, slots=True)
class _Scale:
    """A logarithmic axis from one power of ten to another."""

    lowest: int
    highest: int

    @classmethod
    def over(cls, values: Sequence[float]) -> _Scale:
        logs = [math.log10(max(value, 1e-6)) for value in values]
        lowest = math.floor(min(logs))
        return cls(lowest, max(math.ceil(max(logs) + 0.05), lowest + 1))

    def y(self, value: float) -> float:
        share = (math.log10(max(value, 1e-6)) - self.lowest) / (self.highest - self.lowest)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)


def _grid(scale: _Scale) -> str:
    powers = range(scale.lowest, scale.highest + 1)
    every = 2 if len(powers) > 6 else 1
    lines = []
    for power in powers:
        y = scale.y(10.0**power)
        lines.append(
            f'<line class=grid x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        if (power - scale.lowest) % every == 0:
            lines.append(
                f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">'
                f"{seconds_words(10.0**power)}</text>"
            )
    return "".join(lines)


def _limit(scale: _Scale, limit_s: float) -> str:
    y = scale.y(limit_s)
    return (
        f'<g><title>service level: {seconds_words(limit_s)}</title><line class=limit x1="{_LEFT}"'
        f' x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/></g>'
    )


def _dates(begin: dt.datetime, end: dt.datetime, width: float, y: float) -> list[str]:
    """Return the first and the last date; of one day, the times."""
    form = "%H:%M" if begin.date() == end.date() else "%b %d"
    first, last = f"{begin:{form}}", f"{end:{form}}"
    if first == last:
        middle = (_LEFT + width - _RIGHT) / 2
        return [f'<text x="{middle:.0f}" y="{y:.0f}" text-anchor="middle">{first}</text>']
    return [
        f'<text x="{_LEFT}" y="{y:.0f}">{first}</text>',
        f'<text x="{width - _RIGHT:.0f}" y="{y:.0f}" text-anchor="end">{last}</text>',
    ]


def budget_strip(rows: Sequence[tuple[str, Sequence[tuple[dt.datetime, float]]]]) -> str:
    """Draw a row per tier, a cell per moment: within half of the budget, within it, beyond it."""
    times = sorted({at for _, cells in rows for at, _ in cells})
    if not times:
        return ""
    width, left, row_height = 920, 130, 24
    cell = (width - left) / len(times)
    drawn = []
    for number, (tier, cells) in enumerate(rows):
        y = number * row_height
        drawn.append(f'<text x="0" y="{y + 15}">{html.escape(tier)}</text>')
        for at, burnt in cells:
            x = left + times.index(at) * cell
            kind = "bad" if burnt > 1 else "warn" if burnt > 0.5 else "good"
            drawn.append(
                f'<rect class={kind} x="{x:.1f}" y="{y + 2}" width="{max(cell - 1.5, 1):.1f}"'
                f' height="{row_height - 6}" rx="2"><title>{html.escape(tier)},'
                f" {at:%Y-%m-%d %H:%M}: {burnt:.0%} of the budget</title></rect>"
            )
    height = len(rows) * row_height + 18
    form = "%H:%M" if times[0].date() == times[-1].date() else "%b %d"
    drawn.append(f'<text x="{left}" y="{height - 4}">{times[0]:{form}}</text>')
    if len(times) > 2:
        drawn.append(
            f'<text x="{width}" y="{height - 4}" text-anchor="end">{times[-1]:{form}}</text>'
        )
    return _svg("", width, height, drawn)


def restore_strip(rows: Sequence[tuple[str, Sequence[tuple[float, float]]]]) -> str:
    """Draw a row per archive tier, a dot per restore: what it took, in parts of its promise."""
    ratios = [took / promised for _, dots in rows for took, promised in dots]
    if not ratios:
        return ""
    width, left, row_height = 920, 130, 34
    most = max(1.25, math.ceil(max(ratios) * 4) / 4)
    height = len(rows) * row_height + 20

    def x(ratio: float) -> float:
        return left + 8 + ratio / most * (width - left - 16)

    drawn = []
    for quarter in range(0, int(most * 4) + 1, 1 if most <= 2 else 4):
        place = x(quarter / 4)
        kind = "limit" if quarter == 4 else "grid"
        drawn.append(
            f'<line class={kind} x1="{place:.1f}" x2="{place:.1f}" y1="0" y2="{height - 18}"/>'
            f'<text x="{place:.1f}" y="{height - 4}" text-anchor="middle">{quarter / 4:.0%}</text>'
        )
    for number, (tier, dots) in enumerate(rows):
        y = number * row_height + row_height / 2
        drawn.append(f'<text x="0" y="{y + 4:.0f}">{html.escape(tier)}</text>')
        for position, (took, promised) in enumerate(dots):
            kind = "bad" if took > promised else "good"
            lift = (position % 5 - 2) * 4  # Equal times lie beside each other.
            drawn.append(
                f'<circle class={kind} fill-opacity=".75" cx="{x(took / promised):.1f}"'
                f' cy="{y + lift:.1f}" r="4"><title>{seconds_words(took)} of'
                f" {seconds_words(promised)}</title></circle>"
            )
    return _svg("", width, height, drawn)


def _svg(title: str, width: int, height: float, drawn: Sequence[str]) -> str:
    heading = f'<text class=title x="0" y="12">{html.escape(title)}</text>' if title else ""
    return (
        f'<svg viewBox="0 0 {width} {height:.0f}" role="img"'
        f' aria-label="{html.escape(title or "chart")}">{heading}{"".join(drawn)}</svg>'
    )
