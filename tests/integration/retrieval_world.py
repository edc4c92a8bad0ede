"""A migrated archive in three tiers of one bucket, and a proxy before it that can be slow.

archive = TieredArchive.migrated(tmp_path, endpoint, studies=200)
archive.configure(sla="objective = 0.5")
code, answer = archive.cloudmig("sla", "probe")
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import subprocess
import sys
import uuid
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cloudmig.demo.studies import Study
from tests.contract.faulty_proxy import FaultyProxy
from tests.integration.migration_world import World, a_study
from tests.peers.launch.moto import s3_client

__all__ = ["TIERS", "SlowProxy", "TieredArchive"]

ROOT = Path(__file__).parents[2]
PREFIX = "some/prefix/"
#: Storage class by modality. The last cannot be read without a restore.
TIERS = {"CT": "STANDARD", "MR": "GLACIER_IR", "CR": "DEEP_ARCHIVE"}


@dataclass
class SlowProxy(FaultyProxy):
    """Passes everything on, each request so much later."""

    delay_s: float = 0.0

    async def _forward(self, request_line: str, headers: dict[str, str], body: bytes) -> bytes:
        await asyncio.sleep(self.delay_s)
        return await super()._forward(request_line, headers, body)


def _shaped(number: int, modality: str, images: int, pixels: int) -> Study:
    """Make a study of `images` to three times as many, and one more in a series of its own."""
    made = a_study(
        number, modality=modality, series=(images * (1 + number % 3), 1),
        study_date=f"{2014 + number % 8}0301",
    )  # fmt: skip
    return replace(
        made, series=tuple(replace(each, rows=pixels, columns=pixels) for each in made.series)
    )


@dataclass
class TieredArchive:
    """What `cloudmig run` left: studies, their catalog, and a bucket in moto."""

    world: World
    endpoint: str
    bucket: str
    s3: Any = field(repr=False)

    @classmethod
    def migrated(
        cls, folder: Path, endpoint: str, *, studies: int, images: int = 1, pixels: int = 8
    ) -> TieredArchive:
        """Move studies of three modalities, of eight years, into three classes."""
        s3 = s3_client(endpoint, "testing", "testing")
        # All servers of a process share what moto holds.
        bucket = f"images-{uuid.uuid4().hex[:12]}"
        s3.create_bucket(Bucket=bucket)
        modalities = list(TIERS)
        world = World(
            folder,
            [
                _shaped(number, modalities[number % 3], images, pixels)
                for number in range(1, studies + 1)
            ],
            retrieve="c-get",
            destinations={
                "archive": {
                    "url": f"s3://{bucket}/{PREFIX.strip('/')}", "endpoint": endpoint,
                    "profile": "moto", "access_key_id": "testing", "secret_access_key": "testing",
                }
            },
            rules=[
                {
                    "name": modality, "modalities": [modality], "copy_to": ["archive"],
                    "storage_class": tier,
                }
                for modality, tier in TIERS.items()
            ],
        )  # fmt: skip
        with world.serving():
            summary = asyncio.run(world.migrate())
        assert summary.studies_stored == studies
        return cls(world, endpoint, bucket, s3)

    @property
    def state_dir(self) -> Path:
        return self.world.folder / "state"

    def configure(self, *, endpoint: str | None = None, sla: str = "") -> None:
        """Write the configuration anew: the store behind another address, a section [sla]."""
        assert self.world.destinations is not None
        told = dict(self.world.destinations["archive"]) | {"endpoint": endpoint or self.endpoint}
        self.world.destinations = {"archive": told}
        self.world.write_configuration()
        if sla:
            text = self.world.config.read_text(encoding="utf-8")
            self.world.config.write_text(f"{text}[sla]\n{sla}\n", encoding="utf-8")

    def cloudmig(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """Run a command as a process; return its exit code and its JSON."""
        done = subprocess.run(
            [sys.executable, "-m", "cloudmig", "--config", str(self.world.config), *arguments,
             "--json"],
            capture_output=True, text=True, check=False, timeout=100,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    def raw_samples(self) -> list[list[dict[str, Any]]]:
        """Return the lines of every kept file, the oldest file first, by the test's own eyes."""
        return [
            [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
            for path in sorted(self.state_dir.glob("sla/samples/**/*.jsonl.gz"))
        ]

    def uids(self) -> set[str]:
        """Return every UID of every study there is."""
        found = set()
        for study in self.world.studies:
            found.add(study.study_instance_uid)
            for series in study.series:
                found.add(series.series_instance_uid)
            found |= {each.sop_instance_uid for each in study.instances()}
        return found

    def key_of(self, study_instance_uid: str) -> str:
        """Return the key of one image of a study."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=PREFIX)
        keys = [each["Key"] for page in pages for each in page["Contents"]]
        return next(key for key in keys if f"/{study_instance_uid}/" in key and ".dcm" in key)
