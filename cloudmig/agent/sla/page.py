"""The page of the retrieval report: one HTML file that needs nothing else to be read."""

from __future__ import annotations

import datetime as dt
import html
from collections.abc import Mapping, Sequence

from cloudmig.agent.sla.history import StoreHistory, WorstStudy
from cloudmig.agent.sla.pictures import (
    STYLE as PICTURES,
)
from cloudmig.agent.sla.pictures import (
    Candle,
    budget_strip,
    bytes_words,
    candles,
    restore_strip,
    seconds_words,
)
from cloudmig.cloud.error_budget import TierStanding
from cloudmig.model.service_levels import DICOMWEB, ServiceLevels, TierLevel
from cloudmig.pipeline.page import FOOTER, STYLE, table

__all__ = ["report_page"]

_NAMES = {
    "first_byte_s": "First byte",
    "first_instance_s": "First image",
    "study_s": "Whole study",
    "query_s": "QIDO-RS query",
    "restore_s": "Restore",
}
#: What the page says of itself, the browser enforces.
_ASKS_NOBODY = (
    '<meta http-equiv="Content-Security-Policy"'
    " content=\"default-src 'none'; style-src 'unsafe-inline'\">"
)
_BURNT_KEY = (
    "<p class=legend><span class=dot style='background:var(--verified)'></span>within half"
    "<span class=dot style='background:var(--quarantined)'></span>within the budget"
    "<span class=dot style='background:var(--unexplained)'></span>beyond it</p>"
)
_CANDLE_KEY = (
    "<p class=legend><span class='key body-key'></span>p50 to p95, tail to p99"
    "<span class='key median-key'></span>p50"
    "<span class='key limit-key'></span>service level (whole study: of one of median size)</p>"
)
_OWN_STYLE = """
@media (prefers-color-scheme: dark) { :root { --verified: #2f9a76; --quarantined: #e09a2b;
  --excluded: #8db0f0; --unexplained: #e8685c; } }
h3 { font-size: 1rem; margin: 1.6rem 0 .2rem; } h4 { font-size: .92rem; margin: 1rem 0 .2rem; }
small { font-weight: 400; color: var(--soft); }
.legend > :first-child { margin-left: 0; } .wide { margin: .6rem 0; overflow-x: auto; }
.wide svg { min-width: 52rem; } /* Its labels shrink with it: rather scroll than guess. */
.key { display: inline-block; width: .9rem; height: .7rem; margin: 0 .3rem 0 .9rem; }
.body-key { background: var(--excluded); opacity: .38; }
.median-key { background: var(--excluded); height: .16rem; vertical-align: middle; }
.limit-key { border-top: 2px dashed var(--unexplained); height: 0; vertical-align: middle; }
"""


def report_page(
    levels: ServiceLevels,
    histories: Sequence[StoreHistory],
    alarms: Mapping[str, Mapping[str, str]],
    *,
    since: dt.datetime,
    now: dt.datetime,
) -> str:
    """Return the page. Studies are pseudonyms."""
    said = (
        f"{since:%Y-%m-%d} to {now:%Y-%m-%d %H:%M} UTC · {100 * levels.objective:.4g} % of the"
        " studies shall be read within their tier's level"
    )
    stores = "".join(_store(levels, each, alarms.get(each.store, {})) for each in histories)
    return "".join((
        "<!doctype html><html lang=en><meta charset=utf-8>",
        _ASKS_NOBODY,
        '<meta name=viewport content="width=device-width,initial-scale=1">',
        f"<title>cloudmig retrieval report</title><style>{STYLE}{PICTURES}{_OWN_STYLE}</style>",
        "<h1>How fast studies can be read back</h1>",
        f"<p class=legend>{said}</p>",
        _verdict(histories, alarms),
        stores or "<p>No sample was taken in these days. Next: <code>cloudmig sla probe</code></p>",
        FOOTER,
    ))  # fmt: skip


def _verdict(histories: Sequence[StoreHistory], alarms: Mapping[str, Mapping[str, str]]) -> str:
    raised = [
        f"{html.escape(_place(store, tier))} since {since[:16].replace('T', ' ')}"
        for store, tiers in sorted(alarms.items())
        for tier, since in sorted(tiers.items())
    ]
    burnt = [
        html.escape(_place(each.store, tier))
        for each in histories
        for tier, standing in each.tiers.items()
        if standing.breached
    ]
    if raised:
        return f'<p class="verdict open"><b>Alarm.</b> {"; ".join(raised)}.</p>'
    if burnt:
        return (
            '<p class="verdict open"><b>No alarm now</b>, but over the whole time more than the'
            f" error budget was burnt: {', '.join(burnt)}.</p>"
        )
    return '<p class="verdict holds"><b>Every tier keeps its service level.</b></p>'


def _place(store: str, tier: str) -> str:
    return f"{store} {tier}".strip()


def _store(levels: ServiceLevels, history: StoreHistory, alarms: Mapping[str, str]) -> str:
    strip = budget_strip([
        (tier, [(each.at, each.standing.burnt) for each in moments])
        for tier, moments in history.moments.items()
    ])  # fmt: skip
    return "".join((
        f"<h2>Destination {html.escape(history.store or 'of the functions')}</h2>",
        _tiers(history, alarms, levels.budget),
        "<h3>Error budget burnt <small>by probe</small></h3>",
        f"<div class=wide>{strip}</div>",
        _BURNT_KEY,
        "<h3>Latency <small>by tier, over time</small></h3>",
        _CANDLE_KEY,
        *(_distributions(levels, history, tier) for tier in history.tiers),
        "<h3>Worst studies</h3>",
        table(
            ("study", "tier", "read", "size", "missed", "times its limit"),
            [_worst_row(each) for each in history.worst],
            numbers=(3, 5),
        ),
        _restores(history),
    ))  # fmt: skip


def _tiers(history: StoreHistory, alarms: Mapping[str, str], budget: float) -> str:
    def times(standing: TierStanding, name: str) -> str:
        found = standing.percentiles.get(name)
        if found is None:
            return "–"
        return " · ".join(seconds_words(value) for value in (found.p50, found.p95, found.p99))

    rows = []
    for tier, each in history.tiers.items():
        state = "alarm" if tier in alarms else "beyond" if each.breached else "kept"
        rows.append([
            tier, f"{each.samples:,}", times(each, "first_instance_s"), times(each, "study_s"),
            f"{each.missed:,}", f"{each.wrong + each.failed:,}", f"{each.burnt:.0%}", state,
        ])  # fmt: skip
    head = ("tier", "samples", "first image", "whole study", "missed", "errors", "burnt", "level")
    return (
        table(head, rows, numbers=range(1, 7))
        + "<p class=legend>Times are p50 · p95 · p99 of the right answers. Burnt: the share of"
        f" studies that missed, against the {100 * budget:.4g} % that may.</p>"
    )


def _distributions(levels: ServiceLevels, history: StoreHistory, tier: str) -> str:
    level = levels.level_of(tier)
    limits = {
        "first_byte_s": level.first_byte_s,
        "first_instance_s": level.first_instance_s,
        "study_s": history.study_limits_s[tier],
        "query_s": level.query_s,
    }
    drawn = "".join(
        candles(
            _NAMES[name],
            [
                Candle(each.at, found)
                for each in history.moments[tier]
                if (found := each.standing.percentiles.get(name)) is not None
            ],
            limit_s,
        )
        for name, limit_s in limits.items()
    )
    standing = history.tiers[tier]
    cold = (
        f"<p class=legend>{standing.cold:,} of {standing.samples:,} samples met an archived study:"
        f" counted by the restore promise, {seconds_words(level.restore_s or 0)}.</p>"
        if standing.cold
        else ""
    )
    pictures = f"<div class=pictures>{drawn}</div>" if drawn else ""
    return f"<h4>{html.escape(tier)} <small>{_promised(tier, level)}</small></h4>{cold}{pictures}"


def _promised(tier: str, level: TierLevel) -> str:
    """Return what a tier owes a reader, in words."""
    if level.restore_s is not None:
        return f"restored within {seconds_words(level.restore_s)}"
    said = (
        f"first byte within {seconds_words(level.first_byte_s)}, first image"
        f" {seconds_words(level.first_instance_s)}, study {seconds_words(level.study_s)} and 1 s"
        f" per {bytes_words(int(level.study_bytes_per_s))}"
    )
    return said + (f", query {seconds_words(level.query_s)}" if tier == DICOMWEB else "")


def _restores(history: StoreHistory) -> str:
    by_tier: dict[str, list[tuple[float, float]]] = {}
    for each in history.restores:
        if each.restore_s is not None and each.promised_s:
            by_tier.setdefault(each.tier, []).append((each.restore_s, each.promised_s))
    heading = "<h3>Restores <small>in parts of what was promised</small></h3>"
    if not by_tier:
        return f"{heading}<p class=legend>none completed</p>"
    rows = []
    for tier, dots in sorted(by_tier.items()):
        found = history.tiers[tier].percentiles["restore_s"]
        late = sum(took > promised for took, promised in dots)
        rows.append([
            tier, f"{len(dots):,}", seconds_words(found.p50), seconds_words(found.p95),
            seconds_words(found.p99), f"{late:,}",
        ])  # fmt: skip
    return f"{heading}<div class=wide>{restore_strip(sorted(by_tier.items()))}</div>" + table(
        ("tier", "restores", "p50", "p95", "p99", "late"), rows, numbers=range(1, 6)
    )


def _worst_row(each: WorstStudy) -> list[str]:
    sample = each.sample
    said = [_NAMES.get(name, name).lower() for name in each.missed]
    if sample.cause:
        said = [f"{name}: {sample.cause}" for name in said]
    return [
        each.study, sample.tier, sample.at[:16].replace("T", " "),
        bytes_words(sample.size_bytes), ", ".join(said),
        "–" if each.worst is None else f"{each.worst:.1f}",
    ]  # fmt: skip
