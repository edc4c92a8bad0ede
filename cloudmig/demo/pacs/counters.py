"""What the PACS was asked and what it did, for tests to look at."""

from __future__ import annotations

from collections import Counter
from threading import Lock

__all__ = ["Counters"]


class Counters:
    """Counts of everything; written by many threads, read at any time."""

    def __init__(self) -> None:
        self._lock = Lock()
        #: "echo", "find STUDY", "find SERIES", "find IMAGE", "move STUDY", "get IMAGE", ...
        self.asked: Counter[str] = Counter()
        #: Study Instance UID -> retrieves that named it.
        self.retrieved_studies: Counter[str] = Counter()
        #: SOP Instance UID as held -> times it was sent.
        self.sent: Counter[str] = Counter()
        #: Status of our C-STORE answers, and how often.
        self.store_statuses: Counter[int] = Counter()
        #: Status of the final answers of retrieves.
        self.retrieve_statuses: Counter[int] = Counter()
        #: The criteria of each query by keyword, in the order they came.
        self.queries: list[dict[str, str]] = []
        self.associations_accepted = 0
        self.associations_rejected = 0
        self.associations_open = 0
        self.associations_open_max = 0
        self.cancels = 0
        self.sent_bytes = 0

    def count_request(self, what: str) -> None:
        """Count one request."""
        with self._lock:
            self.asked[what] += 1

    def count_query(self, criteria: dict[str, str]) -> None:
        """Keep what a query asked for."""
        with self._lock:
            self.queries.append(criteria)

    def count_retrieve(self, study_instance_uids: list[str]) -> int:
        """Count one retrieve and return its number, from 1."""
        with self._lock:
            self.retrieved_studies.update(study_instance_uids)
            self.asked["retrieve"] += 1
            return self.asked["retrieve"]

    def count_retrieve_end(self, status: int) -> None:
        """Count how a retrieve ended."""
        with self._lock:
            self.retrieve_statuses[status] += 1

    def count_send(self, sop_instance_uid: str, data_set_bytes: int) -> int:
        """Count one instance sent and return how often it was, this time included."""
        with self._lock:
            self.sent[sop_instance_uid] += 1
            self.sent_bytes += data_set_bytes
            return self.sent[sop_instance_uid]

    def count_store_answer(self, status: int) -> None:
        """Count what an instance was answered with."""
        with self._lock:
            self.store_statuses[status] += 1

    def count_cancel(self) -> None:
        """Count a C-CANCEL."""
        with self._lock:
            self.cancels += 1

    def try_open(self, associations_max: int | None) -> bool:
        """Count an association unless it is one too many."""
        with self._lock:
            if associations_max is not None and self.associations_open >= associations_max:
                self.associations_rejected += 1
                return False
            self.associations_accepted += 1
            self.associations_open += 1
            self.associations_open_max = max(self.associations_open_max, self.associations_open)
            return True

    def count_rejection(self) -> None:
        """Count an association turned away for its AE title."""
        with self._lock:
            self.associations_rejected += 1

    def count_close(self) -> None:
        """Count an association that ended."""
        with self._lock:
            self.associations_open -= 1
