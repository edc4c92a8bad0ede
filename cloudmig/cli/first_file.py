"""The text of a first `cloudmig.toml`: every setting a person may want, with its reason."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from cloudmig.config.addresses import folder_url
from cloudmig.destinations.profiles import profile_named

__all__ = ["FirstFile", "FolderSource", "PacsSource", "Viewer", "WebSource"]

_AGENT = """\
# cloudmig.toml: what is moved, from where, to where. Written by `cloudmig init`.
# docs/configuration.md describes every setting. After a change: cloudmig doctor

[agent]
# name = "edge-1"               # unique per running agent; default: the host's name
state_dir = "state"             # beside this file: catalog, spool, reports. Keep it, back it up
catalog = "sqlite"              # or "postgresql+psycopg://user@host/db" for several agents
memory_bytes_max = "160 MiB"    # images in flight
spool_bytes_max = {spool}       # on disk, for what exceeds memory
transfers = 8                   # studies in flight at once

# [health]                      # figures of a run for Prometheus: http://127.0.0.1:9112/metrics
# port = 9112

"""

_PACS = """\
[listen]                        # our storage SCP: where the PACS sends to in C-MOVE
host = "0.0.0.0"
port = {listen_port}
# tls = {{ certificate = "agent.pem", key = "agent.key", ca = "ca.pem" }}

[sources.{section}]
archive = {archive}             # first part of every object key: names the source for ever
host = {host}
port = {port}
aet = {aet}                     # the AE title of the PACS
ae_titles = [{our_aet}]         # ours; register it at the PACS: our address, port {listen_port}
retrieve = {retrieve}           # auto | c-move | c-get. {why}
lanes = 4                       # associations at once: as many as the PACS bears
# peers = ["OTHER_AET@10.0.0.7"]   # where else the PACS sends from
# find_limit = 500              # if you know how many answers a query may have
# tls = {{ ca = "pacs-ca.pem", certificate = "agent.pem", key = "agent.key" }}

"""

_WEB = """\
[sources.{section}]             # a DICOMweb archive: asked by QIDO-RS, pulled from by WADO-RS
archive = {archive}             # first part of every object key: names the source for ever
url = {url}                     # the service root
{why}lanes = 4                       # requests at once: as many as the archive bears
# ca = "archive-ca.pem"         # authority of its certificate, where it is your own
# find_limit = 500              # if you know how many rows a search may have

[sources.{section}.dicomweb]    # who we are there
{credentials}
"""

_FOLDER = """\
[sources.{section}]             # a folder of files; links in it are never followed
archive = {archive}             # first part of every object key: names the source for ever
url = {url}
lanes = 4                       # studies read at once
header_workers = 2              # processes that read headers for the inventory
# dicomdir = "only"             # read what a DICOMDIR names, and nothing else
# listing = "listing.csv"       # what a PACS database says is there: held against the files
# listing_columns = {{ path = "FILE", sop_instance_uid = "SOP_UID" }}   # our name = its name

"""

_STORE = """\
[destinations.archive]
url = {url}
{endpoint}
region = {region}
profile = {profile}             # which features the store has: aws, moto, swift, ceph, minio
storage_class = "STANDARD"
# Credentials come from the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY), an AWS profile
# or a role; or, in a file that only this user may read:
# access_key_id = "..."
# secret_access_key = "..."

"""

_AZURE = """\
[destinations.archive]
url = {url}                     # az://CONTAINER/prefix
{endpoint}
# The storage account comes from the environment (AZURE_STORAGE_ACCOUNT_NAME, and
# AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN) or the managed identity of this machine;
# or, in a file that only this user may read:
# access_key_id = "..."         # the name of the storage account
# secret_access_key = "..."     # one of its keys

"""

_GOOGLE = """\
[destinations.archive]
url = {url}                     # gs://BUCKET/prefix
{endpoint}
storage_class = "STANDARD"
# Credentials come from the environment (GOOGLE_APPLICATION_CREDENTIALS: the key file of a service
# account), `gcloud auth application-default login` or the service account of this machine.

"""

_DISK = """\
[destinations.archive]
url = {url}                     # a folder of this machine, or one that is mounted

"""

_STORES = {"az": _AZURE, "gs": _GOOGLE, "file": _DISK}
_HOMES = {"az": "Azure", "gs": "Google"}

_VIEWER = """\
[destinations.viewer]           # a DICOMweb store, filled by STOW-RS
url = {url}                     # the service root
{why}evidence = "archive"            # keeps the manifests of its copies: it takes images only
# ca = "viewer-ca.pem"          # authority of its certificate, where it is your own

[destinations.viewer.dicomweb]
profile = {profile}             # plain, orthanc, google, azure, healthimaging, dcm4chee
{credentials}
"""

_CREDENTIALS = """\
# username = "..."              # in a file that only this user may read: Basic, a bearer token,
# password = "..."              # or OAuth2 client credentials
# token = "..."
# token_url = "https://..."
# client_id = "..."
# client_secret = "..."
"""

_RULES = """\
# Rules decide about every study; the first that matches wins. Look before a run:
#   cloudmig plan --explain STUDY_INSTANCE_UID
#
# [[rules]]
# name = "recent studies stay"
# age_days_max = 365            # also: age_days_min, study_date_from, study_date_to,
# keep_on_site = true           #       modalities = ["CT", "MR"], sources = ["{archive}"]

[[rules]]
name = "everything"
copy_to = [{copy_to}]
"""

_STORAGE_CLASS = """\
# storage_class = "{name}" # else the destination's
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PacsSource:
    """A PACS, and what is known of it."""

    host: str
    port: int
    aet: str
    our_aet: str
    listen_port: int
    retrieve: str = "auto"
    why: str = ""

    def text(self, archive: str) -> str:
        """Return its sections, and that of our listener."""
        return _PACS.format(
            **_names(archive),
            host=_quoted(self.host),
            port=self.port,
            aet=_quoted(self.aet),
            our_aet=_quoted(self.our_aet),
            listen_port=self.listen_port,
            retrieve=_quoted(self.retrieve),
            why=self.why,
        )


@dataclass(frozen=True, slots=True)
class WebSource:
    """A DICOMweb archive."""

    url: str
    why: str = ""

    def text(self, archive: str) -> str:
        """Return its sections."""
        return _WEB.format(
            **_names(archive),
            url=_quoted(self.url),
            why=_remark(self.why),
            credentials=_CREDENTIALS,
        )


@dataclass(frozen=True, slots=True)
class FolderSource:
    """A folder of files."""

    path: str

    def text(self, archive: str) -> str:
        """Return its section."""
        return _FOLDER.format(**_names(archive), url=_quoted(folder_url(Path(self.path))))


@dataclass(frozen=True, slots=True)
class Viewer:
    """A DICOMweb store that gets a copy of every study beside the bucket's."""

    url: str
    profile: str = "plain"
    why: str = ""

    def text(self) -> str:
        """Return its sections."""
        return _VIEWER.format(
            url=_quoted(self.url),
            profile=_quoted(self.profile),
            why=_remark(self.why),
            credentials=_CREDENTIALS,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstFile:
    """What is known when the file is written."""

    archive: str
    source: PacsSource | WebSource | FolderSource
    url: str
    endpoint: str | None
    region: str
    profile: str
    viewer: Viewer | None
    spool: str

    def text(self) -> str:
        """Return the file."""
        scheme = self.url.partition(":")[0]
        endpoint = (
            f'# endpoint = "https://..."      # omit for {_HOMES.get(scheme, "AWS")}'
            if self.endpoint is None
            else f"endpoint = {_quoted(self.endpoint)}"
        )
        store = _STORES.get(scheme, _STORE).format(
            url=_quoted(self.url),
            endpoint=endpoint,
            region=_quoted(self.region),
            profile=_quoted(self.profile),
        )
        text = "".join((
            _AGENT.format(spool=_quoted(self.spool)),
            self.source.text(self.archive),
            store,
            "" if self.viewer is None else self.viewer.text(),
            _RULES.format(
                archive=self.archive,
                copy_to='"archive"' if self.viewer is None else '"archive", "viewer"',
            ),
            # A DICOMweb store has no classes.
            _STORAGE_CLASS.format(name="NEARLINE" if scheme == "gs" else "STANDARD_IA")
            if self.viewer is None and profile_named(self.profile).storage_classes
            else "",
        ))  # fmt: skip
        return "\n".join(_aligned(line) for line in text.splitlines()) + "\n"


def _names(archive: str) -> dict[str, str]:
    plain = re.fullmatch(r"[A-Za-z0-9_-]+", archive)
    return {"section": archive if plain else _quoted(archive), "archive": _quoted(archive)}


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # A basic string of TOML is escaped as in JSON.


def _remark(text: str) -> str:
    return f"# {text}\n" if text else ""


def _aligned(line: str) -> str:
    """Put the remark behind a setting into its column, whatever the value's length."""
    setting, mark, remark = line.partition("  #")
    if not mark or line.startswith("#"):
        return line.rstrip()
    return f"{setting.rstrip():<31} #{remark}".rstrip()
