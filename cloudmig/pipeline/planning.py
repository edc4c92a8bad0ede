"""Rules become decisions (pure): the first that matches a study decides. The catalog keeps them."""

from __future__ import annotations

import datetime as dt
import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from cloudmig.catalog import Catalog, CatalogThread
from cloudmig.catalog.records import CatalogedStudy
from cloudmig.config import Rule
from cloudmig.errors import ConfigError
from cloudmig.model.transfer import CopyPlan, Decision
from cloudmig.telemetry import Reporter

__all__ = [
    "UNDECIDED",
    "Explanation",
    "PlanResult",
    "RuleVerdict",
    "decide",
    "explain",
    "make_plan",
]

_PAGE = 1000

#: Where no rule matches, a study stays undecided, and a wave cannot close.
UNDECIDED = "no rule matches"


@dataclass(frozen=True, slots=True)
class RuleVerdict:
    """What one rule says about one study."""

    rule: str
    matched: bool
    why: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """Every rule up to the one that decides, and the decision."""

    verdicts: tuple[RuleVerdict, ...]
    decision: Decision | None  #: None where no rule matches.


@dataclass(frozen=True, slots=True)
class PlanResult:
    """What planning did."""

    studies: int
    by_rule: Mapping[str, int]
    planned: int
    excluded: int
    changed: int
    under_way: int  #: Studies that a worker or a person has; planning leaves them alone.
    undecided: int
    grown: int  #: Of those planned: moved before, and the source counts more instances now.


def explain(rules: Sequence[Rule], study: CatalogedStudy, today: dt.date) -> Explanation:
    """Go through the rules in order and say why each matches or not."""
    verdicts = []
    for rule in rules:
        misfit = _misfit(rule, study, today)
        verdicts.append(RuleVerdict(rule.name, misfit is None, misfit or "all conditions hold"))
        if misfit is None:
            copies = tuple(CopyPlan(name, rule.storage_class or "") for name in rule.copy_to)
            decision = Decision(study.source, study.study, rule.name, copies, rule.priority)
            return Explanation(tuple(verdicts), decision)
    return Explanation(tuple(verdicts), None)


def decide(rules: Sequence[Rule], study: CatalogedStudy, today: dt.date) -> Decision | None:
    """Return the decision of the first rule that matches, or None."""
    return explain(rules, study, today).decision


def _misfit(rule: Rule, study: CatalogedStudy, today: dt.date) -> str | None:
    """Return why the rule does not match, in words without patient data, or None when it does."""
    if rule.sources is not None and study.source not in rule.sources:
        return f"source {study.source} is not one of {', '.join(rule.sources)}"
    if rule.modalities is not None and not _codes(rule.modalities) & _codes(study.modalities):
        has = "/".join(study.modalities) or "unknown"
        return f"modality {has} is not one of {', '.join(rule.modalities)}"
    about_time = (
        rule.age_days_min, rule.age_days_max, rule.study_date_from, rule.study_date_to
    )  # fmt: skip
    if all(condition is None for condition in about_time):
        return None
    if study.study_date is None:
        return "the study has no usable date"
    return _wrong_time(rule, study.study_date, today)


@functools.lru_cache(maxsize=1024)
def _codes(modalities: tuple[str, ...]) -> frozenset[str]:
    """Return modalities as DICOM writes them (PS3.5 6.2, CS), whoever wrote them otherwise."""
    return frozenset(each.strip().upper() for each in modalities)


def _wrong_time(rule: Rule, study_date: dt.date, today: dt.date) -> str | None:
    age_days = (today - study_date).days
    checks: tuple[tuple[bool, Callable[[], str]], ...] = (
        (
            rule.age_days_min is not None and age_days < rule.age_days_min,
            lambda: f"{age_days} days old, younger than {rule.age_days_min}",
        ),
        (
            rule.age_days_max is not None and age_days > rule.age_days_max,
            lambda: f"{age_days} days old, older than {rule.age_days_max}",
        ),
        (
            rule.study_date_from is not None and study_date < rule.study_date_from,
            lambda: f"before {rule.study_date_from}",
        ),
        (
            rule.study_date_to is not None and study_date > rule.study_date_to,
            lambda: f"after {rule.study_date_to}",
        ),
    )
    return next((words() for is_wrong, words in checks if is_wrong), None)


async def make_plan(
    catalog: CatalogThread,
    rules: Sequence[Rule],
    destinations: AbstractSet[str],
    *,
    today: dt.date,
    reporter: Reporter,
    now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
) -> PlanResult:
    """Decide about every study of the inventory. Safe to repeat; work under way is left alone.

    A study that was moved and has grown since is planned again as it is, unless it has a copy at
    none of these destinations: all that are configured.
    """
    if not rules:
        raise ConfigError("there are no rules", hint="add [[rules]] to cloudmig.toml")
    by_rule: Counter[str] = Counter()
    studies = planned = excluded = changed = under_way = undecided = grown = 0
    after: int | None = None
    while page := await catalog.call(Catalog.studies, after=after, limit=_PAGE):
        decisions = []
        for study in page:
            decision = decide(rules, study, today)
            if decision is None:
                undecided += 1
            else:
                decisions.append(decision)
                by_rule[decision.rule] += 1
        counts = await catalog.call(Catalog.record_plan, decisions, now(), destinations)
        studies += len(page)
        planned += counts.planned
        excluded += counts.excluded
        changed += counts.changed
        under_way += counts.under_way
        grown += counts.grown
        after = page[-1].study_id
        reporter.event("plan.progress", studies=studies, planned=planned, excluded=excluded)
    return PlanResult(
        studies, dict(by_rule), planned, excluded, changed, under_way, undecided, grown
    )
