"""Put-if-absent in a local directory that survives a power cut.

object_store's own local file system writes beside the key and links, so a killed process tears
nothing, but it never calls fsync: after a power cut an empty file could lie under the key, and
put-if-absent would keep it there for ever. Here the bytes reach the disk before the key exists, and
the key reaches the disk before the receipt does. The temporary file has no name where the file
system can do that (O_TMPFILE): a kill leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar, TypeVarTuple, Unpack

from cloudmig.destinations.bodies import StagedBody, body_pieces
from cloudmig.destinations.disk_writing import write_through
from cloudmig.destinations.obstore_errors import OBSTORE_ERRORS, translate
from cloudmig.errors import DestinationRefused, DestinationUnavailable

__all__ = ["LocalFiles", "create_durably"]

_UNNAMED_UNSUPPORTED = {errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL}
_LINKS_UNSUPPORTED = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS}


T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_HINT = "is its disk mounted?"
#: That write. They wait for the disk most of the time.
_THREADS = 16


class LocalFiles:
    """The files below one folder, written by threads of their own.

    A disk that is not mounted leaves an empty folder under its name. What is written there fills
    another disk, and is hidden when the right one comes back: no call does anything there.
    """

    def __init__(self, root: Path, *, is_used: bool) -> None:
        """`is_used` says that the folder must not be empty: something was stored there."""
        self._root = root
        #: Of the folder that was there first. Mounted again, a disk may have another device number.
        self._inode = None if is_used else root.stat().st_ino
        self._threads = ThreadPoolExecutor(_THREADS, "write files")

    async def create(self, key: str, body: StagedBody) -> str | None:
        """Write the file of a key; return its ETag, or None when the key is taken."""
        return await self._in_thread("write", self._create, key, body)

    async def see_root(self) -> None:
        """Raise `DestinationUnavailable` where the folder is gone, or is not the one it was."""
        await self._in_thread("look", self._see_root)

    def close(self) -> None:
        """Drop the threads. Nothing is written any more."""
        self._threads.shutdown(wait=False)

    async def _in_thread(self, doing: str, call: Callable[[Unpack[Ts]], T], *given: *Ts) -> T:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, call, *given)
        except OBSTORE_ERRORS as error:
            raise translate(error, doing=doing) from error

    def _create(self, key: str, body: StagedBody) -> str | None:
        self._see_root()
        with body_pieces(body) as pieces:
            return create_durably(self._root / key, pieces)

    def _see_root(self) -> None:
        try:
            inode = os.stat(self._root).st_ino  # noqa: PTH116 - pathlib costs a quarter of a file
        except FileNotFoundError as error:
            raise DestinationUnavailable("its folder is gone", hint=_HINT) from error
        if self._inode is None:
            if not os.listdir(self._root):  # noqa: PTH208
                raise DestinationUnavailable(
                    "its folder is empty, and copies were there", hint=_HINT
                )
            self._inode = inode
        if inode != self._inode:
            raise DestinationUnavailable("another folder has its name now", hint=_HINT)


# Names are joined and looked at as text here: pathlib took a quarter of what a file costs.
def create_durably(path: Path, pieces: Iterable[bytes | bytearray | memoryview]) -> str | None:
    """Write a new file and return its ETag; return None and write nothing when the path is taken.

    Raises OSError, and `DestinationRefused` where the file system cannot do that.

    The ETag is the one obstore gives a local file, whom to ask costs as much CPU as writing a
    quarter of a megabyte; a test holds the two equal.
    """
    folder_path, name = os.path.split(path)
    folder = _open_folder(folder_path)
    try:
        etag = None if _is_taken(name, folder) else _create(name, folder, pieces)
        # A taken name, too: whoever gave it may have died, or failed, before it was on the disk.
        os.fsync(folder)
    finally:
        os.close(folder)
    return etag


def _create(name: str, folder: int, pieces: Iterable[bytes | bytearray | memoryview]) -> str | None:
    descriptor, temporary = _open_temporary(folder)
    try:
        write_through(descriptor, pieces)
        written = os.fstat(descriptor)
        source = f"/proc/self/fd/{descriptor}" if temporary is None else temporary
        # Only with a dir_fd does Python ask linkat(2), which follows the /proc link.
        os.link(source, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=True)
    except FileExistsError:
        return None
    except OSError as error:
        if error.errno not in _LINKS_UNSUPPORTED:
            raise
        raise DestinationRefused(
            "its file system gives no file a second name, or this user may not do so",
            hint="use one with hard links, such as ext4, XFS or NFS; FAT and exFAT have none",
        ) from error
    finally:
        os.close(descriptor)
        if temporary is not None:
            os.unlink(temporary, dir_fd=folder)
    return f'"{written.st_ino:x}-{written.st_mtime_ns // 1000:x}-{written.st_size:x}"'


def _is_taken(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _open_temporary(folder: int) -> tuple[int, str | None]:
    """Return a descriptor, and a name where the file system has no unnamed files."""
    try:
        return os.open(".", os.O_TMPFILE | os.O_WRONLY, 0o644, dir_fd=folder), None
    except OSError as error:
        if error.errno not in _UNNAMED_UNSUPPORTED:
            raise
    # object_store does not list names that end in # and a number.
    name = f"cloudmig#{secrets.randbits(62)}"
    return os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644, dir_fd=folder), name


def _open_folder(path: str) -> int:
    """Return a descriptor of the folder, made durably where it is missing."""
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        _make_folders(Path(path))
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY)


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
