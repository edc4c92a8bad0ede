"""Which instances a store may be choking on, so that one bad one holds nothing else back.

An instance that failed together with others is sent alone the next time. One that fails alone as
often as any call is tried is to blame only if the store took others between its failures, or after
a long time: a full disk gives the same answers, and a store in trouble gives them at random. One at
which the store breaks, or the connection to it, is to blame after twice as many failures, half of
which came between or after what the store took, not in the outage before; and after a long time
only if no other one is suspected, or the store may be down.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Suspects"]

_SUSPECTS_MAX = 10_000
#: Alone, with the pauses of retries between them: a store that fails at a third of what it gets
#: fails at one in 250 as often.
_FAILURES_MIN = 5


@dataclass(slots=True)
class _Record:
    since_s: float
    stored_before: int  #: Instances the store had taken when it first failed alone.
    failures_alone: int = 0
    stored_at_last: int = -1  #: The same, when it last failed alone.
    apart: int = 0  #: Failures alone with something taken before each of them,
    in_a_row: int = 0  #: and since the last of these.


class Suspects:
    """Remembers failures of instances by SOP Instance UID, the latest only."""

    def __init__(self, *, now: Callable[[], float], patience_s: float) -> None:
        self._now = now
        self._patience_s = patience_s
        self._records: OrderedDict[str, _Record] = OrderedDict()
        self._stored = 0

    def __contains__(self, sop_instance_uid: object) -> bool:
        return sop_instance_uid in self._records

    @property
    def took_others(self) -> bool:
        """True from the first instance that the store took."""
        return self._stored > 0

    def accuse(self, sop_instance_uid: str, *, is_alone: bool, broke: bool = False) -> bool:
        """Take note of a failure, of the store itself if it broke; say if this one is to blame."""
        record = self._records.setdefault(sop_instance_uid, _Record(self._now(), self._stored))
        self._records.move_to_end(sop_instance_uid)
        if len(self._records) > _SUSPECTS_MAX:
            self._records.popitem(last=False)
        if is_alone:
            self._count(record)
        if record.failures_alone <= 1:
            record.stored_before = self._stored
        is_late = self._now() - record.since_s >= self._patience_s and record.failures_alone > 1
        if is_late and (not broke or len(self._records) == 1):
            return True
        failures_min = _FAILURES_MIN
        if broke:
            failures_min *= 2
            if max(record.apart, record.in_a_row) < _FAILURES_MIN:
                return False  # The others may have been those of an outage that is just over.
        return record.failures_alone >= failures_min and self._stored > record.stored_before

    def _count(self, record: _Record) -> None:
        if self._stored > record.stored_at_last:
            record.apart, record.in_a_row = record.apart + 1, 0
        record.failures_alone += 1
        record.in_a_row += 1
        record.stored_at_last = self._stored

    def acquit(self, sop_instance_uid: str) -> None:
        """Take note that the store took an instance."""
        self._stored += 1
        self._records.pop(sop_instance_uid, None)
