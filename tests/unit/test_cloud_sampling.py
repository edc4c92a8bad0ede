"""The draw: as many of each tier, every stratum in turn, the same again under the same seed."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from cloudmig.agent.sla.catalog_sampler import CatalogSampler
from cloudmig.catalog.sampling import StoredCopy
from cloudmig.cloud.sampling import (
    SampledStudy,
    choose,
    place_of,
    size_band,
    start_of,
    stratum_of,
    tier_of_stratum,
)
from cloudmig.model.references import StudyRef


class ListSampler:
    """Studies by stratum, in a list."""

    def __init__(self, studies: Mapping[str, int], seed: str = "a") -> None:
        self.seed = seed
        self.held = {
            stratum: [f"1.2.{place}.{number}" for number in range(1, count + 1)]
            for place, (stratum, count) in enumerate(studies.items(), 1)
        }

    def strata(self) -> Sequence[str]:
        return list(self.held)

    def pick(self, stratum: str, count: int) -> Sequence[SampledStudy]:
        start = start_of(self.seed, stratum)
        around = sorted(self.held[stratum], key=lambda uid: (place_of(uid) < start, place_of(uid)))
        return [SampledStudy(uid, stratum, f"{uid}/1", "") for uid in around[:count]]


def tiers_of(drawn: Sequence[SampledStudy]) -> dict[str, int]:
    return dict(Counter(tier_of_stratum(each.stratum) for each in drawn))


@pytest.mark.parametrize(
    ("size_bytes", "band"),
    [(0, "S"), (9_999_999, "S"), (10_000_000, "M"), (999_999_999, "L"), (1_000_000_000, "XL")],
)
def test_a_study_has_a_size_band(size_bytes: int, band: str) -> None:
    assert size_band(size_bytes) == band
    assert stratum_of("STANDARD", "2020", "CT", size_bytes) == f"STANDARD|2020|CT|{band}"


def test_every_tier_gives_as_many_however_many_studies_it_has() -> None:
    sampler = ListSampler({"A|2020|CT|M": 1000, "B|2020|CT|M": 10, "B|2021|CT|M": 10})

    assert tiers_of(choose(sampler, 10)) == {"A": 10, "B": 10}


def test_a_tier_that_holds_fewer_gives_all_it_has() -> None:
    sampler = ListSampler({"A|2020|CT|M": 1000, "B|2020|CT|M": 2, "C|2020|CT|M": 100})

    assert tiers_of(choose(sampler, 30)) == {"A": 30, "B": 2, "C": 30}


def test_a_rare_stratum_is_drawn_as_often_as_a_common_one() -> None:
    sampler = ListSampler({"A|2020|CT|M": 1000, "A|2020|MG|L": 5, "A|1999|XA|XL": 1})

    drawn = Counter(each.stratum for each in choose(sampler, 12))

    assert drawn == {"A|2020|CT|M": 6, "A|2020|MG|L": 5, "A|1999|XA|XL": 1}


def test_no_study_is_drawn_twice_and_none_that_is_not_there() -> None:
    sampler = ListSampler({"A|2020|CT|M": 7, "B|2020|CT|M": 3})

    drawn = choose(sampler, 50)

    assert len({each.study_instance_uid for each in drawn}) == len(drawn) == 10
    assert choose(ListSampler({}), 50) == []
    assert choose(ListSampler({"A|2020|CT|M": 0}), 50) == []


def test_the_same_seed_draws_the_same_studies_and_another_draws_others() -> None:
    held = {"A|2020|CT|M": 500, "B|2020|CT|M": 500}

    first = choose(ListSampler(held, "one"), 20)

    assert first == choose(ListSampler(held, "one"), 20)
    assert set(first) != set(choose(ListSampler(held, "two"), 20))


def a_copy(number: int) -> StoredCopy:
    return StoredCopy(
        copy_id=number,
        study=StudyRef(f"1.2.840.{number}"),
        study_date=dt.date(2000 + number % 3, 1, 1) if number % 10 else None,
        modalities=(("CT",), ("MR", "SR"), ())[number % 3],
        storage_class=("STANDARD", "GLACIER_IR")[number % 2],
        size_bytes=number * 1_000_000,
        manifest_key=f"v1/main/00/1.2.840.{number}/manifest/1.json.gz",
        manifest_sha256="0" * 64,
    )


def test_the_catalog_is_drawn_from_as_the_table_would_be() -> None:
    """What it keeps while it sees all copies go by is what an index would have given."""
    copies = [a_copy(number) for number in range(1, 400)]
    sampler = CatalogSampler("seed", keep=25, storage_class="STANDARD")
    for begin in range(0, len(copies), 50):
        sampler.see(copies[begin : begin + 50])
    by_stratum: dict[str, list[str]] = {}
    for copy in copies:
        year = str(copy.study_date.year) if copy.study_date else "unknown"
        modality = copy.modalities[0] if copy.modalities else "unknown"
        stratum = stratum_of(copy.storage_class, year, modality, copy.size_bytes)
        by_stratum.setdefault(stratum, []).append(copy.study.study_instance_uid)

    assert set(sampler.strata()) == set(by_stratum)
    for stratum, uids in by_stratum.items():
        start = start_of("seed", stratum)
        around = sorted(uids, key=lambda uid: (place_of(uid) < start, place_of(uid)))
        assert [each.study_instance_uid for each in sampler.pick(stratum, 25)] == around[:25]
        assert sampler.pick(stratum, 2) == sampler.pick(stratum, 25)[:2]


def test_a_copy_whose_rule_named_no_class_is_of_the_destinations() -> None:
    sampler = CatalogSampler("seed", keep=25, storage_class="STANDARD_IA")
    sampler.see([replace(a_copy(1), storage_class="")])

    [stratum] = sampler.strata()
    assert tier_of_stratum(stratum) == "STANDARD_IA"
