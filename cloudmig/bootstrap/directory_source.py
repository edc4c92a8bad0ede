"""Opens a directory source, or its index alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from cloudmig.config import Configuration, DirectorySettings
from cloudmig.pipeline.parts import Parts
from cloudmig.sources.directory.index import FileIndex, index_lock
from cloudmig.sources.directory.listing import ListingFormat
from cloudmig.sources.directory.reading import HeaderLimits
from cloudmig.sources.directory.source import DirectorySource, DirectorySourceSettings
from cloudmig.sources.directory.survey import SurveyPlan

__all__ = ["directory_source", "index_path", "listing_of", "opened_index"]


def directory_source(name: str, settings: DirectorySettings, parts: Parts) -> DirectorySource:
    """Return the source. Touches no file."""
    return DirectorySource(
        DirectorySourceSettings(
            name=name,
            root=settings.directory,
            index=index_path(parts.config, name),
            lanes=settings.lanes,
            object_bytes_max=parts.config.agent.object_bytes_max,
            plan=SurveyPlan(
                workers=settings.header_workers,
                dicomdir=settings.dicomdir,
                listing=listing_of(settings),
            ),
            limits=HeaderLimits(
                memory_bytes_max=settings.header_memory_bytes_max,
                time_max_s=settings.header_time_max_s,
                header_bytes_max=settings.header_bytes_max,
            ),
        ),
        parts.area,
        patient_key=parts.pseudonyms.of_patient,
    )


def listing_of(settings: DirectorySettings) -> ListingFormat | None:
    """Return how the listing of a directory source is read, where it has one."""
    if settings.listing is None:
        return None
    return ListingFormat(settings.listing, settings.listing_columns, settings.listing_prefix)


@contextlib.contextmanager
def opened_index(config: Configuration, name: str) -> Iterator[FileIndex]:
    """Open the index of a directory source to read it; raises ConfigError where there is none."""
    path = index_path(config, name)
    with index_lock(path, shared=True):
        index = FileIndex(path, reading=True)
        try:
            yield index
        finally:
            index.close()


def index_path(config: Configuration, name: str) -> Path:
    """Return where the index of a directory source lies."""
    return config.agent.state_dir / "index" / f"{name}.db"
