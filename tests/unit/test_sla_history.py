"""What the report makes of samples: moments in time, worst studies, restores; each counted once."""

from __future__ import annotations

import datetime as dt

import pytest

from cloudmig.agent.sla.history import StoreHistory, histories_of
from cloudmig.agent.sla.pictures import (
    budget_strip,
    bytes_words,
    candles,
    restore_strip,
    seconds_words,
)
from cloudmig.cloud.retrieval_samples import RetrievalSample
from cloudmig.model.service_levels import ServiceLevels

BEGIN = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
LEVELS = ServiceLevels()


def at(hours: float) -> str:
    return (BEGIN + dt.timedelta(hours=hours)).isoformat()


def read(hours: float, study: str = "st-1", **told: object) -> RetrievalSample:
    settings: dict[str, object] = {
        "at": at(hours), "probe": at(hours), "how": "bucket", "tier": "STANDARD",
        "outcome": "read", "study": study, "first_byte_s": 0.1, "first_instance_s": 0.2,
        "study_s": 1.0, "size_bytes": 1000, "store": "archive",
    }  # fmt: skip
    return RetrievalSample(**settings | told)  # type: ignore[arg-type]


def restored(hours: float, took_s: float = 3600.0) -> RetrievalSample:
    return RetrievalSample(
        at=at(hours), probe=at(hours), how="restore", tier="GLACIER", outcome="restored",
        store="archive", restore_s=took_s, promised_s=18_000.0,
    )  # fmt: skip


def history(*samples: RetrievalSample) -> StoreHistory:
    [found] = histories_of(LEVELS, samples)
    return found


def test_each_probe_is_a_moment_of_each_tier_it_read() -> None:
    found = history(read(1), read(1, "st-2"), read(2, tier="GLACIER_IR"), read(3))

    assert [each.at.hour for each in found.moments["STANDARD"]] == [1, 3]
    assert [each.standing.samples for each in found.moments["STANDARD"]] == [2, 1]
    assert [each.at.hour for each in found.moments["GLACIER_IR"]] == [2]


def test_many_probes_are_put_together_and_none_is_lost() -> None:
    found = history(*(read(hour, f"st-{hour}") for hour in range(500)))

    moments = found.moments["STANDARD"]
    assert len(moments) <= 40
    assert sum(each.standing.samples for each in moments) == 500
    assert sorted(each.at for each in moments) == [each.at for each in moments]


def test_a_sample_in_two_folders_counts_once() -> None:
    assert history(read(1), read(1)).tiers["STANDARD"].samples == 1


def test_stores_are_told_apart() -> None:
    found = histories_of(LEVELS, [read(1), read(1, store="second"), read(2, store="")])

    assert [each.store for each in found] == ["", "archive", "second"]


def test_a_restore_counts_with_the_probe_before_it() -> None:
    found = history(restored(0.5), read(1), read(3), restored(1.5), restored(2.9), restored(99))

    moments = found.moments["GLACIER"]
    assert [(each.at.hour, each.standing.samples) for each in moments] == [(1, 3), (3, 1)]
    assert len(found.restores) == 4


def test_restores_alone_have_moments_of_their_own() -> None:
    assert len(history(restored(1), restored(2)).moments["GLACIER"]) == 2


def test_the_worst_are_those_without_an_answer_then_those_that_took_longest() -> None:
    found = history(
        read(1, "st-good"), read(1, "st-slow", first_byte_s=1.0),
        read(1, "st-slower", study_s=99.0),
        read(2, "st-slow", first_byte_s=0.6), read(1, "st-gone", outcome="failed", cause="HTTP503"),
        restored(1, took_s=99_999.0),
    )  # fmt: skip

    assert [(each.study, each.missed) for each in found.worst] == [
        ("st-gone", ("failed",)), ("st-slower", ("study_s",)), ("st-slow", ("first_byte_s",)),
    ]  # fmt: skip
    assert found.worst[2].worst == pytest.approx(2.0), "by its worst read"
    assert found.worst[0].worst is None


@pytest.mark.parametrize(
    ("duration_s", "words"),
    [
        (0.0004, "0.4 ms"), (0.0123, "12.3 ms"), (0.9994, "999 ms"), (1, "1 s"), (61.5, "61.5 s"),
        (300, "5 min"), (7200, "2 h"), (43200, "12 h"), (100_000, "27.8 h"),
    ],
)  # fmt: skip
def test_a_time_is_said_in_its_unit(duration_s: float, words: str) -> None:
    assert seconds_words(duration_s) == words


@pytest.mark.parametrize(
    ("size_bytes", "words"),
    [(0, "0 kB"), (12_345, "12.3 kB"), (1_200_000, "1.2 MB"), (2**31, "2.15 GB")],
)  # fmt: skip
def test_a_size_is_said_in_its_unit(size_bytes: int, words: str) -> None:
    assert bytes_words(size_bytes) == words


def test_where_there_is_nothing_to_draw_nothing_is_drawn() -> None:
    assert candles("x", [], 1.0) == budget_strip([]) == restore_strip([]) == ""
