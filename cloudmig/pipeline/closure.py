"""Close a wave: both equations, the open items by name, and a statement that stays."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from cloudmig.catalog import Catalog
from cloudmig.catalog.records import Coverage, TransferRow
from cloudmig.errors import SourceError
from cloudmig.model.files import FileEquation, file_equations
from cloudmig.model.states import TransferState
from cloudmig.pipeline.parts import Parts
from cloudmig.pipeline.report import ClosingStatement, write_report

__all__ = ["close", "count_excluded"]

_COUNTED_MORE = (
    "studies of which the inventory counts more instances than were listed when they were moved:"
    " {:,}; they have grown since (`cloudmig plan` has them moved again), or the counts are wrong"
)
_NAMED_MAX = 100
_PAGE = 500
#: Excluded studies that one run asks the source about: an hour or so of a slow PACS.
_COUNTED_MAX = 10_000


async def close(parts: Parts) -> ClosingStatement:
    """Sign off every verified study, or say what is in the way."""
    # What the cloud said while a study was being written must not be overlooked.
    await parts.catalog.call(Catalog.hear_waiting, parts.now())
    coverages = [await parts.catalog.call(Catalog.coverage, each) for each in parts.config.sources]
    obstacles = _obstacles(coverages)
    disagreements = _disagreements(
        coverages,
        await parts.catalog.call(Catalog.listing_notes),
        await parts.catalog.call(Catalog.counted_more),
    )
    statement = await parts.catalog.call(Catalog.statement)
    if not statement.holds:
        obstacles.append("the closing equation does not hold: something is unexplained")
    files = await _files(parts)
    obstacles += [
        f"the {each.account.value} of source {name} do not add up: `cloudmig inventory`"
        for name, equations in files.items()
        for each in equations
        if not each.holds
    ]
    unexplained = await parts.catalog.call(Catalog.unexplained, _NAMED_MAX)
    quarantine = await parts.catalog.call(Catalog.quarantine_items)
    closed = 0
    if not obstacles:
        closed = await parts.catalog.call(Catalog.close_wave, parts.now(), statement)
    now = parts.now()
    closing = ClosingStatement(
        statement,
        closed,
        tuple(obstacles),
        tuple(unexplained),
        tuple(quarantine),
        parts.config.agent.report_dir / f"closing-{now:%Y%m%dT%H%M%S}.html",
        files,
        disagreements,
        await parts.catalog.call(Catalog.copies_given_up),
    )
    await write_report(parts.pseudonyms, closing, now)
    return closing


async def _files(parts: Parts) -> dict[str, list[FileEquation]]:
    """Return the third equation of every source that is a folder of files."""
    tallies = defaultdict(list)
    for row in await parts.catalog.call(Catalog.file_tallies):
        tallies[row.source].append(row.tally)
    return {name: file_equations(each) for name, each in tallies.items()}


def _obstacles(coverages: Sequence[Coverage]) -> list[str]:
    """Say which sources were never, or never wholly, asked."""
    found = []
    for coverage in coverages:
        name = coverage.source
        if coverage.last_finished_at is None:
            found.append(f"source {name} has no finished inventory: run `cloudmig inventory`")
        elif coverage.sweep is not None and coverage.sweep.finished_at is None:
            found.append(f"an inventory of source {name} is unfinished: `cloudmig inventory`")
    return found


def _disagreements(
    coverages: Sequence[Coverage],
    listing_notes: Mapping[str, Mapping[str, int]],
    counted_more: Mapping[str, int],
) -> dict[str, list[str]]:
    """Return what was odd about a source's lists of studies, and of their instances."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for coverage in coverages:
        said = coverage.sweep.notes.get("disagreements") if coverage.sweep else None
        if isinstance(said, list) and said:
            found[coverage.source] += [str(each) for each in said]
    for source, notes in listing_notes.items():
        found[source] += [
            f"listing instances: {note} (studies: {studies:,})"
            for note, studies in sorted(notes.items())
        ]
    for source, studies in counted_more.items():
        found[source].append(_COUNTED_MORE.format(studies))
    return dict(found)


async def count_excluded(parts: Parts, is_stopped: Callable[[], bool] = lambda: False) -> int:
    """Count the instances of studies that stay on site, where the source did not say.

    Without these the instance equation could not be written. Returns how many studies were
    counted; those beyond the bound are left for the next run, and the statement says how many.
    """
    counted = 0
    after: int | None = None
    while page := await parts.catalog.call(
        Catalog.transfers, TransferState.EXCLUDED, after=after, limit=_PAGE
    ):
        for row in page:
            if is_stopped() or counted >= _COUNTED_MAX:
                return counted
            try:
                counted += await _count(parts, row)
            except SourceError:
                return counted
        after = page[-1].transfer_id
    return counted


async def _count(parts: Parts, row: TransferRow) -> bool:
    """Ask the source for the instances of one study, unless they are known."""
    source = parts.sources.get(row.source)
    if source is None or row.instances_inventory is not None:
        return False
    study = await parts.catalog.call(Catalog.study, row.source, row.study)
    if study is None or study.instances_claimed:  # 0 is what some tell of every study.
        return False
    listing = await source.list_instances(row.study)
    if not listing.complete:  # Unknown is no number: what is listed may be none of many.
        return False
    await parts.catalog.call(
        Catalog.set_instances_counted, row.source, row.study, len(listing.instances)
    )
    return True
