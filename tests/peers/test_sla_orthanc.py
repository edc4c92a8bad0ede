"""Studies read through a real DICOMweb endpoint: Orthanc's, before a bucket in moto."""

from __future__ import annotations

import asyncio
import urllib.request
from pathlib import Path

from cloudmig.agent.sla.probing import StoreProbe, probe_stores
from cloudmig.bootstrap import open_catalog_only
from cloudmig.config import load
from cloudmig.model.service_levels import DICOMWEB
from tests.contract.moto_bucket import moto_endpoint
from tests.integration.retrieval_world import TieredArchive
from tests.peers.launch.orthanc import Orthanc


def fill(orthanc: Orthanc, archive: TieredArchive) -> None:
    """Give Orthanc every image that the bucket lets be read."""
    for each in archive.s3.list_objects_v2(Bucket=archive.bucket)["Contents"]:
        if each["Key"].endswith(".dcm") and each["StorageClass"] != "DEEP_ARCHIVE":
            body = archive.s3.get_object(Bucket=archive.bucket, Key=each["Key"])["Body"].read()
            url = f"http://127.0.0.1:{orthanc.http_port}/instances"
            with urllib.request.urlopen(url, data=body, timeout=30) as answer:
                assert answer.status == 200


async def probed(archive: TieredArchive) -> StoreProbe:
    async with open_catalog_only(load(archive.world.config)) as parts:
        [found] = await probe_stores(parts, samples=4)
        return found


def test_an_endpoint_is_timed_beside_its_bucket_and_asked_by_qido(tmp_path: Path) -> None:
    with moto_endpoint() as endpoint, Orthanc() as orthanc:
        archive = TieredArchive.migrated(tmp_path, endpoint, studies=12)
        fill(orthanc, archive)
        url = f"http://127.0.0.1:{orthanc.http_port}/dicom-web"
        archive.configure(sla=f'dicomweb = "{url}"\nobjective = 0.6')

        result = asyncio.run(probed(archive)).result

    ours = [each for each in result.samples if each.tier == DICOMWEB]
    assert [(each.outcome, each.cause) for each in ours] == [("read", "")] * 8
    assert all(each.query_s and each.first_byte_s and each.study_s for each in ours)
    assert {"p50", "p95", "p99"} <= set(dir(result.tiers[DICOMWEB].percentiles["query_s"]))
    assert result.tiers["DEEP_ARCHIVE"].cold == 4


def test_an_endpoint_that_lost_its_studies_is_found_out(tmp_path: Path) -> None:
    with moto_endpoint() as endpoint, Orthanc() as orthanc:
        archive = TieredArchive.migrated(tmp_path, endpoint, studies=3)
        url = f"http://127.0.0.1:{orthanc.http_port}/dicom-web"
        archive.configure(sla=f'dicomweb = "{url}"\nobjective = 0.6')

        result = asyncio.run(probed(archive)).result

    assert result.tiers[DICOMWEB].failed == 2
    assert {each.cause for each in result.samples if each.tier == DICOMWEB} == {
        "query without the study"
    }
    assert result.breached
