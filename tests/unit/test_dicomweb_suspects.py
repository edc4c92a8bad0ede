"""A bad instance is told from a store in trouble by what the store does with others."""

from __future__ import annotations

from cloudmig.destinations.suspects import Suspects


class Clock:
    at_s = 0.0

    def __call__(self) -> float:
        return self.at_s


def test_an_instance_is_to_blame_when_others_are_taken_between_its_failures() -> None:
    suspects = Suspects(now=Clock(), patience_s=3600)

    assert not suspects.accuse("bad", is_alone=True)
    suspects.acquit("good")
    assert not any(suspects.accuse("bad", is_alone=True) for _ in range(3))

    assert suspects.accuse("bad", is_alone=True)


def test_what_was_taken_before_the_first_failure_alone_proves_nothing() -> None:
    suspects = Suspects(now=Clock(), patience_s=3600)
    suspects.accuse("1.2", is_alone=False)
    suspects.acquit("good")

    assert not any(suspects.accuse("1.2", is_alone=True) for _ in range(100))


def test_a_store_that_takes_nothing_more_blames_nobody() -> None:
    """Others were taken before: that is what a disk does which fills up."""
    suspects = Suspects(now=Clock(), patience_s=3600)
    suspects.acquit("before")

    assert not any(suspects.accuse("1.2", is_alone=True) for _ in range(100))


def test_failures_of_an_outage_are_not_held_against_an_instance_when_it_is_over() -> None:
    """A store that is back takes some and breaks at others, until all of it is up."""
    suspects = Suspects(now=Clock(), patience_s=3600)
    for _ in range(100):
        assert not suspects.accuse("1.2", is_alone=True, broke=True)
    suspects.acquit("another")

    assert not any(suspects.accuse("1.2", is_alone=True, broke=True) for _ in range(4))

    assert suspects.accuse("1.2", is_alone=True, broke=True)


def test_one_that_breaks_the_store_is_to_blame_when_nothing_else_is_left_to_take() -> None:
    suspects = Suspects(now=Clock(), patience_s=3600)
    suspects.accuse("bad", is_alone=True, broke=True)
    suspects.accuse("worse", is_alone=True, broke=True)
    suspects.acquit("good")

    for _ in range(8):
        assert not suspects.accuse("bad", is_alone=True, broke=True)
        assert not suspects.accuse("worse", is_alone=True, broke=True)

    assert suspects.accuse("bad", is_alone=True, broke=True)
    assert suspects.accuse("worse", is_alone=True, broke=True)


def test_failures_in_company_prove_nothing_and_lead_to_going_alone() -> None:
    suspects = Suspects(now=Clock(), patience_s=3600)
    for _ in range(10):
        assert not suspects.accuse("1.2", is_alone=False)
        suspects.acquit("another")

    assert "1.2" in suspects
    assert "another" not in suspects


def test_in_the_end_patience_runs_out() -> None:
    clock = Clock()
    suspects = Suspects(now=clock, patience_s=3600)
    suspects.accuse("1.2", is_alone=True)
    clock.at_s = 3600.0

    assert suspects.accuse("1.2", is_alone=True)


def test_what_was_stored_in_the_end_begins_anew() -> None:
    suspects = Suspects(now=Clock(), patience_s=3600)
    suspects.accuse("1.2", is_alone=True)
    suspects.acquit("1.2")

    assert "1.2" not in suspects
    assert not suspects.accuse("1.2", is_alone=True)


def test_memory_is_bounded() -> None:
    suspects = Suspects(now=Clock(), patience_s=3600)
    for number in range(12_000):
        suspects.accuse(f"1.2.{number}", is_alone=False)

    assert "1.2.0" not in suspects
    assert "1.2.11999" in suspects
