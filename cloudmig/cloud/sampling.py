"""Drawing the studies that a probe reads: stratified by tier, age, modality and size.

Every tier gives as many, and in a tier every stratum its equal part: a rare kind of study is read
as often as a common one, so that it cannot hide behind it. Which studies of a stratum are read, the
seed decides: from a point on the circle of the studies' digests, in their order.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from cloudmig.objects import LAYOUT

__all__ = [
    "SampledStudy", "Sampler", "TableSampler", "choose", "place_of", "size_band", "start_of",
    "stratum_of", "tier_of_stratum",
]  # fmt: skip

#: Upper ends of the size bands in bytes: a radiograph, an MR, a CT, and what takes a minute.
_BANDS = ((10_000_000, "S"), (100_000_000, "M"), (1_000_000_000, "L"))

_DIGITS = 16


def size_band(size_bytes: int) -> str:
    """Return `S` below 10 MB, `M` below 100 MB, `L` below 1 GB, else `XL`."""
    return next((band for end, band in _BANDS if size_bytes < end), "XL")


def stratum_of(storage_class: str, study_year: str, modality: str, size_bytes: int) -> str:
    """Return the stratum of a study: `<class>|<year>|<modality>|<size band>`."""
    return f"{storage_class}|{study_year}|{modality}|{size_band(size_bytes)}"


def tier_of_stratum(stratum: str) -> str:
    """Return the storage class in a stratum."""
    return stratum.partition("|")[0]


def place_of(study_instance_uid: str) -> str:
    """Return where a study lies on the circle: 16 hex digits of its UID's SHA-256."""
    return hashlib.sha256(study_instance_uid.encode("ascii")).hexdigest()[:_DIGITS]


def start_of(seed: str, stratum: str) -> str:
    """Return the point of the circle from which a stratum is drawn under a seed."""
    return hashlib.sha256(f"{seed}\x1f{stratum}".encode()).hexdigest()[:_DIGITS]


@dataclass(frozen=True, slots=True)
class SampledStudy:
    """A study that was drawn. Keys are relative to the prefix."""

    study_instance_uid: str
    stratum: str
    manifest_key: str
    manifest_sha256: str


class Sampler(Protocol):
    """What knows the stored studies of one place, by stratum."""

    @property
    def seed(self) -> str:
        """What makes the draw reproducible."""
        ...

    def strata(self) -> Sequence[str]:
        """Return every stratum that may hold a study, each once."""
        ...

    def pick(self, stratum: str, count: int) -> Sequence[SampledStudy]:
        """Return the first `count` studies from the seed's point on, around the circle.

        - Fewer only where the stratum holds fewer.
        - The first n of a larger count are those of n.
        """
        ...


def choose(sampler: Sampler, samples: int) -> list[SampledStudy]:
    """Draw `samples` studies of each tier, fewer where a tier holds fewer."""
    dice = random.Random(sampler.seed)  # noqa: S311 - a draw, no secret
    tiers: dict[str, list[Callable[[int], Sequence[SampledStudy]]]] = {}
    strata = sorted(sampler.strata())
    dice.shuffle(strata)
    for stratum in strata:
        tiers.setdefault(tier_of_stratum(stratum), []).append(partial(sampler.pick, stratum))
    drawn = [study for _, givers in sorted(tiers.items()) for study in _spread(givers, samples)]
    # Of all tiers in turn: a probe that runs out of time has read of each.
    dice.shuffle(drawn)
    return drawn


def _spread(
    givers: Sequence[Callable[[int], Sequence[SampledStudy]]], count: int
) -> list[SampledStudy]:
    """Ask each giver for an equal part; what some do not have, the others give."""
    given: list[Sequence[SampledStudy]] = [()] * len(givers)
    able = list(range(len(givers)))
    while able and (missing := count - sum(map(len, given))) > 0:
        share, more = divmod(missing, len(able))
        for position, place in enumerate(list(able)):
            wanted = len(given[place]) + share + (position < more)
            if wanted == len(given[place]):
                break  # One each is more than there is to give.
            given[place] = givers[place](wanted)
            if len(given[place]) < wanted:
                able.remove(place)
    return [study for studies in given for study in studies]


class TableSampler:
    """Draws from the table that `verify_study` keeps: its index `by_stratum`."""

    def __init__(
        self,
        dynamodb: Any,  # noqa: ANN401 - a boto3 client, which functions pass in
        table_name: str,
        *,
        bucket: str,
        prefix: str,
        seed: str,
    ) -> None:
        self._dynamodb = dynamodb
        self._table_name = table_name
        self._place = f"{bucket}/{prefix}{LAYOUT}/"
        self._seed = seed

    @property
    def seed(self) -> str:
        """What makes the draw reproducible."""
        return self._seed

    def strata(self) -> Sequence[str]:
        """Return the register of strata."""
        items = self._query("pk = :key", {":key": "strata"}, count=None)
        return [item["sk"]["S"] for item in items]

    def pick(self, stratum: str, count: int) -> Sequence[SampledStudy]:
        """Ask the index from the seed's point to the end, then from its beginning."""
        start = start_of(self._seed, stratum)
        found: list[SampledStudy] = []
        for side in (">=", "<"):
            items = self._query(
                f"stratum = :stratum AND #sample {side} :start",
                {":stratum": stratum, ":start": start},
                count=count - len(found),
                IndexName="by_stratum",
                ExpressionAttributeNames={"#sample": "sample"},
            )
            found += (_study(item) for item in items)
            if len(found) >= count:
                break
        return found

    def _query(
        self,
        condition: str,
        values: dict[str, str],
        *,
        count: int | None,
        **arguments: Any,  # noqa: ANN401 - of boto3
    ) -> list[dict[str, Any]]:
        """Return `count` items of this bucket, or all: a page may be full of another's."""
        found: list[dict[str, Any]] = []
        if count is not None:
            arguments["Limit"] = max(count, 1)
        while True:
            answer = self._dynamodb.query(
                TableName=self._table_name,
                KeyConditionExpression=condition,
                ExpressionAttributeValues={name: {"S": value} for name, value in values.items()},
                **arguments,
            )
            found += (
                item
                for item in answer["Items"]
                if count is None or item["pk"]["S"].startswith(self._place)
            )
            last = answer.get("LastEvaluatedKey")
            if last is None or (count is not None and len(found) >= count):
                return found if count is None else found[:count]
            arguments["ExclusiveStartKey"] = last


def _study(item: dict[str, Any]) -> SampledStudy:
    return SampledStudy(
        study_instance_uid=item["pk"]["S"].rstrip("/").rpartition("/")[2],
        stratum=item["stratum"]["S"],
        manifest_key=item["manifest_key"]["S"],
        manifest_sha256=item["manifest_sha256"]["S"],
    )
