"""The walk: every entry below a folder, each once, in bounded memory.

Folders are followed, symbolic links never: so there are no loops and no way out of the root. What
is not read is yielded all the same, with its kind, and counted. Paths are bytes relative to the
root, as the file system has them: they need not be UTF-8, and they may hold patients' names.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from cloudmig.model.files import FileKind
from cloudmig.sources.directory.opening import modified_ns

__all__ = ["DEPTH_MAX", "Entry", "walk"]

#: Folders within folders. One descriptor is open for each; nobody nests archives deeper.
DEPTH_MAX = 100


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a folder."""

    path: bytes
    size_bytes: int
    mtime_ns: int
    kind: FileKind | None  #: None for a regular file, of which only reading tells the kind.


def walk(root: bytes) -> Iterator[Entry]:
    """Yield every entry that is no folder, and every folder that cannot be listed.

    Raises OSError where the root itself cannot be listed.
    """
    open_folders = [(b"", os.scandir(root))]
    try:
        while open_folders:
            folder, entries = open_folders[-1]
            try:
                entry = next(entries, None)
            except OSError:
                entry = None
                yield _unlisted(folder)
            if entry is None:
                open_folders.pop()[1].close()
                continue
            path = folder + entry.name
            try:
                found = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # Gone between the two looks: it is on no disk any more.
            except OSError:
                yield Entry(path, 0, 0, FileKind.DENIED)
                continue
            if not stat.S_ISDIR(found.st_mode):
                yield Entry(path, found.st_size, modified_ns(found), _kind(found))
            elif len(open_folders) >= DEPTH_MAX:
                yield _unlisted(path + b"/")
            else:
                try:
                    open_folders.append((path + b"/", os.scandir(entry.path)))
                except FileNotFoundError:
                    continue
                except OSError:
                    yield _unlisted(path + b"/")
    finally:
        for _, entries in open_folders:
            entries.close()


def _unlisted(folder: bytes) -> Entry:
    return Entry(folder.rstrip(b"/") or b".", 0, 0, FileKind.FOLDER)


def _kind(found: os.stat_result) -> FileKind | None:
    if stat.S_ISLNK(found.st_mode):
        return FileKind.SYMLINK
    if not stat.S_ISREG(found.st_mode):
        return FileKind.SPECIAL
    return None if found.st_size else FileKind.EMPTY
