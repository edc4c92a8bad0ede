"""Every kind of source keeps the promises of its port."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from cloudmig.demo.pacs import ScriptedPacs
from cloudmig.demo.studies import Study
from cloudmig.dicomweb import DicomWebClient, HttpLimits
from cloudmig.dimse.limits import Limits, Timers
from cloudmig.dimse.server import StorageServer
from cloudmig.pipeline.parts import Source
from cloudmig.sources.dicomweb import WebSource, WebSourceOptions
from cloudmig.sources.dimse import (
    AllowedPeer,
    ArrivalDesk,
    DimseSource,
    DimseSourceSettings,
    StoragePolicy,
)
from cloudmig.staging import StagingArea
from tests.contract.source_contract import SourceContract
from tests.contract.web_archive import ScriptedArchive, WebScript
from tests.integration.migration_world import free_port


def patient_key(patient_id: str, issuer: str) -> str:
    return f"key of {patient_id} {issuer}"


class TestDimseByGet(SourceContract):
    """Objects come on our own association."""

    retrieve = "c-get"

    @asynccontextmanager
    async def opened(
        self,
        studies: Sequence[Study],
        area: StagingArea,
        folder: Path,
        *,
        object_bytes_max: int = 1 << 30,
    ) -> AsyncIterator[Source]:
        desk = ArrivalDesk(area)
        limits = Limits(object_bytes_max=object_bytes_max)
        policy = StoragePolicy(desk, {"CLOUDMIG": [AllowedPeer("127.0.0.1", "PACS")]})
        async with StorageServer(policy, host="127.0.0.1", port=0, limits=limits) as listener:
            ours = {"CLOUDMIG": ("127.0.0.1", listener.port)}
            with ScriptedPacs(studies, destinations=ours, aet="PACS") as pacs:
                source = self._source(pacs.port, desk, limits)
                await source.prepare()
                try:
                    yield source
                finally:
                    await source.close()

    @asynccontextmanager
    async def absent(self, area: StagingArea, folder: Path) -> AsyncIterator[Source]:
        source = self._source(free_port(), ArrivalDesk(area), Limits())
        try:
            yield source
        finally:
            await source.close()

    def _source(self, port: int, desk: ArrivalDesk, limits: Limits) -> DimseSource:
        settings = DimseSourceSettings(
            name="main", host="127.0.0.1", port=port, aet="PACS", ae_titles=("CLOUDMIG",),
            retrieve=self.retrieve, lanes=3, grace_s=2, limits=limits,
            timers=Timers(connect_s=2, answer_s=5, network_s=5, total_s=30),
        )  # fmt: skip
        return DimseSource(settings, desk, patient_key=patient_key)


class TestDimseByMove(TestDimseByGet):
    """Objects come to our storage SCP, each association for itself."""

    retrieve = "c-move"


class TestDicomWeb(SourceContract):
    """Objects come as parts of an answer."""

    script = WebScript()

    @asynccontextmanager
    async def opened(
        self,
        studies: Sequence[Study],
        area: StagingArea,
        folder: Path,
        *,
        object_bytes_max: int = 1 << 30,
    ) -> AsyncIterator[Source]:
        async with ScriptedArchive(studies, self.script).running() as archive:
            source = self._source(archive.url, area, object_bytes_max)
            await source.prepare()
            try:
                yield source
            finally:
                await source.close()

    @asynccontextmanager
    async def absent(self, area: StagingArea, folder: Path) -> AsyncIterator[Source]:
        source = self._source(f"http://127.0.0.1:{free_port()}/dicom-web", area, 1 << 30)
        try:
            yield source
        finally:
            await source.close()

    def _source(self, url: str, area: StagingArea, object_bytes_max: int) -> WebSource:
        client = DicomWebClient(url, limits=HttpLimits(connect_max_s=2, silence_max_s=5))
        options = WebSourceOptions(
            name="web", lanes=3, object_bytes_max=object_bytes_max, page_rows=50
        )
        return WebSource(options, client, area, patient_key=patient_key)


class TestDicomWebOfFewWords(TestDicomWeb):
    """Pages of one row, in XML, no counts, no attribute more than usual, bare instances."""

    names_sop_classes = False
    script = WebScript(
        page_rows_max=1, xml_only=True, takes_included=False, included_counts=False,
        nothing_is_404=True, bare_instances=True, part_pause_s=0.001,
    )  # fmt: skip
