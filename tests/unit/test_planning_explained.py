"""`plan --explain` against a table written by hand: twenty studies, seven rules."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest

from cloudmig.catalog.records import CatalogedStudy
from cloudmig.config import Rule
from cloudmig.model.references import StudyRef
from cloudmig.model.study import parse_study_date
from cloudmig.pipeline.planning import explain

TODAY = dt.date(2026, 11, 22)

RULES = (
    Rule(name="the last year stays", age_days_max=365, keep_on_site=True),
    Rule(name="mammography twice", modalities=("MG",), copy_to=("archive", "second")),
    Rule(
        name="nineties film", study_date_to=dt.date(1999, 12, 31), copy_to=("deep",),
        storage_class="DEEP_ARCHIVE",
    ),
    Rule(
        name="CT and MR of five years", modalities=("CT", "MR"), age_days_max=1826,
        copy_to=("archive",), storage_class="STANDARD_IA", priority=-1,
    ),
    Rule(name="the old site", sources=("old",), copy_to=("second",)),
    Rule(name="before ten years", age_days_min=3653, copy_to=("deep",)),
    Rule(name="everything else", copy_to=("archive",)),
)  # fmt: skip

#: Study date, modalities, source -> the rule that decides and where it sends the study.
TABLE = """
20261122 CT     main | the last year stays     |
20261121 MG     main | the last year stays     |
20251122 US     main | the last year stays     |
20251121 US     main | everything else         | archive
20251121 CT     main | CT and MR of five years | archive:STANDARD_IA
20230704 MR/SR  main | CT and MR of five years | archive:STANDARD_IA
20211122 CT     main | CT and MR of five years | archive:STANDARD_IA
20211121 CT     main | everything else         | archive
20211121 CT     old  | the old site            | second
20200101 MG     main | mammography twice       | archive second
20200101 MG/US  old  | mammography twice       | archive second
19950101 MG     main | mammography twice       | archive second
19991231 CR     main | nineties film           | deep:DEEP_ARCHIVE
20000101 CR     main | before ten years        | deep
20161121 CR     main | before ten years        | deep
20161123 CR     main | everything else         | archive
19900230 CR     main | everything else         | archive
-        CT     main | everything else         | archive
-        MG     main | mammography twice       | archive second
-        -      old  | the old site            | second
"""


def rows() -> list[tuple[CatalogedStudy, str, str]]:
    found = []
    for number, line in enumerate(TABLE.strip().splitlines()):
        about, rule, copies = (part.strip() for part in line.split("|"))
        date, modalities, source = about.split()
        date = date.replace("-", "")
        study = CatalogedStudy(
            study_id=number,
            source=source,
            study=StudyRef(f"1.2.3.{number}"),
            study_date=parse_study_date(date),
            study_date_text=date,
            study_time_text="",
            modalities=tuple(modalities.replace("-", "").split("/")) if modalities != "-" else (),
            instances_claimed=None,
            answers=1,
            patients=1,
            last_sweep_id=1,
        )
        found.append((study, rule, copies))
    return found


def test_the_table_has_twenty_studies_and_every_rule_decides_one() -> None:
    assert len(rows()) == 20
    assert {rule for _, rule, _ in rows()} == {rule.name for rule in RULES}


@pytest.mark.parametrize(("study", "rule", "copies"), rows())
def test_the_first_rule_that_matches_decides(study: CatalogedStudy, rule: str, copies: str) -> None:
    explanation = explain(RULES, study, TODAY)

    assert explanation.decision is not None
    assert explanation.decision.rule == rule
    sent = [
        f"{copy.destination}:{copy.storage_class}" if copy.storage_class else copy.destination
        for copy in explanation.decision.copies
    ]
    assert " ".join(sent) == copies
    assert [each.matched for each in explanation.verdicts][:-1] == [False] * (
        len(explanation.verdicts) - 1
    ), "what did not match stands before what did"
    assert explanation.verdicts[-1].matched


def test_a_study_that_no_rule_matches_is_undecided_and_every_rule_says_why() -> None:
    study = rows()[0][0]

    explanation = explain(RULES[1:3], study, TODAY)

    assert explanation.decision is None
    assert [(each.matched, bool(each.why)) for each in explanation.verdicts] == [(False, True)] * 2


@pytest.mark.parametrize(("named", "listed"), [("ct", "CT"), ("CT", "ct"), ("CT ", "CT")])
def test_a_rule_means_a_modality_however_it_is_written(named: str, listed: str) -> None:
    """Else a study that was to stay leaves the site, by the rule behind."""
    stays = Rule(name="CT stays", modalities=(named,), keep_on_site=True)
    study = replace(rows()[0][0], modalities=(listed,))

    decision = explain([stays, RULES[-1]], study, TODAY).decision

    assert decision is not None
    assert decision.rule == "CT stays"
