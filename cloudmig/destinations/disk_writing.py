"""Write a new file whose bytes are on the disk when the call returns.

Where a file system lies on a block device, the bytes go there from a buffer of ours, past the page
cache (open(2), O_DIRECT): nobody reads them soon, the cache keeps what others need, and a file
costs half the CPU. Whoever verifies them later reads what the disk holds.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import threading
from collections.abc import Iterable

__all__ = ["write_through"]

#: What direct writes are multiples of. A device with larger blocks refuses them, and gets others.
_BLOCK_BYTES = 4096
_BUFFER_BYTES = 1 << 20


class _Buffer(threading.local):
    """A buffer for each thread that writes, where a disk can fetch from it: at a page's border."""

    def __init__(self) -> None:
        self.bytes = memoryview(mmap.mmap(-1, _BUFFER_BYTES))


_buffer = _Buffer()


def write_through(descriptor: int, pieces: Iterable[bytes | bytearray | memoryview]) -> None:
    """Write all pieces to a file that is empty, and wait until the disk has them."""
    if _goes_past_cache(descriptor):
        _write_blocks(descriptor, pieces)
    else:
        for piece in pieces:
            _write_all(descriptor, memoryview(piece))
    os.fsync(descriptor)


def _goes_past_cache(descriptor: int) -> bool:
    """Let writes pass the page cache, if that is what they can do here."""
    if os.major(os.fstat(descriptor).st_dev) == 0:
        return False  # In memory, behind a network, laid over another: no device of its own.
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, _flags(descriptor) | os.O_DIRECT)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return False
    return True


def _write_blocks(descriptor: int, pieces: Iterable[bytes | bytearray | memoryview]) -> None:
    """Write whole blocks, and cut off what fills the last one."""
    buffer, filled, written = _buffer.bytes, 0, 0
    for piece in pieces:
        rest = memoryview(piece)
        while rest:
            taken = min(len(rest), _BUFFER_BYTES - filled)
            buffer[filled : filled + taken] = rest[:taken]
            rest, filled = rest[taken:], filled + taken
            if filled == _BUFFER_BYTES:
                _write_all(descriptor, buffer)
                written, filled = written + filled, 0
    if not filled:
        return
    whole = -(-filled // _BLOCK_BYTES) * _BLOCK_BYTES
    buffer[filled:whole] = bytes(whole - filled)
    _write_all(descriptor, buffer[:whole])
    os.ftruncate(descriptor, written + filled)


def _write_all(descriptor: int, rest: memoryview) -> None:
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except OSError as error:
            flags = _flags(descriptor)
            if error.errno != errno.EINVAL or not flags & os.O_DIRECT:
                raise
            # Larger blocks than ours, or half of one was written: the cache takes any size.
            fcntl.fcntl(descriptor, fcntl.F_SETFL, flags & ~os.O_DIRECT)


def _flags(descriptor: int) -> int:
    return fcntl.fcntl(descriptor, fcntl.F_GETFL)
