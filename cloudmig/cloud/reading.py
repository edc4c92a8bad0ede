"""Reading one image as a reader would: out of the bucket, or through a DICOMweb endpoint.

No answer is trusted: bytes are compared with what the manifest says. Nothing is tried twice, since
a second try would hide the first one's time.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import urllib.parse
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from cloudmig.cloud.multipart_body import single_part
from cloudmig.cloud.sampling import SampledStudy
from cloudmig.dicom.digest import FileDigests
from cloudmig.manifest import InstanceRecord
from cloudmig.model.service_levels import DICOMWEB

__all__ = [
    "ArchivedStudy", "BucketReader", "DicomWebReader", "OpenImage", "ReadFailed", "StudyReader",
    "cause_of",
]  # fmt: skip

_PIECE_BYTES = 1 << 18
_ANSWER_BYTES_MAX = 16 << 20
#: How many studies an ad-hoc query asks for: a page of a work list.
_QUERY_LIMIT = 100


class ArchivedStudy(Exception):  # noqa: N818 - named for what happened, as in errors.py
    """The object lies in an archive class and is not restored."""

    def __init__(self, tier: str) -> None:
        super().__init__(tier)
        self.tier = tier


class ReadFailed(Exception):  # noqa: N818 - the same
    """No image came, or none that can be right; the cause is a word, without names."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


@dataclass(frozen=True, slots=True)
class OpenImage:
    """An image whose first bytes are on their way."""

    tier: str
    pieces: Iterator[bytes]


class StudyReader(Protocol):
    """One way to read images. Used from several threads at once."""

    @property
    def how(self) -> str:
        """`bucket` or `dicomweb`."""
        ...

    def open(
        self, study_instance_uid: str, record: InstanceRecord
    ) -> AbstractContextManager[OpenImage]:
        """Ask for an image. Raises `ArchivedStudy`, `ReadFailed`, or what its client raises."""
        ...

    def agrees(self, found: FileDigests, record: InstanceRecord) -> bool:
        """Say whether what was read is what the manifest names."""
        ...

    def search(self, study: SampledStudy) -> bool:
        """Find the study by an ad-hoc query; False where there are no queries."""
        ...


def cause_of(error: Exception) -> str:
    """Return a word for an error. Messages hold keys and addresses: they are not passed on."""
    if isinstance(error, ReadFailed):
        return error.cause
    code = _code_of(error)
    return code or type(error).__name__


def _code_of(error: Exception) -> str:
    """Return the code in an error of botocore, known by its shape: this module imports none."""
    answer = getattr(error, "response", None)
    return str(answer.get("Error", {}).get("Code", "")) if isinstance(answer, dict) else ""


class BucketReader:
    """Reads objects with a boto3 client, whose own retries shall be off."""

    how = "bucket"

    def __init__(self, s3: Any, bucket: str, prefix: str) -> None:  # noqa: ANN401 - of boto3
        self._s3 = s3
        self._bucket = bucket
        self._prefix = prefix

    def fetch(self, key: str) -> bytes:
        """Return a manifest."""
        answer = self._s3.get_object(Bucket=self._bucket, Key=self._prefix + key)
        with contextlib.closing(answer["Body"]) as body:
            held: bytes = body.read()
        return held

    @contextlib.contextmanager
    def open(self, study_instance_uid: str, record: InstanceRecord) -> Iterator[OpenImage]:  # noqa: ARG002
        """Ask for the object as it is now, whatever version was put."""
        place = record.location
        arguments = {"Bucket": self._bucket, "Key": self._prefix + place.key}
        if place.length is not None:
            arguments["Range"] = f"bytes={place.offset}-{place.offset + place.length - 1}"
        try:
            answer = self._s3.get_object(**arguments)
        except Exception as error:
            if _code_of(error) != "InvalidObjectState":
                raise
            raise ArchivedStudy(self._tier_of(arguments["Key"])) from error
        with contextlib.closing(answer["Body"]) as body:
            yield OpenImage(_tier(answer), body.iter_chunks(_PIECE_BYTES))

    def _tier_of(self, key: str) -> str:
        return _tier(self._s3.head_object(Bucket=self._bucket, Key=key))

    def agrees(self, found: FileDigests, record: InstanceRecord) -> bool:
        """Compare every byte."""
        return (found.size_bytes, found.file_sha256) == (record.size_bytes, record.file_sha256)

    def search(self, study: SampledStudy) -> bool:  # noqa: ARG002
        """A bucket has no queries."""
        return False


def _tier(answer: dict[str, Any]) -> str:
    return str(answer.get("StorageClass") or "STANDARD")


class DicomWebReader:
    """Reads instances by WADO-RS and asks by QIDO-RS (PS3.18 10.4, 10.6).

    Every request has a connection of its own. Redirects are not followed: URLs handed back by a
    server never are.
    """

    how = "dicomweb"

    def __init__(self, url: str, *, authorization: str = "", timeout_s: float = 30.0) -> None:
        parts = urllib.parse.urlsplit(url)
        assert parts.scheme in {"http", "https"}, "the configuration checked it"
        self._tls = parts.scheme == "https"
        self._address = parts.netloc
        self._path = parts.path.rstrip("/")
        self._headers = {"Authorization": authorization} if authorization else {}
        self._timeout_s = timeout_s

    @contextlib.contextmanager
    def open(self, study_instance_uid: str, record: InstanceRecord) -> Iterator[OpenImage]:
        """Retrieve the instance in the transfer syntax it is stored in (PS3.18 8.7.3)."""
        path = (
            f"/studies/{study_instance_uid}/series/{record.series_instance_uid}"
            f"/instances/{record.sop_instance_uid}"
        )
        accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
        with self._asked(path, accept) as answer:
            if answer.status != 200:
                raise ReadFailed(f"HTTP{answer.status}")
            kind = answer.headers.get_content_type()
            pieces = iter(lambda: answer.read1(_PIECE_BYTES), b"")
            if kind == "multipart/related":
                boundary = str(answer.headers.get_param("boundary") or "")
                pieces = single_part(pieces, boundary)
            elif kind != "application/dicom":
                raise ReadFailed("no DICOM in the answer")
            yield OpenImage(DICOMWEB, pieces)

    def agrees(self, found: FileDigests, record: InstanceRecord) -> bool:
        """Compare the data set: group 0002 belongs to whoever wrote the file (PS3.10 7.1)."""
        return found.dataset_sha256 == record.dataset_sha256

    def search(self, study: SampledStudy) -> bool:
        """Ask for a year of one modality, as a work list does; the study must be among them."""
        _, year, modality, *_ = f"{study.stratum}|||".split("|")
        query = {"limit": str(_QUERY_LIMIT)}
        if len(year) == 4 and year.isdecimal():
            query["StudyDate"] = f"{year}0101-{year}1231"
        else:
            query["StudyInstanceUID"] = study.study_instance_uid
        if modality.isalpha() and modality.isupper() and modality.isascii():
            query["ModalitiesInStudy"] = modality
        path = f"/studies?{urllib.parse.urlencode(query)}"
        with self._asked(path, "application/dicom+json") as answer:
            if answer.status not in {200, 204}:
                raise ReadFailed(f"HTTP{answer.status}")
            body = answer.read(_ANSWER_BYTES_MAX)
        found = _study_uids(body)
        if study.study_instance_uid not in found and len(found) < _QUERY_LIMIT:
            raise ReadFailed("query without the study")
        return True

    @contextlib.contextmanager
    def _asked(self, path: str, accept: str) -> Iterator[http.client.HTTPResponse]:
        kind = http.client.HTTPSConnection if self._tls else http.client.HTTPConnection
        connection = kind(self._address, timeout=self._timeout_s)
        with contextlib.closing(connection):
            connection.request(
                "GET", self._path + path, headers={"Accept": accept, **self._headers}
            )
            yield connection.getresponse()


def _study_uids(body: bytes) -> set[str]:
    """Return the Study Instance UIDs (0020,000D) of a DICOM JSON answer (PS3.18 F.2)."""
    try:
        listed = json.loads(body) if body else []
        return {each["0020000D"]["Value"][0] for each in listed}
    except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
        raise ReadFailed("query without DICOM JSON") from error
