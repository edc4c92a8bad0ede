"""Several files of one SOP Instance UID: which is the instance, a duplicate, other content.

The first by its path is the instance. One with the same data set bytes is a duplicate of it, one
with other bytes is fed as well, so that the pipeline compares the two and decides (design 5).
"""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path
from typing import Any

from cloudmig.dicom.digest import StreamDigests
from cloudmig.model.files import FileKind
from cloudmig.sources.directory.index import FileIndex, Mark
from cloudmig.sources.directory.opening import modified_ns, open_beneath

__all__ = ["judge_contents"]

_PIECE_BYTES = 4 << 20
_GROUPS_A_COMMIT = 500
_FIRST, _SAME, _OTHER, _TORN = (
    FileKind.INSTANCE.value, FileKind.DUPLICATE.value, FileKind.CONFLICT.value, FileKind.TORN.value,
)  # fmt: skip


def judge_contents(index: FileIndex, root: Path) -> None:
    """Sort the files of every SOP Instance UID that more than one file has. Safe to repeat."""
    with index.writing() as connection:
        connection.execute("UPDATE file SET kind = ? WHERE kind IN (?, ?)", (_FIRST, _SAME, _OTHER))
        connection.execute("UPDATE file SET marks = 0 WHERE marks <> 0")
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    after = ""
    try:
        while groups := index.all(
            "SELECT sop_instance_uid FROM file WHERE sop_instance_uid > ?"
            " GROUP BY sop_instance_uid HAVING count(*) > 1 ORDER BY sop_instance_uid LIMIT ?",
            (after, _GROUPS_A_COMMIT),
        ):
            decided: list[tuple[str, str | None, int, int]] = []
            for (sop_instance_uid,) in groups:
                decided += _judge(index, folder, sop_instance_uid)
            with index.writing() as connection:
                connection.executemany(
                    "UPDATE file SET kind = ?, dataset_sha256 = ?, marks = marks | ?"
                    " WHERE file_id = ?",
                    decided,
                )
            after = groups[-1][0]
    finally:
        os.close(folder)


def _judge(
    index: FileIndex, folder: int, sop_instance_uid: str
) -> list[tuple[str, str | None, int, int]]:
    """Return kind, digest, marks and number of each file of one SOP Instance UID."""
    studies: dict[int, list[list[Any]]] = defaultdict(list)
    torn: list[int] = []
    for study_id, kind, *file in index.all(
        "SELECT study_id, kind, file_id, path, size_bytes, mtime_ns, dataset_sha256 FROM file"
        " WHERE sop_instance_uid = ? AND kind IN (?, ?) ORDER BY path",
        (sop_instance_uid, _FIRST, _TORN),
    ):
        files = studies[study_id]  # A study is one of them even where all it has is torn.
        if kind == _TORN:
            torn.append(file[0])
        else:
            files.append(file)
    shared = Mark.SHARED if len(studies) > 1 else 0
    # What is torn stays that, and is nobody's duplicate or first content.
    decided: list[tuple[str, str | None, int, int]] = [
        (_TORN, None, int(shared), file_id) for file_id in torn
    ]
    for files in studies.values():
        seen: set[str] = set()
        for file_id, path, size_bytes, mtime_ns, known in files:
            digest = known
            if digest is None and len(files) > 1:
                digest = _digest(folder, path, size_bytes, mtime_ns) or f"unread {file_id}"
            kind = _FIRST if not seen else _SAME if digest in seen else _OTHER
            seen.add(digest or "")
            kept = digest if digest and not digest.startswith("unread") else None
            decided.append((kind, kept, int(shared), file_id))
    return decided


def _digest(folder: int, path: bytes, size_bytes: int, mtime_ns: int) -> str:
    """Return the data set digest of a file; empty where it is not as it was when it was read."""
    try:
        file, found = open_beneath(folder, path)
    except OSError:
        return ""
    try:
        if (found.st_size, modified_ns(found)) != (size_bytes, mtime_ns):
            return ""
        digests = StreamDigests()
        while piece := os.read(file, _PIECE_BYTES):
            digests.update(piece)
        return digests.result().dataset_sha256
    except OSError:
        return ""
    finally:
        os.close(file)
