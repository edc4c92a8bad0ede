"""The text of a first `cloudmig.toml`: every setting a person may want, with its reason."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

__all__ = ["FirstFile"]

_TEMPLATE = """\
# cloudmig.toml: what is moved, from where, to where. Written by `cloudmig init`.
# docs/configuration.md describes every setting. After a change: cloudmig doctor

[agent]
# name = "edge-1"               # unique per running agent; default: the host's name
state_dir = "state"             # beside this file: catalog, spool, reports. Keep it, back it up
catalog = "sqlite"              # or "postgresql+psycopg://user@host/db" for several agents
memory_bytes_max = "160 MiB"    # images in flight
spool_bytes_max = {spool}       # on disk, for what exceeds memory
transfers = 8                   # studies in flight at once

[listen]                        # our storage SCP: where the PACS sends to in C-MOVE
host = "0.0.0.0"
port = {listen_port}
# tls = {{ certificate = "agent.pem", key = "agent.key", ca = "ca.pem" }}

[sources.{section}]
archive = {archive_text}        # first part of every object key: names the source for ever
host = {host}
port = {port}
aet = {aet}                     # the AE title of the PACS
ae_titles = [{our_aet}]         # ours; register it at the PACS: our address, port {listen_port}
retrieve = {retrieve}           # auto | c-move | c-get. {retrieve_why}
lanes = 4                       # associations at once: as many as the PACS bears
# peers = ["OTHER_AET@10.0.0.7"]   # where else the PACS sends from
# find_limit = 500              # if you know how many answers a query may have
# tls = {{ ca = "pacs-ca.pem", certificate = "agent.pem", key = "agent.key" }}

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

# Rules decide about every study; the first that matches wins. Look before a run:
#   cloudmig plan --explain STUDY_INSTANCE_UID
#
# [[rules]]
# name = "recent studies stay"
# age_days_max = 365            # also: age_days_min, study_date_from, study_date_to,
# keep_on_site = true           #       modalities = ["CT", "MR"], sources = ["{archive}"]

[[rules]]
name = "everything"
copy_to = ["archive"]
# storage_class = "STANDARD_IA" # else the destination's
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstFile:
    """What is known when the file is written."""

    host: str
    port: int
    aet: str
    our_aet: str
    listen_port: int
    archive: str
    retrieve: str
    retrieve_why: str
    url: str
    endpoint: str | None
    region: str
    profile: str
    spool: str

    def text(self) -> str:
        """Return the file."""
        endpoint = (
            '# endpoint = "https://..."      # omit for AWS'
            if self.endpoint is None
            else f"endpoint = {_quoted(self.endpoint)}"
        )
        text = _TEMPLATE.format(
            archive=self.archive,
            section=_key(self.archive),
            archive_text=_quoted(self.archive),
            host=_quoted(self.host),
            port=self.port,
            aet=_quoted(self.aet),
            our_aet=_quoted(self.our_aet),
            listen_port=self.listen_port,
            retrieve=_quoted(self.retrieve),
            retrieve_why=self.retrieve_why,
            url=_quoted(self.url),
            endpoint=endpoint,
            region=_quoted(self.region),
            profile=_quoted(self.profile),
            spool=_quoted(self.spool),
        )
        return "\n".join(_aligned(line) for line in text.splitlines()) + "\n"


def _key(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z0-9_-]+", text) else _quoted(text)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # A basic string of TOML is escaped as in JSON.


def _aligned(line: str) -> str:
    """Put the remark behind a setting into its column, whatever the value's length."""
    setting, mark, remark = line.partition("  #")
    if not mark or line.startswith("#"):
        return line
    return f"{setting.rstrip():<31} #{remark}"
