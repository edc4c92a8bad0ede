"""The child that reads and hashes files: `python -m cloudmig.sources.directory.read_worker ...`.

Arguments: the folder, a descriptor of memory shared with the parent, its size. A request a line on
standard input, an answer a line on standard output, in the same order. The file goes to where the
request says, our prefix in front, and nobody else writes there until the answer is out.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import signal
import sys
from dataclasses import astuple
from typing import Any

from cloudmig.dicom.header import HeaderUnreadable, read_identity
from cloudmig.sources.directory.as_indexed import (
    FileFacts,
    NotAsIndexedError,
    opened_as_indexed,
    trouble_of,
)

__all__ = ["READY", "request_line"]

READY = b"ready\n"


def request_line(facts: FileFacts, prefix: bytes, offset: int) -> bytes:
    """Return what asks for one file; bytes travel as the Latin-1 text of the same numbers."""
    request = [
        facts.path.decode("latin-1"), facts.size_bytes, facts.mtime_ns, facts.transfer_syntax_uid,
        prefix.decode("latin-1"), offset,
    ]  # fmt: skip
    return json.dumps(request).encode() + b"\n"


def _answer(root_path: bytes, memory: memoryview, line: bytes) -> list[Any]:
    """Read one file; return its size, digests and UIDs, or the trouble with it alone."""
    path, size_bytes, mtime_ns, transfer_syntax_uid, prefix, offset = json.loads(line)
    facts = FileFacts(path.encode("latin-1"), size_bytes, mtime_ns, transfer_syntax_uid)
    try:
        # Anew for each file: the disk may have been mounted again.
        root = os.open(root_path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            size_bytes = _read(root, facts, prefix.encode("latin-1"), memory[offset:])
        finally:
            os.close(root)
    except (NotAsIndexedError, OSError) as error:
        return [trouble_of(error)]
    whole = memory[offset : offset + size_bytes]
    dataset = whole[len(prefix) :]
    try:
        identity = list(astuple(read_identity(dataset, transfer_syntax_uid)))
    except HeaderUnreadable:
        identity = []
    dataset_sha256 = hashlib.sha256(dataset).hexdigest()
    return [size_bytes, hashlib.sha256(whole).hexdigest(), dataset_sha256, identity]


def _read(root: int, facts: FileFacts, prefix: bytes, room: memoryview) -> int:
    """Put our prefix and the data set of a file into the room; return how many bytes that were."""
    room[: len(prefix)] = prefix
    with opened_as_indexed(root, facts) as (descriptor, dataset_offset):
        size_bytes = len(prefix) + facts.size_bytes - dataset_offset
        done = len(prefix)
        while done < size_bytes:
            at = dataset_offset + done - len(prefix)
            read = os.preadv(descriptor, [room[done:size_bytes]], at)
            if not read:
                raise NotAsIndexedError("changed")
            done += read
    return size_bytes


def _main() -> None:
    root_path, descriptor, size_bytes = os.fsencode(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle.
    memory = memoryview(mmap.mmap(descriptor, int(size_bytes)))
    out = sys.stdout.buffer
    out.write(READY)
    out.flush()
    for line in sys.stdin.buffer:
        out.write(json.dumps(_answer(root_path, memory, line)).encode() + b"\n")
        out.flush()


if __name__ == "__main__":
    _main()
