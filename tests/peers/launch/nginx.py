"""nginx as a WebDAV PUT sink: it costs next to nothing, so the benchmarks measure the sender."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from pathlib import Path

from tests.peers.launch.daemon import Daemon, Peer, free_ports, program, render

__all__ = ["NginxSink"]


class NginxSink(Peer):
    """Takes PUTs into `root`. No checksums, no metadata, no listing."""

    name = "nginx"

    def __init__(self, *, folder: Path | None = None) -> None:
        super().__init__(folder)
        (self.port,) = free_ports(1)
        self.endpoint = f"http://{self.host}:{self.port}"
        self.root = self.folder / "root"

    def prepare(self) -> None:
        """Write nginx-sink.conf. Workers run as us: as root's default user they could not write."""
        for part in ("root", "tmp"):
            (self.folder / part).mkdir(exist_ok=True)
        values = {
            "DIR": self.folder,
            "PORT": self.port,
            "USER": "user root; " if os.geteuid() == 0 else "",
        }
        configuration = self.folder / "nginx-sink.conf"
        configuration.write_text(render("nginx-sink.conf", values), encoding="ascii")
        command = [program("/usr/sbin/nginx", "nginx"), "-p", self.folder, "-c", configuration]
        command += ["-e", self.folder / "error.log"]
        self.daemons = [Daemon(command, folder=self.folder, name="nginx")]

    def answers(self) -> bool:
        """PUT a file of no bytes."""
        request = urllib.request.Request(f"{self.endpoint}/ready", data=b"", method="PUT")
        try:
            with urllib.request.urlopen(request, timeout=5):
                return True
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False
