"""What Orthanc really holds, read through its own REST API: neither by WADO-RS nor by cloudmig.

The manifests of copies there lie in a bucket; the judge finds them where the documentation says.
"""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pydicom
from mypy_boto3_s3 import S3Client

from tests.peers.bucket import HeldObject, Survey, read_manifests
from tests.peers.launch import OrthancStore
from tests.peers.part10 import NotPart10, dataset_sha256, read_file_meta

__all__ = ["OrthancHome"]

_READERS = 4
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


@dataclass(frozen=True, slots=True, kw_only=True)
class OrthancHome:
    """An Orthanc that keeps copies of one archive, and the bucket with their manifests."""

    orthanc: OrthancStore
    archive: str
    evidence_client: S3Client
    evidence_bucket: str
    evidence_prefix: str  #: `evidence/<destination>/`

    @property
    def name(self) -> str:
        """Return what the verdict calls it."""
        return "orthanc by REST"

    def survey(self) -> Survey:
        """Read every instance, and every manifest."""
        found = Survey()
        # The filters are the process's, so they are set around all the threads.
        with warnings.catch_warnings(), ThreadPoolExecutor(_READERS) as pool:
            warnings.simplefilter("ignore")
            found.objects = list(pool.map(self._read, json.loads(self.orthanc.get("instances"))))
        found.manifests = read_manifests(
            self.evidence_client, self.evidence_bucket, self.evidence_prefix
        )
        return found

    def download(self, key: str, path: Path) -> None:
        """Write an instance to a file, found by its SOP Instance UID."""
        [number] = self.instances(key.rsplit("/", 1)[-1].removesuffix(".dcm"))
        path.write_bytes(self.orthanc.get(f"instances/{number}/file"))

    def instances(self, sop_instance_uid: str) -> list[str]:
        """Return what Orthanc calls the instances of this UID."""
        found = json.loads(self.orthanc.get("tools/lookup", sop_instance_uid.encode("ascii")))
        return [each["ID"] for each in found if each["Type"] == "Instance"]

    def _read(self, number: str) -> HeldObject:
        content = self.orthanc.get(f"instances/{number}/file")
        try:
            meta, digest = read_file_meta(content), dataset_sha256(content)
        except NotPart10:
            meta, digest = None, ""
        return HeldObject(
            key=self._key(content),
            size_bytes=len(content),
            file_sha256=hashlib.sha256(content).hexdigest(),
            dataset_sha256=digest,
            meta=meta,
            metadata={},
        )

    def _key(self, content: bytes) -> str:
        """Return the key that a manifest must call these bytes by: what their data set says."""
        header = pydicom.dcmread(
            io.BytesIO(content), stop_before_pixels=True, specific_tags=list(_UIDS)
        )
        study, series, instance = (str(header.get(name) or "") for name in _UIDS)
        spread = hashlib.sha256(study.encode()).hexdigest()[:2]
        return f"v1/{self.archive}/{spread}/{study}/{series}/{instance}.dcm"
