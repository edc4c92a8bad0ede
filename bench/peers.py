"""The two ends of a migration: dcmqrscp as the PACS, nginx or moto as the object store.

DCMTK's servers listen on every address and have no option for it, so a run as root is given a
network of its own (`bench.run`); otherwise keep the machine behind a firewall meanwhile.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cloudmig.demo.workplace import free_port

START_TIME_MAX_S = 20

DCMQRSCP_CONFIG = """\
NetworkTCPPort  = {port}
MaxPDUSize      = 131072
MaxAssociations = 64
HostTable BEGIN
contender = (BENCH, 127.0.0.1, {move_port})
HostTable END
VendorTable BEGIN
VendorTable END
AETable BEGIN
{areas}
AETable END
"""

#: No checksums, no metadata, no listing, no condition: it costs next to nothing, which is its job.
NGINX_CONFIG = """\
daemon off; worker_processes 2; error_log {folder}/error.log; pid {folder}/pid;
events {{ worker_connections 1024; }}
http {{
  access_log off; client_body_temp_path {folder}/tmp; client_max_body_size 0;
  client_body_buffer_size 1m; keepalive_requests 1000000;
  server {{
    listen 127.0.0.1:{port}; root {folder}/root;
    location / {{
      dav_methods PUT DELETE; create_full_put_path on; dav_access user:rw;
      add_header ETag "\\"d41d8cd98f00b204e9800998ecf8427e\\"" always;
    }}
  }}
}}
"""


@contextmanager
def serving(
    command: Sequence[str], *, port: int, log_path: Path, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the block ends; the block starts when its port answers."""
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            list(command), env={**os.environ, **(env or {})}, stdout=log, stderr=log
        )
    try:
        wait_until_listening(port)
        yield process
    finally:
        process.terminate()
        process.wait()


def wait_until_listening(port: int) -> None:
    """Return once a TCP connection to a local port is accepted."""
    deadline = time.monotonic() + START_TIME_MAX_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


@dataclass(frozen=True, slots=True)
class Pacs:
    """Where the PACS answers and where its C-MOVE sends to."""

    port: int
    move_port: int


@contextmanager
def pacs(areas: Mapping[str, Path], *, nodelay: bool, folder: Path) -> Iterator[Pacs]:
    """Serve storage areas (AE title -> folder) from dcmqrscp; BENCH is the one move destination."""
    address = Pacs(port=free_port(), move_port=free_port())
    config = folder / "dcmqrscp.cfg"
    lines = [f"{title}  {path}  RW (100000, 1024mb)  ANY" for title, path in areas.items()]
    config.write_text(
        DCMQRSCP_CONFIG.format(
            port=address.port, move_port=address.move_port, areas="\n".join(lines)
        )
    )
    with serving(
        ["/usr/bin/dcmqrscp", "-q", "-c", str(config)],
        port=address.port,
        log_path=folder / "dcmqrscp.log",
        env=nodelay_env(nodelay=nodelay),
    ):
        yield address


def nodelay_env(*, nodelay: bool) -> dict[str, str]:
    """Return what switches Nagle's algorithm off in a DCMTK program (its TCP_NODELAY)."""
    return {"TCP_NODELAY": "1"} if nodelay else {}


@dataclass(frozen=True, slots=True)
class Sink:
    """An HTTP server that keeps what is PUT to it, and the folder it keeps it in."""

    port: int
    root: Path = field(repr=False)

    def clear(self) -> None:
        """Forget everything that was stored."""
        for path in self.root.iterdir():
            shutil.rmtree(path)

    def objects(self) -> list[Path]:
        """List the stored images; a migration's own evidence beside them does not count."""
        return [
            path
            for path in self.root.rglob("*")
            if path.is_file() and not path.name.endswith((".json", ".json.gz"))
        ]


@contextmanager
def nginx_sink(folder: Path) -> Iterator[Sink]:
    """Run nginx as a WebDAV PUT sink."""
    sink = Sink(port=free_port(), root=folder / "root")
    for path in (folder, sink.root, folder / "tmp"):
        path.mkdir(parents=True)
        path.chmod(0o777)  # its workers run as another user when it is started by root
    config = folder / "nginx.conf"
    config.write_text(NGINX_CONFIG.format(folder=folder, port=sink.port))
    with serving(
        [shutil.which("nginx") or "/usr/sbin/nginx", "-c", str(config)],
        port=sink.port,
        log_path=folder / "start.log",
    ):
        yield sink


@contextmanager
def moto_server(folder: Path, *, bucket: str) -> Iterator[int]:
    """Run moto with one bucket, for what needs multipart uploads; yield its port."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with serving(command, port=port, log_path=folder / "moto.log"):
        request = urllib.request.Request(f"http://127.0.0.1:{port}/{bucket}", method="PUT")
        with urllib.request.urlopen(request):
            yield port
