"""The child that reads headers: `python -m cloudmig.sources.directory.header_worker ROOT ...`.

A path a line on standard input, as a JSON string of Latin-1 for the bytes of its name; an answer a
line on standard output, in the same order. Each file has its time, the process its memory: what
kills it is listed by the parent, which knows by the order of the answers which file that was.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from types import FrameType

from cloudmig.model.files import FileKind
from cloudmig.sources.directory.heading import Heading, read_heading
from cloudmig.sources.directory.opening import NotAFileError, modified_ns, open_beneath

__all__ = ["READY", "answer_for"]

READY = b"ready\n"


class _OutOfTimeError(Exception):
    """One header takes too long."""


def _out_of_time(_: int, __: FrameType | None) -> None:
    raise _OutOfTimeError


def answer_for(root: int, path: bytes, *, time_max_s: float, header_bytes_max: int) -> list[object]:
    """Return what the parent writes into the index about one file."""
    size_bytes, mtime_ns = -1, -1
    heading = Heading(FileKind.DENIED)
    try:
        file, found = open_beneath(root, path)
        try:
            size_bytes, mtime_ns = found.st_size, modified_ns(found)
            signal.setitimer(signal.ITIMER_REAL, time_max_s)
            try:
                heading = read_heading(file, size_bytes, header_bytes_max=header_bytes_max)
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        finally:
            os.close(file)
    except FileNotFoundError:
        return []  # Gone since the walk.
    except NotAFileError:
        heading = Heading(FileKind.SPECIAL)
    except OSError:
        heading = Heading(FileKind.DENIED)
    except (_OutOfTimeError, MemoryError, RecursionError):
        heading = Heading(FileKind.TOO_COSTLY)
    return [
        heading.kind.value, size_bytes, mtime_ns, heading.transfer_syntax_uid,
        heading.sop_class_uid, heading.sop_instance_uid, heading.study_instance_uid,
        heading.series_instance_uid, heading.modality, heading.meta_differs,
        json.dumps(heading.answer, sort_keys=True) if heading.answer else "",
    ]  # fmt: skip


def _main() -> None:
    root = os.open(os.fsencode(sys.argv[1]), os.O_RDONLY | os.O_DIRECTORY)
    memory_bytes_max, time_max_s, header_bytes_max = (
        int(sys.argv[2]),
        float(sys.argv[3]),
        sys.argv[4],
    )
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes_max, memory_bytes_max))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, _out_of_time)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle.
    out = sys.stdout.buffer
    out.write(READY)
    out.flush()
    for line in sys.stdin.buffer:
        answer = answer_for(
            root,
            json.loads(line).encode("latin-1"),
            time_max_s=time_max_s,
            header_bytes_max=int(header_bytes_max),
        )
        out.write(json.dumps(answer).encode() + b"\n")
        out.flush()


if __name__ == "__main__":
    _main()
