"""moto's server: an S3 with storage classes, restore and events, which believes any checksum."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from pathlib import Path

import boto3
from botocore.config import Config
from mypy_boto3_s3 import S3Client

from tests.peers.launch.daemon import Daemon, Peer, free_ports, program

__all__ = ["MotoServer", "s3_client"]


def s3_client(endpoint: str, access_key_id: str, secret_access_key: str) -> S3Client:
    """Return a path-style client without retries: what a test sees is what the store said."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=access_key_id,
        aws_secret_access_key=secret_access_key,
        config=Config(
            s3={"addressing_style": "path"},
            retries={"mode": "standard", "total_max_attempts": 1},
            max_pool_connections=32,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


class MotoServer(Peer):
    """A moto server of its own process. Its objects are gone when it is killed."""

    name = "moto"
    access_key_id = "testing"
    secret_access_key = "testing"

    def __init__(self, *, folder: Path | None = None) -> None:
        super().__init__(folder)
        (self.port,) = free_ports(1)
        self.endpoint = f"http://{self.host}:{self.port}"

    def prepare(self) -> None:
        """Find moto_server beside the interpreter."""
        server = program(Path(sys.executable).parent / "moto_server", "moto_server")
        command = [server, "-H", self.host, "-p", str(self.port)]
        self.daemons = [Daemon(command, folder=self.folder, name="moto")]

    def answers(self) -> bool:
        """Ask its own API."""
        try:
            with urllib.request.urlopen(f"{self.endpoint}/moto-api/data.json", timeout=5):
                return True
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def client(self) -> S3Client:
        """Return a client of this store."""
        return s3_client(self.endpoint, self.access_key_id, self.secret_access_key)
