"""The folder of the demo: wiped at the start, and the cloudmig.toml that is written into it."""

from __future__ import annotations

import contextlib
import random
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

from cloudmig.errors import ConfigError

__all__ = ["AGENT_AET", "Workplace", "free_port"]

AGENT_AET = "CLOUDMIG"
#: Below the range from which the kernel gives ports to outgoing connections.
_PORTS = range(20_000, 32_000)
#: Lies in every folder this module made, so that no other folder is ever wiped.
_MARK = ".made-by-cloudmig-demo"

_CONFIGURATION = """\
# Written by `cloudmig demo`. Your own: cloudmig init --pacs HOST:PORT --aet PACS --bucket s3://...

[agent]
name = "demo"
state_dir = "state"
transfers = 8
lease_s = 5          # Short, because this demo kills its agent and has no time to wait.
renew_s = 1
backoff_s = 0.5

[listen]
host = "127.0.0.1"
port = {listen_port}

[sources.legacy]
archive = "demo"
host = "{pacs_host}"
port = {pacs_port}
aet = "{pacs_aet}"
ae_titles = ["{agent_aet}"]
retrieve = "c-move"
lanes = 4
grace_s = 0.5

[destinations.archive]
url = "s3://{bucket}"
endpoint = "{endpoint}"
region = "us-east-1"
profile = "moto"
storage_class = "STANDARD"
access_key_id = "demo"
secret_access_key = "demo"

[[rules]]
name = "recent studies stay on site"
age_days_max = 365
keep_on_site = true

[[rules]]
name = "the archive goes to the cloud"
copy_to = ["archive"]
storage_class = "STANDARD_IA"
"""


@dataclass(frozen=True, slots=True)
class Workplace:
    """A folder with a configuration in it."""

    folder: Path

    @property
    def config(self) -> Path:
        """Return the path of cloudmig.toml."""
        return self.folder / "cloudmig.toml"

    @property
    def reports(self) -> Path:
        """Return where the agent writes its report pages."""
        return self.folder / "state" / "reports"

    def wipe(self) -> None:
        """Empty the folder, but only one that an earlier demo made."""
        if self.folder.exists() and any(self.folder.iterdir()):
            if not (self.folder / _MARK).exists():
                raise ConfigError(
                    f"{self.folder} was not made by cloudmig demo",
                    hint="Move it away, or run the demo in another folder.",
                )
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / _MARK).write_text("Everything here may be deleted.\n")

    def write_configuration(
        self, *, listen_port: int, pacs: tuple[str, int, str], endpoint: str, bucket: str
    ) -> None:
        """Write cloudmig.toml for this PACS and this bucket."""
        pacs_host, pacs_port, pacs_aet = pacs
        text = _CONFIGURATION.format(
            listen_port=listen_port, pacs_host=pacs_host, pacs_port=pacs_port, pacs_aet=pacs_aet,
            agent_aet=AGENT_AET, endpoint=endpoint, bucket=bucket,
        )  # fmt: skip
        self.config.write_text(text)


def free_port() -> int:
    """Return a loopback port that nobody listens on, and that no outgoing connection gets."""
    for port in random.SystemRandom().sample(_PORTS, 100):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise ConfigError("no port is free on this machine", hint="see `ss -ltn`")
