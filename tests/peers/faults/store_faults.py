"""What goes wrong between the agent and a store: thirteen faults, each for a while."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum

from tests.contract.relay import Canned
from tests.peers.faults.http_proxy import HttpRequest, Way

__all__ = ["StoreFault", "StoreTrouble"]


class StoreFault(Enum):
    """The rows of the matrix, with their names in the table."""

    ERROR = "500"
    SLOW_DOWN = "503 SlowDown"
    CONFLICT = "409"
    PRECONDITION = "412 (spurious)"
    FORBIDDEN = "403"
    TOO_MANY = "429"
    LATE_BEFORE = "time-out before the commit"
    LATE_AFTER = "time-out after the commit"
    RESET = "reset in mid-body"
    TRUNCATED = "truncated GET"
    CORRUPTED = "corrupted GET"
    DAMAGED = "wrong checksum"
    EMPTY = "empty answer"


_ANSWERS = {
    StoreFault.ERROR: Canned(500, "InternalError"),
    StoreFault.SLOW_DOWN: Canned(503, "SlowDown"),
    StoreFault.CONFLICT: Canned(409, "ConditionalRequestConflict"),
    StoreFault.PRECONDITION: Canned(412, "PreconditionFailed"),
    StoreFault.FORBIDDEN: Canned(403, "AccessDenied"),
    StoreFault.TOO_MANY: Canned(429, "TooManyRequests"),
}
_WAYS = {
    StoreFault.LATE_BEFORE: Way.HANG_BEFORE,
    StoreFault.LATE_AFTER: Way.HANG_AFTER,
    StoreFault.RESET: Way.RESET_IN_BODY,
    StoreFault.TRUNCATED: Way.TRUNCATE_ANSWER,
    StoreFault.CORRUPTED: Way.CORRUPT_ANSWER,
    StoreFault.DAMAGED: Way.DAMAGE_BODY,
}
#: What only shows when objects are read back.
_OF_VERIFY = {StoreFault.TRUNCATED, StoreFault.CORRUPTED}
#: Every third request of its kind, so many times; never so many in a row that a breaker opens.
_EVERY = 3
_TIMES_MAX = 6


@dataclass(slots=True)
class StoreTrouble:
    """One fault at work in one cell."""

    fault: StoreFault
    injected: int = 0
    hit: Counter[str] = field(default_factory=Counter)  #: Keys, and how often each was hit.
    passed_after: Counter[str] = field(default_factory=Counter)  #: Requests since the first hit.
    _command: str = ""
    _seen: int = 0
    _over: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def about_to(self, command: str) -> None:
        """Note which command comes; a refusal ends with the first run that met it."""
        with self._lock:
            if self._command == "run" and command != "inventory" and self.injected:
                self._over = self._over or self.fault is StoreFault.FORBIDDEN
            self._command = command

    def decide(self, request: HttpRequest) -> Way | Canned:
        """Say what becomes of a request."""
        with self._lock:
            way = self._decide(request)
            if way is not Way.PASS:
                self.injected += 1
                self.hit[request.key] += 1
            elif request.key in self.hit:
                self.passed_after[request.key] += 1
            return way

    def _decide(self, request: HttpRequest) -> Way | Canned:
        reading = self.fault in _OF_VERIFY
        wanted = ("GET", "verify") if reading else ("PUT", "run")
        if self._over or not request.key or (request.method, self._command) != wanted:
            return Way.PASS
        if self.fault is StoreFault.FORBIDDEN:
            return _ANSWERS[self.fault]
        if self.fault is StoreFault.DAMAGED and not request.key.endswith(".dcm"):
            return Way.PASS  # A damaged manifest stays where it is, and the judge reads them all.
        if reading and request.key in self.hit:
            return Way.PASS  # What is damaged each time it is read is rightly replaced.
        self._seen += 1
        if self._seen % _EVERY != 1 or self.injected >= _TIMES_MAX:
            return Way.PASS
        if self.fault is StoreFault.EMPTY:
            # An answer without a word in it, and no answer at all, in turn.
            return Way.CLOSE if self.injected % 2 else Canned(200)
        return _ANSWERS.get(self.fault) or _WAYS[self.fault]
