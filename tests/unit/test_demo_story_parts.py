"""The parts of the demo's story that need no process: answers, telling, the folder, the plan."""

from __future__ import annotations

import datetime as dt
import io
import json
from pathlib import Path

import pytest

from cloudmig.config import load
from cloudmig.demo import answers
from cloudmig.demo.answers import EquationAnswer, QuarantineAnswer
from cloudmig.demo.judge import Judgement, data_set_of
from cloudmig.demo.story import Outcome
from cloudmig.demo.studies import StudyMaker
from cloudmig.demo.telling import teller_for
from cloudmig.demo.workplace import Workplace
from cloudmig.errors import ConfigError

GOOD_JUDGEMENT = Judgement(expected=9, found=9, absent=0, strange=0, written_twice=0, manifests=2)


def an_outcome(**changes: object) -> Outcome:
    outcome = Outcome(
        studies=10,
        studies_found=10,
        equations=[EquationAnswer("studies", 10, 6, 2, {"kept": 2})],
        quarantine=[
            QuarantineAnswer("st-1", "conflict", "Two contents."),
            QuarantineAnswer("st-2", "missing_instances", "Never came."),
        ],
        judgement=GOOD_JUDGEMENT,
    )
    for name, value in changes.items():
        setattr(outcome, name, value)
    return outcome


def test_an_equation_holds_only_when_both_sides_are_equal_and_all_is_explained() -> None:
    assert EquationAnswer("studies", 10, 6, 2, {"kept": 2}).holds
    assert not EquationAnswer("studies", 11, 6, 2, {"kept": 2}).holds
    assert not EquationAnswer("studies", 10, 6, 2, {"kept": 2}, unexplained=1).holds


def test_a_good_run_has_no_problems() -> None:
    assert an_outcome().problems == []


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"studies_found": 9}, "9 of 10"),
        ({"quarantine": []}, "quarantine"),
        ({"quarantine": [*an_outcome().quarantine, QuarantineAnswer("st-3", "conflict", "")]},
         "quarantine"),
        ({"judgement": None}, "does not hold"),
        ({"judgement": Judgement(9, 8, 1, 0, 0, 2)}, "does not hold"),
        ({"equations": [EquationAnswer("studies", 10, 6, 2)]}, "does not add up"),
    ],
)  # fmt: skip
def test_whatever_went_wrong_is_named(changes: dict[str, object], named: str) -> None:
    [problem] = an_outcome(**changes).problems

    assert named in problem


@pytest.mark.parametrize(("absent", "strange", "twice"), [(1, 0, 0), (0, 1, 0), (0, 0, 1)])
def test_the_judge_is_content_only_without_loss_invention_or_repetition(
    absent: int, strange: int, twice: int
) -> None:
    assert GOOD_JUDGEMENT.holds
    assert not Judgement(9, 9 - absent, absent, strange, twice, 2).holds


def test_the_data_set_is_what_follows_the_file_meta() -> None:
    for instance in StudyMaker(dt.date(2026, 11, 22)).study(3).instances():
        assert data_set_of(instance.part10()) == instance.data_set()


def test_a_line_cut_by_a_kill_is_left_out() -> None:
    lines = ['{"event": "run.started"}', "warning: x", '{"event": "instance.sto']

    assert answers.run_events(lines) == [{"event": "run.started"}]


def test_the_status_names_only_states_that_somebody_is_in() -> None:
    told = {"sources": {"a": {"transfers": {"moving": 2, "closed": 0}},
                        "b": {"transfers": {"moving": 1}}}}  # fmt: skip

    assert answers.status_words(json.dumps(told, indent=2).splitlines()) == "3 moving"


def test_only_a_folder_of_the_demo_is_wiped(tmp_path: Path) -> None:
    place = Workplace(tmp_path / "demo")
    place.wipe()
    (place.folder / "left over").write_text("x")
    place.wipe()
    assert not (place.folder / "left over").exists()

    foreign = tmp_path / "photos"
    foreign.mkdir()
    (foreign / "holiday.jpg").write_text("x")
    with pytest.raises(ConfigError, match="not made by"):
        Workplace(foreign).wipe()
    assert (foreign / "holiday.jpg").exists()


def test_the_configuration_of_the_demo_is_a_valid_one(tmp_path: Path) -> None:
    place = Workplace(tmp_path)
    place.write_configuration(
        listen_port=40_001, pacs=("127.0.0.1", 40_002, "LEGACYPACS"),
        endpoint="http://127.0.0.1:40003", bucket="archive",
    )  # fmt: skip

    configuration = load(place.config)

    assert configuration.sources["legacy"].aet == "LEGACYPACS"
    assert [rule.keep_on_site for rule in configuration.rules] == [True, False]


def test_without_a_terminal_the_story_is_plain_lines_and_with_json_one_document() -> None:
    plain, data = io.StringIO(), io.StringIO()
    for out, as_json in ((plain, False), (data, True)):
        teller = teller_for(as_json=as_json, out=out)
        teller.step("Title")
        teller.line("A line.", style="red")
        teller.end({"a": 1})

    assert plain.getvalue() == "\n== Title\n   A line.\n"
    assert json.loads(data.getvalue()) == {"a": 1}
