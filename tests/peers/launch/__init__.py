"""Real software, launched: each class is a context manager with a scratch folder and free ports.

    with Orthanc([Lane("CLOUDMIG", port)]) as pacs, MotoServer() as store: ...

`kill()` is SIGKILL and `start()` brings the peer back with its data (moto keeps none).
"""

from __future__ import annotations

from tests.peers.launch.daemon import Lane, Peer, PeerMissing, PeerSilent, free_ports
from tests.peers.launch.dcmqrscp import Dcmqrscp
from tests.peers.launch.echo import echo
from tests.peers.launch.moto import MotoServer, s3_client
from tests.peers.launch.nginx import NginxSink
from tests.peers.launch.orthanc import Orthanc, OrthancStore, OrthancTls
from tests.peers.launch.pixelmed import PixelMed
from tests.peers.launch.postgresql import Postgresql
from tests.peers.launch.swift import Swift

__all__ = [
    "Dcmqrscp", "Lane", "MotoServer", "NginxSink", "Orthanc", "OrthancStore", "OrthancTls", "Peer",
    "PeerMissing", "PeerSilent", "PixelMed", "Postgresql", "Swift", "echo", "free_ports",
    "s3_client",
]  # fmt: skip
