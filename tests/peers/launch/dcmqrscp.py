"""DCMTK's dcmqrscp 3.6.7: the stock legacy PACS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from tests.peers.launch.archive import Archive
from tests.peers.launch.association_profile import association_profile
from tests.peers.launch.daemon import Daemon, Lane, program, render

__all__ = ["Dcmqrscp", "Profile"]

#: assoc: takes and sends compressed files too, by an association profile of our own.
#: stock: as the package comes; uncompressed transfer syntaxes only, and the 40 ms stall.
#: nodelay: the same with TCP_NODELAY=1; the fast peer of the benchmarks.
#: assoc-nodelay: both.
Profile = Literal["assoc", "stock", "nodelay", "assoc-nodelay"]


class Dcmqrscp(Archive):
    """dcmqrscp with our lanes in its host table. `pairs` widens what it offers when sending."""

    name = "dcmqrscp"
    usual_ae_title = "QRSCP"
    #: Its children make up file names from one seed: two at once overwrite each other's files.
    loading_associations = 1
    #: Where it would delete the oldest study to make room, without a word to anybody.
    studies_max = 500

    def __init__(
        self,
        lanes: Sequence[Lane] = (Lane("CLOUDMIG", 11112),),
        *,
        profile: Profile = "assoc",
        pairs: Sequence[tuple[str, str]] = (),
        ae_title: str = "",
        associations_max: int = 64,
        folder: Path | None = None,
    ) -> None:
        super().__init__(lanes, ae_title=ae_title, folder=folder)
        self.profile = profile
        self.pairs = tuple(pairs)
        self.associations_max = associations_max

    def prepare(self) -> None:
        """Write dcmqrscp.cfg and, for the assoc profiles, the association profile."""
        (self.folder / "db").mkdir(exist_ok=True)
        hosts = [
            f"lane{number} = ({lane.ae_title}, {lane.host}, {lane.port})"
            for number, lane in enumerate(self.lanes, 1)
        ]
        everyone = ", ".join(f"lane{number}" for number in range(1, len(hosts) + 1))
        values = {
            "DIR": self.folder,
            "AET": self.ae_title,
            "PORT": self.port,
            "ASSOCIATIONS_MAX": self.associations_max,
            "HOSTS": "\n".join([*hosts, f"everyone = {everyone}"]),
        }
        configuration = self.folder / "dcmqrscp.cfg"
        configuration.write_text(render("dcmqrscp.cfg", values), encoding="ascii")
        # The full path: pynetdicom installs programs of the same names.
        command: list[object] = [program("/usr/bin/dcmqrscp"), "-c", configuration]
        if self.profile.startswith("assoc"):
            associations = self.folder / "associations.cfg"
            associations.write_text(association_profile(self.pairs), encoding="ascii")
            command += ["-xf", associations, "IN", "OUT"]
        environment = {"TCP_NODELAY": "1"} if self.profile.endswith("nodelay") else {}
        self.daemons = [
            Daemon(command, folder=self.folder, name="dcmqrscp", environment=environment)
        ]
