"""What all associations of the PACS share."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from cloudmig.demo.pacs.counters import Counters
from cloudmig.demo.pacs.holdings import Holdings
from cloudmig.demo.pacs.script import Script
from cloudmig.demo.pacs.wire import Link

__all__ = ["PacsState"]


@dataclass
class PacsState:
    """Shared by the threads of one PACS; `script` may be exchanged while it runs."""

    aet: str
    holdings: Holdings
    script: Script
    destinations: Mapping[str, tuple[str, int]]  #: AE title -> host, port: where C-MOVE sends to.
    counters: Counters = field(default_factory=Counters)
    stopping: threading.Event = field(default_factory=threading.Event)
    _links: set[Link] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def remember(self, link: Link) -> None:
        """Keep a link so that stopping can close it."""
        with self._lock:
            self._links.add(link)
        if self.stopping.is_set():
            link.close()

    def forget(self, link: Link) -> None:
        """Let a link go that ends by itself."""
        with self._lock:
            self._links.discard(link)

    def close_all(self) -> None:
        """Close every link; the threads that wait on them end."""
        with self._lock:
            links = list(self._links)
        for link in links:
            link.close()
