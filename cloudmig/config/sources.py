"""`[sources.<name>]`: an archive that is read. The scheme of its url says what it speaks."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from cloudmig.config.addresses import folder_of, is_web_address
from cloudmig.config.dicomweb import WebCredentials
from cloudmig.config.quantities import (
    AeTitle,
    ArchiveName,
    Count,
    Duration,
    FilePath,
    Host,
    Port,
    Size,
)
from cloudmig.config.section import Section

__all__ = [
    "LISTING_COLUMNS", "DirectorySettings", "PacsSettings", "PeerSettings", "SourceSettings",
    "TlsSettings", "WebSourceSettings", "source_model",
]  # fmt: skip


class TlsSettings(Section):
    """Certificates of DICOM TLS (PS3.15 B.12, BCP 195). Paths are relative to the file."""

    ca: FilePath  #: Whom we believe.
    certificate: FilePath | None = None  #: Who we are.
    key: FilePath | None = None

    @model_validator(mode="after")
    def _certificate_and_key_together(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key are set together or not at all")
        return self


class PeerSettings(Section):
    """A further address from which a PACS sends, written `AE_TITLE@host`."""

    aet: AeTitle
    host: Host

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: object) -> object:
        if isinstance(value, str):
            aet, at, host = value.rpartition("@")
            if not at:
                raise ValueError('must look like "AE_TITLE@host"')
            return {"aet": aet, "host": host}
        return value


class SourceSettings(Section):
    """What every source has."""

    archive: ArchiveName  #: First part of every object key: names the source for ever.
    lanes: Count = 4  #: Retrieves at once.
    find_limit: Count | None = None  #: A known limit of how many studies one answer holds.
    universal_query: bool = True  #: Compare the sweep with one query for everything.
    inventory_from: dt.date = dt.date(1900, 1, 1)

    @property
    def identity(self) -> dict[str, str]:
        """What a manifest says of the source beside its name."""
        return {}


class PacsSettings(SourceSettings):
    """A PACS that speaks DIMSE: the source that has no url."""

    host: Host
    port: Port
    aet: AeTitle
    ae_titles: Annotated[tuple[AeTitle, ...], Field(min_length=1)] = ("CLOUDMIG",)
    retrieve: Literal["auto", "c-move", "c-get"] = "auto"
    peers: tuple[PeerSettings, ...] = ()
    tls: TlsSettings | None = None
    verify_hostname: bool = True
    connect_s: Duration = 10.0
    idle_s: Duration = 120.0
    total_s: Duration = 7200.0
    grace_s: Duration = 10.0  #: Between the final C-MOVE status and the last store.

    @field_validator("ae_titles", mode="after")
    @classmethod
    def _each_once(cls, ae_titles: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(ae_titles)) != len(ae_titles):
            raise ValueError("names an AE title twice")
        return ae_titles

    @property
    def identity(self) -> dict[str, str]:
        """The AE title it answers to."""
        return {"aet": self.aet}


class WebSourceSettings(SourceSettings):
    """An archive that speaks DICOMweb (PS3.18): `url = "https://host/dicom-web"`."""

    url: str
    dicomweb: WebCredentials = WebCredentials()
    ca: FilePath | None = None  #: Authority of the server's certificate, where it is your own.
    page_rows: Count = 200  #: Rows asked for in one answer; every server known gives so many.
    as_stored: bool = True  #: Take nothing that the server may have converted.
    connect_s: Duration = 10.0
    idle_s: Duration = 120.0
    total_s: Duration = 7200.0

    @field_validator("url", mode="after")
    @classmethod
    def _service_root(cls, url: str) -> str:
        if not is_web_address(url) or "?" in url or "#" in url:
            raise ValueError(
                "must be an address like https://host/dicom-web, nothing else in it"
                " (a folder of files is file:///mnt/export)"
            )
        return url.rstrip("/")

    @property
    def identity(self) -> dict[str, str]:
        """What it speaks. Its address may say more than a bucket's readers should know."""
        return {"protocol": "dicomweb"}


#: What a row of a listing may say, and whether it must.
LISTING_COLUMNS: Mapping[str, bool] = {
    "path": True, "study_instance_uid": True, "series_instance_uid": True,
    "sop_instance_uid": True, "sop_class_uid": False, "transfer_syntax_uid": False,
    "size_bytes": False, "study_date": False, "patient_id": False, "accession_number": False,
    "modality": False,
}  # fmt: skip


class DirectorySettings(SourceSettings):
    """Files on a disk of ours: `url = "file:///mnt/export"`."""

    url: str
    dicomdir: Literal["auto", "only", "ignore"] = "auto"
    listing: FilePath | None = None  #: What a PACS database says is there: CSV or Parquet.
    listing_columns: Mapping[str, str] = Field(default_factory=dict)  #: Our name -> its name.
    listing_prefix: str = ""  #: Taken off its paths: where the folder lay for that PACS.
    header_workers: Annotated[Count, Field(le=256)] = 2  #: Processes that read headers.
    header_time_max_s: Duration = 20.0  #: For the header of one file.
    header_memory_bytes_max: Size = 1 << 30  #: Of one of these processes.
    header_bytes_max: Size = 256 << 20  #: Of one file, until its UIDs have been found.

    @field_validator("listing_columns", mode="after")
    @classmethod
    def _known_columns(cls, columns: Mapping[str, str]) -> Mapping[str, str]:
        if unknown := columns.keys() - LISTING_COLUMNS.keys():
            known = ", ".join(LISTING_COLUMNS)
            raise ValueError(f"there is no {', '.join(sorted(unknown))}; columns are {known}")
        return columns

    @field_validator("url", mode="after")
    @classmethod
    def _a_folder(cls, url: str) -> str:
        if not url.removeprefix("file://").strip("/"):
            raise ValueError("names no folder: file:///mnt/export")
        folder_of(url)
        return url

    @property
    def directory(self) -> Path:
        """The folder that is walked."""
        return folder_of(self.url)

    @property
    def identity(self) -> dict[str, str]:
        """What it is. Paths stay on site: they may hold names."""
        return {"protocol": "files"}


def source_model(section: object) -> type[SourceSettings]:
    """Return the model of a section: by the scheme of its url, and a PACS where it has none."""
    url = section.get("url") if isinstance(section, dict) else None
    if not isinstance(url, str):
        return PacsSettings
    return DirectorySettings if url.startswith("file:") else WebSourceSettings
