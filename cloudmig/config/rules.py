"""`[[rules]]`: named rules, the first that matches a study decides."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Self

from pydantic import Field, model_validator

from cloudmig.config.settings import Section

__all__ = ["Rule"]

_DAYS = Annotated[int, Field(strict=True, ge=0)]


class Rule(Section):
    """One rule: all its conditions must hold; no condition at all matches every study.

    A study without a usable date meets no condition on date or age.
    """

    name: Annotated[str, Field(min_length=1, max_length=80)]
    age_days_min: _DAYS | None = None  #: At least so old, in whole days.
    age_days_max: _DAYS | None = None  #: At most so old.
    study_date_from: dt.date | None = None  #: Included.
    study_date_to: dt.date | None = None  #: Included.
    modalities: Annotated[tuple[str, ...], Field(min_length=1)] | None = None  #: One of them.
    sources: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    keep_on_site: bool = False
    copy_to: tuple[str, ...] = ()
    storage_class: str | None = None  #: Else the destination's.
    priority: Annotated[int, Field(strict=True, ge=-1_000_000, le=1_000_000)] = 0
    #: Smaller goes first; then newest first.

    @model_validator(mode="after")
    def _one_decision(self) -> Self:
        if self.keep_on_site and self.copy_to:
            raise ValueError("keep_on_site and copy_to exclude each other")
        if not self.keep_on_site and not self.copy_to:
            raise ValueError('says nothing: set copy_to = ["..."] or keep_on_site = true')
        if self.keep_on_site and self.storage_class is not None:
            raise ValueError("storage_class means nothing for what stays on site")
        if len(set(self.copy_to)) != len(self.copy_to):
            raise ValueError("copy_to names a destination twice")
        return self

    @model_validator(mode="after")
    def _possible(self) -> Self:
        first, last = self.study_date_from, self.study_date_to
        if first is not None and last is not None and first > last:
            raise ValueError("study_date_from is after study_date_to: it can never match")
        youngest, oldest = self.age_days_min, self.age_days_max
        if youngest is not None and oldest is not None and youngest > oldest:
            raise ValueError("age_days_min is above age_days_max: it can never match")
        return self

    @property
    def matches_everything(self) -> bool:
        conditions = (
            self.age_days_min, self.age_days_max, self.study_date_from, self.study_date_to,
            self.modalities, self.sources,
        )  # fmt: skip
        return all(condition is None for condition in conditions)
