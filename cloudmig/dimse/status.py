"""What a DIMSE status means: its category and a few words (PS3.7 Annex C, PS3.4)."""

from __future__ import annotations

import functools
from enum import Enum

from pynetdicom.status import (
    GENERAL_STATUS,
    QR_FIND_SERVICE_CLASS_STATUS,
    QR_GET_SERVICE_CLASS_STATUS,
    QR_MOVE_SERVICE_CLASS_STATUS,
    STORAGE_SERVICE_CLASS_STATUS,
    code_to_category,
)

__all__ = ["CANNOT_UNDERSTAND", "OUT_OF_RESOURCES", "SUCCESS", "Category", "category", "words"]

SUCCESS = 0x0000
#: Our answer when there is no room: a failure the sender may repeat (PS3.4 B.2.3). Never 0x0107,
#: which a sender takes for a warning.
OUT_OF_RESOURCES = 0xA700
CANNOT_UNDERSTAND = 0xC000  #: PS3.4 B.2.3.
SOP_CLASS_NOT_SUPPORTED = 0x0122
UNRECOGNIZED_OPERATION = 0x0211


class Category(Enum):
    """The five status classes of PS3.7 C.1 to C.5."""

    SUCCESS = "success"
    PENDING = "pending"
    WARNING = "warning"
    CANCEL = "cancel"
    FAILURE = "failure"


@functools.lru_cache(maxsize=256)
def category(status: int) -> Category:
    """Return the class of a status. What the standard does not know is a failure."""
    try:
        return Category(code_to_category(status).lower())
    except ValueError:
        return Category.FAILURE


def words(status: int) -> str:
    """Return the status as an operator reads it: the code, the category and its meaning."""
    for table in (
        GENERAL_STATUS,
        STORAGE_SERVICE_CLASS_STATUS,
        QR_MOVE_SERVICE_CLASS_STATUS,
        QR_GET_SERVICE_CLASS_STATUS,
        QR_FIND_SERVICE_CLASS_STATUS,
    ):
        meaning = table.get(status, ("", ""))[1]
        if meaning:
            return f"0x{status:04X} {category(status).value}: {meaning}"
    return f"0x{status:04X} {category(status).value}"
