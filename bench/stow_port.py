"""The contenders `port` and `port-staged`: cloudmig's destination, without a source or a catalog.

Files are read and both digests computed in threads, as staging does it, and stored through the
port as the pipeline does it. With --staged all are read before the clock starts. Prints the seconds
and the CPU seconds from there on.

Usage: stow_port.py [--staged] URL STUDY_FOLDER ...
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import uvloop

from cloudmig.destinations.dicomweb_opening import WebSettings, open_dicomweb
from cloudmig.dicom.header import read_identity
from cloudmig.dicom.part10 import read_prefix
from cloudmig.model.instance import StagedInstance
from cloudmig.model.outcome import Stored
from cloudmig.model.references import InstanceRef
from cloudmig.ports import Destination
from cloudmig.staging import MemoryBudget

MEMORY_BYTES_MAX = 256 << 20  # the default of a configuration
STUDIES_AT_ONCE, READERS = 8, 2
IN_FLIGHT = 256


@dataclass(slots=True)
class Image:
    """A file that is to be stored."""

    path: Path
    size_bytes: int
    staged: StagedInstance | None = None


class Sender:
    """Stores what a reader returns; memory is counted as the agent counts it."""

    def __init__(self, destination: Destination) -> None:
        self._destination = destination
        self._memory = MemoryBudget(MEMORY_BYTES_MAX)
        self._readers = ThreadPoolExecutor(READERS)
        self._in_flight = asyncio.Semaphore(IN_FLIGHT)
        self._studies = asyncio.Semaphore(STUDIES_AT_ONCE)

    async def study(self, study: Sequence[Image]) -> None:
        """Store a whole study."""
        async with self._studies, asyncio.TaskGroup() as group:
            for image in study:
                await self._in_flight.acquire()
                group.create_task(self._image(image))

    async def _image(self, image: Image) -> None:
        assert await self._memory.take(image.size_bytes, wait_max_s=60)
        try:
            staged = image.staged
            if staged is None:
                loop = asyncio.get_running_loop()
                staged = await loop.run_in_executor(self._readers, read, image)
            outcome = await self._destination.store(staged)
            assert isinstance(outcome, Stored), outcome
        finally:
            self._memory.give(image.size_bytes)
            self._in_flight.release()


def read(image: Image) -> StagedInstance:
    """Return a file as the staging area gives it to a destination: whole, with both digests."""
    body = bytearray(image.size_bytes)
    with image.path.open("rb", buffering=0) as file:
        assert file.readinto(body) == image.size_bytes
    offset, transfer_syntax_uid = read_prefix(body)
    with memoryview(body)[offset:] as data_set:
        said = read_identity(data_set, transfer_syntax_uid)
        dataset_sha256 = hashlib.sha256(data_set).hexdigest()
    return StagedInstance(
        InstanceRef(said.study_instance_uid, said.series_instance_uid, said.sop_instance_uid),
        said.sop_class_uid,
        transfer_syntax_uid,
        image.size_bytes,
        hashlib.sha256(body).hexdigest(),
        dataset_sha256,
        body=body,
    )


async def store(url: str, studies: Sequence[Sequence[Image]]) -> None:
    """Store all studies."""
    web = open_dicomweb("web", WebSettings(url=url, profile="orthanc"), archive="main")
    sender = Sender(web)
    await asyncio.gather(*map(sender.study, studies))
    await web.close()


def main() -> None:
    """Store every folder named on the command line."""
    *flags, url = [each for each in sys.argv[1:] if not Path(each).is_dir()]
    studies = [
        [Image(path, path.stat().st_size) for path in sorted(Path(folder).glob("*.dcm"))]
        for folder in sys.argv[len(flags) + 2 :]
    ]
    if flags:
        for image in (image for study in studies for image in study):
            image.staged = read(image)
    started, cpu = time.perf_counter(), time.process_time()
    uvloop.run(store(url, studies))
    print(time.perf_counter() - started, time.process_time() - cpu)


if __name__ == "__main__":
    main()
