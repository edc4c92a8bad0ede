"""The archive of the demo: which studies, and what is wrong with which."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from cloudmig.demo.oddities import conflicting
from cloudmig.demo.pacs.script import Script
from cloudmig.demo.studies import Study, StudyMaker

__all__ = ["DemoArchive", "demo_archive"]

#: The PACS stops here without a word: a third of the archive is invisible to a plain query.
_SILENT_LIMIT = 20


@dataclass(frozen=True, slots=True)
class DemoArchive:
    """Studies, and the habits of the PACS that holds them."""

    studies: tuple[Study, ...]
    script: Script


def demo_archive(
    count: int, *, today: dt.date, seed: int = 1, well_behaved: bool = False
) -> DemoArchive:
    """Make the archive; unless well-behaved with one conflict, one lost image and the limit."""
    studies = list(StudyMaker(today, seed).archive(count))
    old = [
        number
        for number, study in enumerate(studies)
        if len(study.instances()) > 3 and study.study_date.isdigit() and number % 15 != 7
    ]
    if well_behaved or len(old) < 2:
        return DemoArchive(tuple(studies), Script())
    studies[old[0]] = conflicting(studies[old[0]], 1)
    lost = studies[old[1]].instances()[2].sop_instance_uid
    script = Script(study_limit=_SILENT_LIMIT, missing=frozenset({lost}))
    return DemoArchive(tuple(studies), script)
