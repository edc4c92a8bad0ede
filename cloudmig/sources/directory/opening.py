"""Open a file below a folder, and never one outside it: no symbolic link is followed anywhere."""

from __future__ import annotations

import os
import stat

__all__ = ["NotAFileError", "modified_ns", "open_beneath"]

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
#: A pipe under this name must not make us wait for its writer.
_FILE_FLAGS = _FLAGS | os.O_NONBLOCK | os.O_NOCTTY


#: What the index can hold of a time: signed 64 bits, from 1677 to 2262.
_TIME_NS_MAX = 2**63 - 1


class NotAFileError(OSError):
    """What has the name is no regular file."""


def open_beneath(root: int, path: bytes) -> tuple[int, os.stat_result]:
    """Return a descriptor of the regular file `path` below the open folder `root`, and its stat.

    Raises OSError: also where a part of the path is a symbolic link (ELOOP or ENOTDIR).
    """
    *folders, name = path.split(b"/")
    assert name not in {b"", b".", b".."}, "paths of the index are plain"
    folder, is_ours = root, False
    try:
        for each in folders:
            inner = os.open(each, _FLAGS | os.O_DIRECTORY, dir_fd=folder)
            if is_ours:
                os.close(folder)
            folder, is_ours = inner, True
        file = os.open(name, _FILE_FLAGS, dir_fd=folder)
    finally:
        if is_ours:
            os.close(folder)
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise NotAFileError("no regular file")
    except BaseException:
        os.close(file)
        raise
    return file, found


def modified_ns(found: os.stat_result) -> int:
    """Return when a file was changed, as the index keeps it. Disks tell times up to 2486."""
    return max(-_TIME_NS_MAX, min(found.st_mtime_ns, _TIME_NS_MAX))
