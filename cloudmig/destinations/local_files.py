"""Put-if-absent in a local directory that survives a power cut.

object_store's own local file system writes beside the key and links, so a killed process tears
nothing, but it never calls fsync: after a power cut an empty file could lie under the key, and
put-if-absent would keep it there for ever. Here the bytes reach the disk before the key exists, and
the key reaches the disk before the receipt does. The temporary file has no name where the file
system can do that (O_TMPFILE): a kill leaves nothing behind.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterable
from io import FileIO
from pathlib import Path

__all__ = ["create_durably", "local_etag"]

_UNNAMED_UNSUPPORTED = {errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL}


def create_durably(path: Path, pieces: Iterable[bytes | bytearray | memoryview]) -> bool:
    """Write a new file; return False and write nothing when the path is taken."""
    if path.exists():
        return False
    _make_folders(path.parent)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        descriptor, name = _open_temporary(path.parent)
        try:
            with open(descriptor, "wb", buffering=0) as file:  # noqa: PTH123 - a descriptor
                _write_all(file, pieces)
                source = name or f"/proc/self/fd/{descriptor}"
                # Only with a dir_fd does Python ask linkat(2), which follows the /proc link.
                os.link(source, path.name, dst_dir_fd=folder, follow_symlinks=True)
        except FileExistsError:
            return False
        finally:
            if name is not None:
                Path(name).unlink()
        os.fsync(folder)
    finally:
        os.close(folder)
    return True


def local_etag(path: Path) -> str:
    """Return the ETag that obstore gives a local file, without asking it: a test holds them equal.

    Asking costs as much CPU as writing a quarter of a megabyte.
    """
    found = path.stat()
    return f'"{found.st_ino:x}-{found.st_mtime_ns // 1000:x}-{found.st_size:x}"'


def _write_all(file: FileIO, pieces: Iterable[bytes | bytearray | memoryview]) -> None:
    for piece in pieces:
        view = memoryview(piece)
        while view:
            view = view[file.write(view) :]
    os.fsync(file.fileno())


def _open_temporary(folder: Path) -> tuple[int, str | None]:
    """Return a descriptor, and a name where the file system has no unnamed files."""
    try:
        return os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o644), None
    except OSError as error:
        if error.errno not in _UNNAMED_UNSUPPORTED:
            raise
    # object_store does not list names that end in # and a number.
    name = str(folder / f"cloudmig#{secrets.randbits(62)}")
    return os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644), name


def _make_folders(folder: Path) -> None:
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        new.mkdir(exist_ok=True)
        _sync_folder(new.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
