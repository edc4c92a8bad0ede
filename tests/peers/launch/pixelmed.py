"""PixelMed's DicomAndWebStorageServer: a third PACS with other habits."""

from __future__ import annotations

from pathlib import Path

from tests.peers.launch.archive import Archive
from tests.peers.launch.daemon import Daemon, PeerMissing, program, render

__all__ = ["PixelMed"]

_JARS = (
    "pixelmed", "hsqldb", "vecmath", "commons-codec", "jmdns", "commons-net", "slf4j-api",
    "slf4j-simple", "javax.json",
)  # fmt: skip


class PixelMed(Archive):
    """PixelMed with our lanes as remote AEs. Its database is HSQLDB, in files."""

    name = "pixelmed"
    usual_ae_title = "PIXELMED"

    def prepare(self) -> None:
        """Write pixelmed.properties."""
        for part in ("db", "data"):
            (self.folder / part).mkdir(exist_ok=True)
        names = [f"lane{number}" for number in range(1, len(self.lanes) + 1)]
        remote = ["Dicom.RemoteAEs=" + " ".join(names)]
        for name, lane in zip(names, self.lanes, strict=True):
            remote += [
                f"Dicom.RemoteAEs.{name}.CalledAETitle={lane.ae_title}",
                f"Dicom.RemoteAEs.{name}.HostNameOrIPAddress={lane.host}",
                f"Dicom.RemoteAEs.{name}.Port={lane.port}",
                f"Dicom.RemoteAEs.{name}.QueryModel=STUDYROOT",
            ]
        values = {
            "DIR": self.folder,
            "AET": self.ae_title,
            "PORT": self.port,
            "HTTP_PORT": self.http_port,
            "REMOTE": "\n".join(remote),
        }
        properties = self.folder / "pixelmed.properties"
        properties.write_text(render("pixelmed.properties", values), encoding="ascii")
        jars = [Path(f"/usr/share/java/{jar}.jar") for jar in _JARS]
        missing = [jar.name for jar in jars if not jar.exists()]
        if missing:
            raise PeerMissing(f"no {', '.join(missing)} (tests/peers/install.sh)")
        command = [
            program("/usr/bin/java"), "-Xmx1g", "-Djava.awt.headless=true",
            "-Djava.net.preferIPv4Stack=true", f"-Djava.io.tmpdir={self.folder}",
            "-cp", ":".join(map(str, jars)),
            "com.pixelmed.server.DicomAndWebStorageServer", properties,
        ]  # fmt: skip
        self.daemons = [Daemon(command, folder=self.folder, name="pixelmed")]

    def clear_traces(self) -> None:
        """Remove HSQLDB's lock: its heartbeat would keep a restarted server out for a while."""
        for lock in (self.folder / "db").glob("*.lck"):
            lock.unlink()
