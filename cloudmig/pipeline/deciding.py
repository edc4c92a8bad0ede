"""Several tasks failed together: which of their errors decides what is done."""

from __future__ import annotations

from cloudmig.errors import CloudmigError, Disposition

__all__ = ["decisive"]

_ORDER = (Disposition.HALT, Disposition.QUARANTINE, Disposition.RETRY)


def decisive(group: BaseExceptionGroup[CloudmigError]) -> CloudmigError:
    """Return the error that decides: a halt before a quarantine before a retry."""
    leaves: list[CloudmigError] = []
    stack: list[BaseException] = [group]
    while stack:
        error = stack.pop()
        if isinstance(error, BaseExceptionGroup):
            stack += error.exceptions
        elif isinstance(error, CloudmigError):
            leaves.append(error)
    return min(leaves, key=lambda error: _ORDER.index(error.disposition))
