"""The room that all arriving objects of one agent share."""

from __future__ import annotations

from dataclasses import dataclass

from cloudmig.dicom.part10 import file_prefix
from cloudmig.staging.budget import MemoryBudget
from cloudmig.staging.spool import Spool
from cloudmig.staging.writer import StagingWriter

__all__ = ["StagingArea", "StagingLimits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StagingLimits:
    """How an object may grow."""

    credit_bytes: int = 4 << 20  #: Free for every association before its next object (design 5).
    memory_object_bytes_max: int = 64 << 20  #: Past this an object spills: it goes up in parts.
    beginning_bytes: int = 64 << 10  #: Of a spilled object, kept in memory for the header walk.
    credit_wait_max_s: float = 10.0  #: Orthanc gives up an unanswered C-STORE after 30 s.


class StagingArea:
    """Memory first, spool for what exceeds it."""

    def __init__(
        self, memory: MemoryBudget, spool: Spool, limits: StagingLimits | None = None
    ) -> None:
        self.memory = memory
        self.spool = spool
        self.limits = limits or StagingLimits()

    async def take_credit(self) -> int:
        """Return the bytes reserved for the next object: the credit, or 0 after the longest wait.

        An object without credit goes to the spool; it does not wait.
        """
        limits = self.limits
        taken = await self.memory.take(limits.credit_bytes, wait_max_s=limits.credit_wait_max_s)
        return limits.credit_bytes if taken else 0

    def take_credit_at_once(self) -> int | None:
        """Return the bytes reserved for the next object, or None where that takes a wait."""
        credit_bytes = self.limits.credit_bytes
        return credit_bytes if self.memory.try_take(credit_bytes) else None

    def open(
        self,
        *,
        sop_class_uid: str,
        sop_instance_uid: str,
        transfer_syntax_uid: str,
        credit_bytes: int,
    ) -> StagingWriter:
        """Start an object; the writer owns the credit from here on."""
        prefix = file_prefix(sop_class_uid, sop_instance_uid, transfer_syntax_uid)
        return StagingWriter(self, prefix, credit_bytes=credit_bytes)
