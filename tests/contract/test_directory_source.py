"""A folder of files keeps the promises of every source."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from cloudmig.demo.studies import Study
from cloudmig.pipeline.parts import Source
from cloudmig.ports import SurveyedSource
from cloudmig.sources.directory.source import DirectorySource, DirectorySourceSettings
from cloudmig.staging import StagingArea
from cloudmig.telemetry import SilentReporter
from tests.contract.source_contract import SourceContract
from tests.integration.folder_world import write_studies


def a_source(area: StagingArea, folder: Path, object_bytes_max: int = 1 << 30) -> DirectorySource:
    settings = DirectorySourceSettings(
        name="main", root=folder / "export", index=folder / "index.db", lanes=3,
        object_bytes_max=object_bytes_max,
    )  # fmt: skip
    return DirectorySource(settings, area, patient_key=lambda patient, issuer: f"k {patient}")


class TestDirectory(SourceContract):
    """Files, as an export leaves them."""

    @asynccontextmanager
    async def opened(
        self,
        studies: Sequence[Study],
        area: StagingArea,
        folder: Path,
        *,
        object_bytes_max: int = 1 << 30,
    ) -> AsyncIterator[Source]:
        write_studies(folder / "export", studies)
        source = a_source(area, folder, object_bytes_max)
        assert isinstance(source, SurveyedSource)
        await source.survey(SilentReporter())
        await source.prepare()
        try:
            yield source
        finally:
            await source.close()

    @asynccontextmanager
    async def absent(self, area: StagingArea, folder: Path) -> AsyncIterator[Source]:
        source = a_source(area, folder)
        try:
            yield source
        finally:
            await source.close()
