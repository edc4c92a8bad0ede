"""The sections of `cloudmig.toml`: what may be set, with its default."""

from __future__ import annotations

import os.path
import re
import socket
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from cloudmig.config.addresses import folder_of, is_web_address, plain_address, prefix_of
from cloudmig.config.dicomweb import DicomWebSettings
from cloudmig.config.quantities import (
    Count,
    Duration,
    FilePath,
    Host,
    Port,
    Size,
    StorageClass,
)
from cloudmig.config.section import Section
from cloudmig.config.sources import TlsSettings

__all__ = [
    "AgentSettings", "DestinationSettings", "HealthSettings", "ListenSettings", "Section",
]  # fmt: skip

_SPOOL_BYTES_MAX = 8 << 30
#: The URL schemes and the profile each has where none is named.
_SCHEMES = {"s3": "aws", "file": "file", "memory": "memory", "gs": "gcs", "az": "azure"}
#: The schemes of a DICOMweb store, which has profiles of its own.
_WEB_SCHEMES = frozenset({"https", "http"})

#: What botocore takes for a bucket's name, and for the host of an endpoint: no underscore there.
_S3_BUCKET = re.compile(r"[A-Za-z0-9._-]{1,255}")
_S3_HOST = re.compile(r"((?!-)[A-Za-z\d-]{1,63}(?<!-)(\.|$))+", re.ASCII)

#: The names in `destinations/profiles.toml`; a test holds the two equal.
Profile = Literal[
    "aws", "moto", "swift", "ceph", "minio", "gcs", "azure", "file", "memory", "plain"
]


def _is_prefix(text: str) -> bool:
    """Say whether every store keeps such a prefix as it is."""
    return not text or (text.isprintable() and not {"", ".", ".."} & set(text.split("/")))


class AgentSettings(Section):
    """`[agent]`: this process, its budget and its patience."""

    name: Annotated[str, Field(min_length=1, max_length=64)] = Field(
        default_factory=socket.gethostname
    )  #: Unique per running agent.
    state_dir: FilePath = Path("state")
    catalog: SecretStr = SecretStr("sqlite")  #: A URL may hold a password.
    memory_bytes_max: Size = 160 << 20
    spool_bytes_max: Size = _SPOOL_BYTES_MAX
    object_bytes_max: Size = _SPOOL_BYTES_MAX  #: Default: what the spool can hold.
    transfers: Annotated[Count, Field(le=10_000)] = 8
    attempts_max: Count = 3  #: Failures by a study's own fault before it is quarantined.
    backoff_s: Duration = 30.0
    lease_s: Duration = 120.0
    renew_s: Duration = 30.0  #: How often a lease is renewed.

    @model_validator(mode="before")
    @classmethod
    def _largest_object_fits_the_spool(cls, value: object) -> object:
        if isinstance(value, dict) and "object_bytes_max" not in value:
            return {**value, "object_bytes_max": value.get("spool_bytes_max", _SPOOL_BYTES_MAX)}
        return value

    @field_validator("catalog", mode="after")
    @classmethod
    def _known_catalog(cls, catalog: SecretStr) -> SecretStr:
        text = catalog.get_secret_value()
        if text != "sqlite" and not text.startswith("postgresql+psycopg://"):
            raise ValueError('must be "sqlite" or a URL like postgresql+psycopg://user@host/db')
        return catalog

    @property
    def catalog_path(self) -> Path | None:
        """The SQLite file, or None when the catalog is a server."""
        if self.catalog.get_secret_value() == "sqlite":
            return self.state_dir / "catalog.db"
        return None

    @property
    def catalog_url(self) -> str:
        """The URL for SQLAlchemy. It may hold a password: never print it."""
        path = self.catalog_path
        return self.catalog.get_secret_value() if path is None else f"sqlite:///{path}"

    @property
    def catalog_shown(self) -> str:
        """What may be printed about the catalog."""
        if self.catalog_path is not None:
            return str(self.catalog_path)
        parts = urllib.parse.urlsplit(self.catalog.get_secret_value())
        return f"{parts.scheme}://{parts.hostname or ''}{parts.path}"

    @property
    def spool_dir(self) -> Path:
        return self.state_dir / "spool"

    @property
    def report_dir(self) -> Path:
        return self.state_dir / "reports"


class ListenSettings(Section):
    """`[listen]`: our storage SCP, to which the PACS sends in C-MOVE."""

    host: Host = "0.0.0.0"  # noqa: S104 - peers are checked by address
    port: Port = 11112
    associations_max: Count = 64
    associations_per_peer_max: Count = 32
    pdu_bytes_max: Size = 128 << 10  #: What we announce; DCMTK takes no more.
    artim_s: Duration = 15.0  #: From accept to a complete A-ASSOCIATE-RQ (PS3.8 9.1.5).
    idle_s: Duration = 300.0  #: Silence between two objects of an association.
    answer_wait_max_s: Duration = 10.0  #: How long a C-STORE answer may wait for room.
    tls: TlsSettings | None = None

    @field_validator("tls", mode="after")
    @classmethod
    def _server_needs_certificate(cls, tls: TlsSettings | None) -> TlsSettings | None:
        if tls is not None and tls.certificate is None:
            raise ValueError("a listener needs certificate and key")
        return tls


class HealthSettings(Section):
    """`[health]`: where a run says how it is, without a password."""

    host: Host = "127.0.0.1"
    port: Port


class DestinationSettings(Section):
    """`[destinations.<name>]`: a store that keeps copies."""

    url: str
    endpoint: str | None = None  #: None means AWS, Google or Azure.
    region: str = "us-east-1"
    profile: Profile = "aws"  #: Which features the store has; default: by the URL's scheme.
    profile_overrides: Mapping[str, bool] = Field(default_factory=dict)
    storage_class: str = "STANDARD"
    kms_key_id: str | None = None
    access_key_id: SecretStr | None = None
    secret_access_key: SecretStr | None = None
    session_token: SecretStr | None = None
    ca: FilePath | None = None  #: Authority of the store's certificate, where it is your own.
    path_style: bool | None = None  #: Default: exactly where an endpoint is set.
    attempts_max: Count = 5
    connect_s: Duration = 10.0
    timeout_s: Duration = 60.0
    outage_max_s: Duration = 3600.0  #: How long a store may be down before the run halts.
    concurrency: Count = 16
    verdict_queue: str | None = None  #: URL of the queue through which the functions answer.
    verdict_endpoint: str | None = None  #: Where that queue is not on AWS.
    later_classes: tuple[StorageClass, ...] = ()  #: Classes to which lifecycle rules may move.
    evidence: str | None = None  #: `https://` only: the destination that keeps its manifests.
    dicomweb: DicomWebSettings | None = None  #: `https://` only.

    @model_validator(mode="before")
    @classmethod
    def _profile_by_scheme(cls, value: object) -> object:
        if isinstance(value, dict) and "profile" not in value:
            scheme = str(value.get("url", "")).partition(":")[0]
            return {**value, "profile": _SCHEMES.get(scheme, "aws")}
        return value

    @field_validator("url", mode="after")
    @classmethod
    def _known_url(cls, url: str) -> str:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in _SCHEMES.keys() | _WEB_SCHEMES:
            schemes = ", ".join(f"{scheme}://" for scheme in (*_SCHEMES, "https"))
            raise ValueError(f"must start with one of {schemes}")
        if parts.scheme != "file" and not parts.netloc:
            raise ValueError(f"names no bucket: {parts.scheme}://BUCKET/optional-prefix")
        if parts.password or parts.username or parts.query or parts.fragment:
            raise ValueError("must hold nothing but a bucket and a prefix")
        if parts.scheme == "s3" and _S3_BUCKET.fullmatch(parts.netloc) is None:
            raise ValueError("must name a bucket of letters, digits, dots, hyphens and underscores")
        if parts.scheme not in {"file", *_WEB_SCHEMES} and not _is_prefix(prefix_of(url)):
            raise ValueError("must have a prefix of plain names with one slash between them")
        if parts.scheme == "file":
            folder_of(url)
        if parts.scheme in _WEB_SCHEMES and not is_web_address(url):
            raise ValueError("must be an address like https://host/dicom-web")
        return url

    @field_validator("verdict_queue", mode="after")
    @classmethod
    def _queue_url(cls, url: str | None) -> str | None:
        if url is None:
            return None
        named = is_web_address(url) and urllib.parse.urlsplit(url).path.strip("/")
        if not named or "?" in url or "#" in url:
            raise ValueError(
                "must be the URL of a queue, like https://sqs.REGION.amazonaws.com/ACCOUNT/NAME"
            )
        return url

    @field_validator("endpoint", "verdict_endpoint", mode="after")
    @classmethod
    def _http(cls, endpoint: str | None) -> str | None:
        if endpoint is None:
            return None
        if not is_web_address(endpoint):
            raise ValueError("must be an address like https://host:port, without credentials")
        return endpoint.rstrip("/")

    @model_validator(mode="after")
    def _botocore_takes_the_host(self) -> Self:
        for name, address in (
            ("endpoint", self.endpoint),
            ("verdict_endpoint", self.verdict_endpoint),
        ):
            host = urllib.parse.urlsplit(address or "").hostname or ""
            if host and self.scheme == "s3" and ":" not in host and not _S3_HOST.fullmatch(host):
                raise ValueError(f"{name} must name a host by letters, digits and hyphens alone")
        return self

    @model_validator(mode="after")
    def _credentials_together(self) -> Self:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("access_key_id and secret_access_key are set together or not at all")
        return self

    @property
    def scheme(self) -> str:
        return urllib.parse.urlsplit(self.url).scheme

    @property
    def is_dicomweb(self) -> bool:
        """Say whether it is a DICOMweb store, named by its address."""
        return self.scheme in _WEB_SCHEMES

    @property
    def bucket(self) -> str:
        """The bucket, or empty for a directory."""
        return urllib.parse.urlsplit(self.url).netloc if self.scheme != "file" else ""

    @property
    def prefix(self) -> str:
        """What stands before every key, without slashes at either end; a directory has none."""
        return prefix_of(self.url) if self.scheme != "file" else ""

    @property
    def key_prefix(self) -> str:
        """The prefix as it stands in a bucket's keys: empty, or with a slash at its end."""
        return f"{self.prefix}/" if self.prefix else ""

    @property
    def directory(self) -> Path | None:
        """The folder of a `file://` destination."""
        return folder_of(self.url) if self.scheme == "file" else None

    @property
    def place(self) -> tuple[str, ...]:
        """What two destinations may not have in common, however it is written."""
        if self.directory is not None:
            return ("file", os.path.realpath(self.directory))
        if self.is_dicomweb:
            return (plain_address(self.url),)
        endpoint = "" if self.endpoint is None else plain_address(self.endpoint)
        account = ""
        if self.scheme == "az" and self.access_key_id is not None:
            account = self.access_key_id.get_secret_value()  # Its containers are its own.
        return (self.scheme, endpoint, account, self.bucket, self.prefix)
