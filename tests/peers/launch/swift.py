"""OpenStack Swift with s3api: a real S3 server, which refuses a body that fails its checksum."""

from __future__ import annotations

import getpass
import subprocess
import sys
from pathlib import Path

import botocore.exceptions
from mypy_boto3_s3 import S3Client

from tests.peers.launch.daemon import Daemon, Peer, PeerMissing, free_ports, program, render
from tests.peers.launch.moto import s3_client

__all__ = ["Swift"]

_OWN_VENV = Path(__file__).parents[3] / ".cache" / "peers-venv" / "bin"


def _swift_program(name: str) -> str:
    return program(_OWN_VENV / name, Path(sys.executable).parent / name)


class Swift(Peer):
    """Account, container, object and proxy server on one device, and their memcached."""

    name = "swift"
    access_key_id = "test:tester"
    secret_access_key = "testing"

    def __init__(self, *, folder: Path | None = None) -> None:
        super().__init__(folder)
        self.ports = dict(
            zip(
                ("account", "container", "object", "proxy", "memcached"), free_ports(5), strict=True
            )
        )
        self.port = self.ports["proxy"]
        self.endpoint = f"http://{self.host}:{self.port}"

    def prepare(self) -> None:
        """Build the rings, write the configurations."""
        etc = self.folder / "etc"
        etc.mkdir()
        (self.folder / "srv/node/d1").mkdir(parents=True)
        values = {
            "DIR": self.folder,
            "USER": getpass.getuser(),
            "MEMCACHED_PORT": self.ports["memcached"],
        }
        (etc / "swift.conf").write_text(render("swift/swift.conf", values), encoding="ascii")
        builder = _swift_program("swift-ring-builder")
        for ring in ("account", "container", "object"):
            device = f"r1z1-{self.host}:{self.ports[ring]}/d1"
            for words in (["create", "8", "1", "1"], ["add", device, "1"], ["rebalance"]):
                done = subprocess.run(
                    [builder, f"{ring}.builder", *words],
                    cwd=etc, capture_output=True, text=True, check=False, timeout=60,
                )  # fmt: skip
                if done.returncode != 0:
                    raise PeerMissing(f"swift-ring-builder: {done.stdout}{done.stderr}")
        memcached = [
            program("/usr/bin/memcached"), "-l", self.host, "-p", str(self.ports["memcached"]),
            "-u", getpass.getuser(),
        ]  # fmt: skip
        self.daemons = [Daemon(memcached, folder=self.folder, name="memcached")]
        for server in ("account", "container", "object", "proxy"):
            configuration = etc / f"{server}.conf"
            text = render(f"swift/{server}.conf", {**values, "PORT": self.ports[server]})
            configuration.write_text(text, encoding="ascii")
            command = [_swift_program(f"swift-{server}-server"), configuration, "-v"]
            # Swift looks for swift.conf in /etc/swift unless told; every server takes swift_dir.
            self.daemons.append(Daemon(command, folder=self.folder, name=server))

    def answers(self) -> bool:
        """List the buckets."""
        try:
            self.client().list_buckets()
        except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
            return False
        return True

    def client(self) -> S3Client:
        """Return a client of this store."""
        return s3_client(self.endpoint, self.access_key_id, self.secret_access_key)
