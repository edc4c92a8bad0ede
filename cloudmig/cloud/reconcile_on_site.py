"""Runs a reconciliation's units in worker processes on one machine: the same code, no functions.

Every worker opens its own shelves: clients do not cross processes.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import shutil
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from botocore import exceptions as theirs

from cloudmig.cloud.reconcile_inventory import (
    ask_again,
    plan,
    reconcile_unit,
    split_unit,
    summarise,
)
from cloudmig.cloud.reconcile_partition import PartitionResult
from cloudmig.cloud.reconcile_plan import ReconcilePlan, Settings
from cloudmig.cloud.reconcile_shelf import Address, FolderShelf, Shelf, Shelves
from cloudmig.cloud.reconcile_spill import SplitCounts

__all__ = ["OpenShelves", "Progress", "reconcile_on_site"]

T = TypeVar("T")

#: Opens the shelves of the image bucket and of the inventory's, in whichever process it is called.
OpenShelves = Callable[[], dict[str, Shelf]]

#: No bucket has a name with a space in it, so this one is never taken.
_RESULTS = Address("on site", "")
_SPLIT_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is."""

    step: str  #: split | reconcile
    units: int
    units_done: int
    rows: int  #: Sorted so far, or compared so far.


def reconcile_on_site(
    inventory: Address,
    settings: Settings,
    open_shelves: OpenShelves,
    *,
    folder: Path,
    workers: int = 2,
    fetches: int = 8,
    on_progress: Callable[[Progress], None] = lambda _: None,
    sqs: Any = None,  # noqa: ANN401 - boto3's client
) -> dict[str, Any]:
    """Run all steps, keep results in `folder`, return the summary. Raises `InventoryRefused`.

    Each worker asks for so many manifests at once as `fetches` says; 0 where a folder holds them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shelf = _shelves(open_shelves, folder)
    made = plan(inventory, shelf, dataclasses.replace(settings, results=_RESULTS))
    try:
        with _pool(workers, open_shelves, folder) as pool:
            splits = [pool.submit(_split, made, unit) for unit in range(len(made.files))]
            rows = 0
            for done, counts in enumerate(_ended(splits), 1):
                rows += counts.rows
                on_progress(Progress("split", len(splits), done, rows))
            joins = [
                pool.submit(_reconcile, made, unit, fetches) for unit in range(made.partitions)
            ]
            rows = 0
            for done, result in enumerate(_ended(joins), 1):
                rows += result.objects
                on_progress(Progress("reconcile", len(joins), done, rows))
                if sqs is not None and settings.study_queue_url:
                    ask_again(made, result, sqs, settings.study_queue_url)
        return summarise(made, shelf)
    finally:
        shutil.rmtree(folder / made.run / "split", ignore_errors=True)


@contextmanager
def _pool(workers: int, open_shelves: OpenShelves, folder: Path) -> Iterator[ProcessPoolExecutor]:
    # Not forked: the caller may have threads and open connections.
    pool = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_open,
        initargs=(open_shelves, folder),
    )
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _ended(units: Iterable[Future[T]]) -> Iterator[T]:
    for unit in as_completed(units):
        yield unit.result()


def _shelves(open_shelves: OpenShelves, folder: Path) -> Shelf:
    return Shelves({**open_shelves(), _RESULTS.bucket: FolderShelf(folder)})


#: Of this worker process.
_shelf: Shelf | None = None


def _open(open_shelves: OpenShelves, folder: Path) -> None:
    global _shelf  # noqa: PLW0603 - what a worker process has once
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # A person stops us: no traceback per worker.
    _shelf = _shelves(open_shelves, folder)


def _split(made: ReconcilePlan, unit: int) -> SplitCounts:
    assert _shelf is not None, "the initializer ran"
    for _ in range(_SPLIT_ATTEMPTS - 1):
        try:
            return split_unit(made, unit, _shelf)
        except (theirs.HTTPClientError, OSError):
            continue  # A long answer broke off: no client repeats that by itself.
    return split_unit(made, unit, _shelf)


def _reconcile(made: ReconcilePlan, unit: int, fetches: int) -> PartitionResult:
    assert _shelf is not None, "the initializer ran"
    return reconcile_unit(made, unit, _shelf, fetches=fetches)
