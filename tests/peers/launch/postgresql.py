"""A private PostgreSQL cluster, on a loopback port and a socket in its own folder."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.peers.launch.daemon import Daemon, Peer, PeerMissing, free_ports

__all__ = ["Postgresql"]


class Postgresql(Peer):
    """A cluster of its own, run as the postgres user when we are root. No password: loopback."""

    name = "postgresql"
    user = "cloudmig"
    database = "cloudmig"

    def __init__(self, *, folder: Path | None = None) -> None:
        super().__init__(folder)
        (self.port,) = free_ports(1)
        #: For SQLAlchemy.
        self.url = f"postgresql+psycopg://{self.user}@{self.host}:{self.port}/{self.database}"
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
        if not found:
            raise PeerMissing("no /usr/lib/postgresql (tests/peers/install.sh)")
        self._programs = found[-1].parent
        self._run_as = "postgres" if os.geteuid() == 0 else None

    def prepare(self) -> None:
        """Run initdb; the data folder belongs to the user who runs the server."""
        data = self.folder / "data"
        data.mkdir(mode=0o700)
        if self._run_as:
            self.folder.chmod(0o755)
            shutil.chown(data, self._run_as, self._run_as)
        subprocess.run(
            [
                self._programs / "initdb", "-D", data, "-U", self.user, "--auth=trust",
                "--encoding=UTF8", "--locale=C", "--no-instructions",
            ],
            cwd=data, user=self._run_as, check=True, capture_output=True, timeout=120,
        )  # fmt: skip
        command = [
            self._programs / "postgres", "-D", data, "-p", str(self.port),
            "-c", f"listen_addresses={self.host}", "-c", f"unix_socket_directories={data}",
            "-c", "max_connections=200",
        ]  # fmt: skip
        self.daemons = [Daemon(command, folder=self.folder, name="postgresql", user=self._run_as)]

    def start(self) -> None:
        """Start, and make the database on the first time."""
        super().start()
        self._sql(
            "postgres",
            f"SELECT 'CREATE DATABASE {self.database}' WHERE NOT EXISTS"
            f" (SELECT FROM pg_database WHERE datname = '{self.database}') \\gexec",
        )

    def create_database(self, name: str) -> str:
        """Make another, empty database in the cluster and return its SQLAlchemy URL."""
        self._sql("postgres", f'CREATE DATABASE "{name}"')
        return self.url.removesuffix(self.database) + name

    def answers(self) -> bool:
        """Ask it to select 1."""
        return self._psql("postgres", "SELECT 1").returncode == 0

    def _sql(self, database: str, statement: str) -> None:
        done = self._psql(database, statement)
        assert done.returncode == 0, done.stderr

    def _psql(self, database: str, statement: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                self._programs / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1",
                "-h", self.host, "-p", str(self.port), "-U", self.user, database,
            ],
            input=statement + "\n", check=False, capture_output=True, text=True, timeout=30,
        )  # fmt: skip
