"""Where arriving bytes wait: a memory budget first, a bounded spool for what exceeds it."""

from cloudmig.staging.area import StagingArea, StagingLimits
from cloudmig.staging.budget import MemoryBudget
from cloudmig.staging.files import FileShrankError, FileToStage, OpenedFile, ReadBody, stage_file
from cloudmig.staging.spool import Spool
from cloudmig.staging.writer import StagedBytes, StagingWriter

__all__ = [
    "FileShrankError", "FileToStage", "MemoryBudget", "OpenedFile", "ReadBody", "Spool",
    "StagedBytes", "StagingArea", "StagingLimits", "StagingWriter", "stage_file",
]  # fmt: skip
