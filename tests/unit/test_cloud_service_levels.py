"""Service levels: what is written is read, every mistake is named, contradictions, too."""

from __future__ import annotations

import pytest

from cloudmig.cloud.service_levels import (
    ServiceLevels,
    ServiceLevelsWrong,
    TierLevel,
    from_json,
    to_json,
)
from cloudmig.config import SlaSettings, SlaTierSettings


@pytest.mark.parametrize(
    "levels",
    [
        ServiceLevels(),
        ServiceLevels(
            objective=0.99, samples=200, reads_at_once=2,
            tiers={
                "STANDARD": TierLevel(first_byte_s=0.1),
                "DEEP_ARCHIVE": TierLevel(restore_s=48 * 3600),
            },
        ),
    ],
)  # fmt: skip
def test_what_is_written_is_read(levels: ServiceLevels) -> None:
    assert from_json(to_json(levels)) == levels


@pytest.mark.parametrize("text", ["", "  ", "{}", '{"objective": null, "tiers": null}'])
def test_nothing_means_the_defaults(text: str) -> None:
    assert from_json(text) == ServiceLevels()


def test_every_mistake_is_named_at_once() -> None:
    text = (
        '{"objectiv": 1, "objective": 1.0, "samples": true, "reads_at_once": 0,'
        ' "tiers": {"STANDARD": {"first_byte": 1, "study_s": -1}, "GLACIER": 3}}'
    )

    with pytest.raises(ServiceLevelsWrong) as caught:
        from_json(text)

    for said in (
        "unknown setting objectiv ", "objective must be", "samples must be",
        "reads_at_once must be", "unknown setting tiers.STANDARD.first_byte ",
        "tiers.STANDARD.study_s must be", "tiers.GLACIER must be an object",
    ):  # fmt: skip
        assert said in str(caught.value)


@pytest.mark.parametrize("text", ["[", "[]", "3", '{"tiers": []}', '{"objective": NaN}'])
def test_what_is_no_levels_is_refused(text: str) -> None:
    with pytest.raises(ServiceLevelsWrong):
        from_json(text)


@pytest.mark.parametrize(
    ("levels", "said"),
    [
        (ServiceLevels(samples=19), "read at least 20"),
        (ServiceLevels(objective=0.99, samples=99), "read at least 100"),
        (ServiceLevels(tiers={"STANDARD": TierLevel(first_byte_s=2)}), "before it begins"),
        (ServiceLevels(tiers={"STANDARD": TierLevel(first_instance_s=20)}), "its first image"),
        (ServiceLevels(tiers={"STANDARD_IA": TierLevel(restore_s=9)}), "without a restore"),
    ],
)
def test_a_contradiction_is_named(levels: ServiceLevels, said: str) -> None:
    [found] = levels.contradictions()

    assert said in found
    with pytest.raises(ServiceLevelsWrong, match=said):
        from_json(to_json(levels))


def test_one_slow_study_of_just_enough_burns_no_more_than_the_budget() -> None:
    assert not list(ServiceLevels(samples=20).contradictions())
    assert not list(ServiceLevels(objective=0.99, samples=100).contradictions())


def test_an_archive_tier_has_the_promise_of_its_class_unless_told_otherwise() -> None:
    levels = ServiceLevels(
        tiers={"GLACIER": TierLevel(study_s=99), "DEEP_ARCHIVE": TierLevel(restore_s=7200)}
    )

    assert levels.level_of("GLACIER").restore_s == 5 * 3600
    assert levels.level_of("GLACIER").study_s == 99
    assert levels.level_of("DEEP_ARCHIVE").restore_s == 7200
    assert levels.level_of("STANDARD").restore_s is None


def test_the_configuration_without_a_section_is_the_defaults() -> None:
    assert SlaSettings().levels() == ServiceLevels()
    assert SlaTierSettings().level() == TierLevel()
