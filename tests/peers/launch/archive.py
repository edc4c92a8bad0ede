"""What every PACS among the peers has: our lanes, an AE title, a port, and an answer to C-ECHO."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.peers.launch.daemon import Lane, Peer, free_ports
from tests.peers.launch.echo import echo

__all__ = ["Archive"]


class Archive(Peer):
    """A PACS that knows our lanes and nobody else."""

    usual_ae_title = "PACS"
    #: Associations by which it can be filled at once.
    loading_associations = 3

    def __init__(
        self,
        lanes: Sequence[Lane] = (Lane("CLOUDMIG", 11112),),
        *,
        ae_title: str = "",
        folder: Path | None = None,
    ) -> None:
        super().__init__(folder)
        self.lanes = tuple(lanes)
        self.ae_title = ae_title or self.usual_ae_title
        self.port, self.http_port = free_ports(2)

    def answers(self) -> bool:
        """Ask by C-ECHO."""
        return echo(self.host, self.port, self.ae_title)
