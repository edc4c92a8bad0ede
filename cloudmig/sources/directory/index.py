"""The index of a source directory: a SQLite file in the state folder, one row per file.

It makes the inventory resumable and the next one incremental: a file is read again only when its
size or its time has changed. It holds patient data (paths, names), as the catalog does.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from enum import IntFlag
from pathlib import Path
from typing import Any

from cloudmig.errors import CatalogError, ConfigError, SourceUnavailable
from cloudmig.model.files import FileKind
from cloudmig.sources.directory.walking import Entry

__all__ = ["OVERWRITTEN", "WITH_IMAGE", "FileIndex", "Mark", "answer_texts", "index_lock"]

_VERSION = 2
#: The kinds of files with an image in them. As a tuple prints itself, so SQL has a list.
WITH_IMAGE = (
    FileKind.INSTANCE.value, FileKind.DUPLICATE.value, FileKind.CONFLICT.value,
    FileKind.TORN.value, FileKind.UNUSABLE_UID.value,
)  # fmt: skip


class Mark(IntFlag):
    """What is worth knowing of a file beside its kind."""

    LISTED = 1  #: A row of the listing names it.
    NAMED = 2  #: A DICOMDIR names it.
    SHARED = 4  #: Its SOP Instance UID is that of a file of another study, too.


_SCHEMA = """
CREATE TABLE survey (
    survey_id INTEGER PRIMARY KEY, started TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    entries INTEGER, finished TEXT
);
CREATE TABLE study (
    study_id INTEGER PRIMARY KEY, study_instance_uid TEXT NOT NULL UNIQUE
);
CREATE TABLE answer (
    answer_id INTEGER PRIMARY KEY, study_id INTEGER NOT NULL REFERENCES study, sha256 BLOB NOT NULL,
    answer TEXT NOT NULL, UNIQUE (study_id, sha256)
);
CREATE TABLE file (
    file_id INTEGER PRIMARY KEY, path BLOB NOT NULL UNIQUE, size_bytes INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL, survey_id INTEGER NOT NULL, kind TEXT, study_id INTEGER,
    answer_id INTEGER, series_instance_uid TEXT, sop_instance_uid TEXT, sop_class_uid TEXT,
    transfer_syntax_uid TEXT, modality TEXT, dataset_sha256 TEXT, marks INTEGER NOT NULL DEFAULT 0,
    meta_differs TEXT NOT NULL DEFAULT '', trouble TEXT NOT NULL DEFAULT ''
);
CREATE INDEX file_unread ON file (file_id) WHERE kind IS NULL;
CREATE INDEX file_kind ON file (kind);
CREATE INDEX file_instance ON file (sop_instance_uid) WHERE sop_instance_uid IS NOT NULL;
CREATE INDEX file_study ON file (study_id) WHERE study_id IS NOT NULL;
CREATE INDEX file_answer ON file (answer_id) WHERE answer_id IS NOT NULL;
CREATE TABLE claim (
    claim_id INTEGER PRIMARY KEY, origin TEXT NOT NULL, told_by BLOB NOT NULL,
    line INTEGER NOT NULL, path BLOB NOT NULL,
    study_instance_uid TEXT NOT NULL, series_instance_uid TEXT NOT NULL,
    sop_instance_uid TEXT NOT NULL, told TEXT NOT NULL, state TEXT, fields TEXT NOT NULL DEFAULT '',
    file_id INTEGER
);
CREATE INDEX claim_path ON claim (path);
CREATE INDEX claim_instance ON claim (sop_instance_uid);
CREATE INDEX claim_study ON claim (study_instance_uid) WHERE state = 'missing';
"""

#: What no name on a disk has, and separates the path of an overwritten image from its UIDs.
OVERWRITTEN = b"\0"
_IMAGE_COLUMNS = (
    "study_id, answer_id, series_instance_uid, sop_instance_uid, sop_class_uid,"
    " transfer_syntax_uid, modality"
)
#: Never cached: what was out of reach may be within it now.
_READ_AGAIN = ("denied", "too_costly", "gone", "not_named")
_NEVER_READ = ("dicomdir", "empty", "folder", "gone", "special", "symlink")
_UPSERT = f"""
INSERT INTO file (path, size_bytes, mtime_ns, survey_id, kind) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (path) DO UPDATE SET
    survey_id = excluded.survey_id,
    kind = CASE WHEN excluded.kind IS NOT NULL THEN excluded.kind
                WHEN size_bytes = excluded.size_bytes AND mtime_ns = excluded.mtime_ns
                     AND trouble = '' AND kind NOT IN {_READ_AGAIN} THEN kind END,
    dataset_sha256 = CASE WHEN size_bytes = excluded.size_bytes AND mtime_ns = excluded.mtime_ns
                               AND trouble = '' THEN dataset_sha256 END,
    size_bytes = excluded.size_bytes, mtime_ns = excluded.mtime_ns
"""  # noqa: S608 - a constant of this module


@contextlib.contextmanager
def index_lock(path: Path, *, shared: bool) -> Iterator[None]:
    """Hold the index: alone for an inventory, together for runs. Raises ConfigError if taken."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with path.with_suffix(".lock").open("w") as file:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            other = "an inventory of it is running" if shared else "another command is using it"
            raise ConfigError(
                f"the index of this source cannot be used: {other}",
                hint="wait for it to end, or stop it",
            ) from error
        yield


class FileIndex:
    """One connection, used by one thread at a time."""

    def __init__(self, path: Path, *, reading: bool = False) -> None:
        """Open or make the file. For reading it must be there, and its last survey finished."""
        self.path = path
        self._guard = threading.Lock()
        if reading and not path.exists():
            raise ConfigError(
                "a directory source has no index on this host", hint="run `cloudmig inventory` here"
            )
        if not reading:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            self._connection = sqlite3.connect(
                path, isolation_level=None, check_same_thread=False, timeout=30
            )
            os.chmod(path, 0o600)  # noqa: PTH101 - paths may hold names
            self._prepare()
        except sqlite3.Error as error:
            raise CatalogError(
                f"the index of a directory source cannot be opened ({_name(error)})",
                hint=f"remove {path}: the next `cloudmig inventory` makes it again",
            ) from error
        if reading and self.last_finished() is None:
            self.close()
            raise ConfigError(
                "the inventory of a directory source is unfinished",
                hint="run `cloudmig inventory`: it goes on where it stopped",
            )

    def _prepare(self) -> None:
        run = self._connection.execute
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = NORMAL")
        run("PRAGMA cache_size = -32000")
        run("PRAGMA temp_store = FILE")
        (version,) = run("PRAGMA user_version").fetchone()
        if version == 0:
            self._connection.executescript(
                f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;"
            )
        elif version != _VERSION:
            raise CatalogError(
                "the index of a directory source is of another version",
                hint=f"remove {self.path}: the next `cloudmig inventory` makes it again",
            )

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    # ------------------------------------------------------------------------------ asking

    def rows(self, query: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """Yield rows, a page of them in memory."""
        cursor = self._connection.execute(query, values)
        while page := cursor.fetchmany(1000):
            yield from page

    def one(self, query: str, values: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        """Return the first row, or None."""
        with self._guard:
            found: tuple[Any, ...] | None = self._connection.execute(query, values).fetchone()
            return found

    def all(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return every row: of one study, say."""
        with self._guard:
            return self._connection.execute(query, values).fetchall()

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Give one transaction."""
        with self._guard, translated():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise

    # ------------------------------------------------------------------------------ survey

    def last_finished(self) -> int | None:
        """Return the number of the last survey, or None when there is none or it is unfinished."""
        row = self.one("SELECT survey_id, finished FROM survey ORDER BY survey_id DESC LIMIT 1")
        return None if row is None or row[1] is None else int(row[0])

    def begin_survey(self) -> tuple[int, bool]:
        """Return the number of the survey, and whether its walk is done already."""
        row = self.one(
            "SELECT survey_id, entries, finished FROM survey ORDER BY survey_id DESC LIMIT 1"
        )
        if row is not None and row[2] is None and row[1] is not None:
            return int(row[0]), True
        with self.writing() as connection:
            new = connection.execute("INSERT INTO survey DEFAULT VALUES").lastrowid
            assert new is not None
            return new, False

    def note_entries(self, survey_id: int, entries: Iterable[Entry]) -> None:
        """Write down what the walk saw. What has not changed keeps what was read from it."""
        with self.writing() as connection:
            connection.executemany(
                _UPSERT,
                (
                    (each.path, each.size_bytes, each.mtime_ns, survey_id,
                     each.kind.value if each.kind else None)
                    for each in entries
                ),
            )  # fmt: skip

    def end_walk(self, survey_id: int, entries: int) -> None:
        """The walk is over: what it did not see is gone. It stays known, and expected."""
        with self.writing() as connection:
            connection.execute(
                "UPDATE file SET kind = 'gone' WHERE survey_id < ? AND kind IS NOT 'gone'",
                (survey_id,),
            )
            connection.execute(
                "UPDATE survey SET entries = ? WHERE survey_id = ?", (entries, survey_id)
            )

    def finish_survey(self, survey_id: int) -> None:
        """Everything is read and judged."""
        with self.writing() as connection:
            connection.execute(
                "UPDATE survey SET finished = CURRENT_TIMESTAMP WHERE survey_id = ?",
                (survey_id,),
            )

    def leave_unread(self, *, but_directories: bool) -> None:
        """Leave files unread that no DICOMDIR names; or, at first, that are not called so."""
        # Also by a record whose UIDs are of no use: it names the file.
        is_named = "path IN (SELECT path FROM claim WHERE state IS NULL OR state = 'bad')"
        if but_directories:
            others = "kind IS NULL AND upper(CAST(path AS TEXT)) NOT GLOB '*DICOMDIR*'"
        else:
            # What an earlier inventory read under another setting is not wanted any more, either.
            others = f"(kind IS NULL OR kind NOT IN {_NEVER_READ}) AND NOT {is_named}"
        with self.writing() as connection:
            connection.execute(
                f"UPDATE file SET kind = NULL WHERE kind = 'not_named' AND {is_named}"  # noqa: S608
            )
            connection.execute(f"UPDATE file SET kind = 'not_named' WHERE {others}")  # noqa: S608

    def unread(self, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Return files whose header is to be read."""
        return self.all(
            "SELECT file_id, path FROM file WHERE kind IS NULL AND file_id > ?"
            " ORDER BY file_id LIMIT ?",
            (after, limit),
        )

    def note_headings(self, answers: Iterable[tuple[int, list[Any]]]) -> None:
        """Write down what the workers read: `header_worker.answer_for` of each file."""
        with self.writing() as connection:
            for file_id, answer in answers:
                if not answer:
                    # Vanished since the walk: on no disk, so in no equation. Was it known, it is
                    # expected still.
                    connection.execute(
                        "UPDATE file SET kind = 'gone' WHERE file_id = ?", (file_id,)
                    )
                    connection.execute(
                        "UPDATE survey SET entries = entries - 1 WHERE finished IS NULL"
                    )
                    continue
                _note_heading(connection, file_id, answer)

    def note_trouble(self, file_id: int, trouble: str) -> None:
        """Note that a file was not as the index has it; the next inventory reads it again."""
        with self.writing() as connection:
            connection.execute("UPDATE file SET trouble = ? WHERE file_id = ?", (trouble, file_id))


def _note_heading(connection: sqlite3.Connection, file_id: int, answer: list[Any]) -> None:
    kind, size_bytes, mtime_ns, syntax, sop_class, sop, study, series, modality, differs, told = (
        answer
    )
    connection.execute(
        "UPDATE file SET kind = ?, size_bytes = iif(? < 0, size_bytes, ?),"
        " mtime_ns = iif(? < 0, mtime_ns, ?), meta_differs = ?, dataset_sha256 = NULL,"
        " trouble = '' WHERE file_id = ?",
        (kind, size_bytes, size_bytes, mtime_ns, mtime_ns, differs, file_id),
    )
    if kind not in {FileKind.INSTANCE.value, FileKind.TORN.value, FileKind.UNUSABLE_UID.value}:
        return  # An image that lay here before stays expected.
    study_id = _number(connection, "study", "study_id", {"study_instance_uid": study})
    digest = hashlib.sha256(told.encode()).digest()[:16]
    key = {"study_id": study_id, "sha256": digest}
    answer_id = _number(connection, "answer", "answer_id", key, {"answer": told})
    _keep_overwritten(connection, file_id, (study_id, series, sop))
    connection.execute(
        "UPDATE file SET study_id = ?, answer_id = ?, series_instance_uid = ?,"
        " sop_instance_uid = ?, sop_class_uid = ?, transfer_syntax_uid = ?, modality = ?"
        " WHERE file_id = ?",
        (study_id, answer_id, series, sop, sop_class, syntax, modality, file_id),
    )


def _keep_overwritten(
    connection: sqlite3.Connection, file_id: int, found: tuple[int, str, str]
) -> None:
    """Keep the image that a file held before, as one that is gone, where another is found now.

    It gets a path that no disk has: the file's, `OVERWRITTEN`, and what it was.
    """
    path, *before = connection.execute(
        "SELECT path, study_id, series_instance_uid, sop_instance_uid FROM file WHERE file_id = ?",
        (file_id,),
    ).fetchone()

    def kept(image: Sequence[Any]) -> bytes:
        return bytes(path + OVERWRITTEN + " ".join(map(str, image)).encode())

    connection.execute("DELETE FROM file WHERE path = ?", (kept(found),))  # It is back.
    if before[0] is None or tuple(before) == found:
        return
    connection.execute(
        f"INSERT INTO file (path, kind, size_bytes, mtime_ns, survey_id, {_IMAGE_COLUMNS})"  # noqa: S608
        f" SELECT ?, 'gone', 0, mtime_ns, survey_id, {_IMAGE_COLUMNS} FROM file WHERE file_id = ?",
        (kept(before), file_id),
    )


def _number(
    connection: sqlite3.Connection,
    table: str,
    column: str,
    key: dict[str, Any],
    more: dict[str, Any] | None = None,
) -> int:
    where = " AND ".join(f"{name} = ?" for name in key)
    row = connection.execute(
        f"SELECT {column} FROM {table} WHERE {where}",  # noqa: S608 - names of this module
        list(key.values()),
    ).fetchone()
    if row is not None:
        return int(row[0])
    values = {**key, **(more or {})}
    names, marks = ", ".join(values), ", ".join("?" * len(values))
    new = connection.execute(
        f"INSERT INTO {table} ({names}) VALUES ({marks})",  # noqa: S608
        list(values.values()),
    ).lastrowid
    assert new is not None
    return new


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Raise what SQLite says as an error of ours, without the values it may quote."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise SourceUnavailable(
            f"the index of a directory source cannot be written ({_name(error)})",
            hint="look at the disk of agent.state_dir: space, permissions",
        ) from error


def _name(error: sqlite3.Error) -> str:
    return getattr(error, "sqlite_errorname", type(error).__name__)


def answer_texts(told: str) -> dict[str, str]:
    """Return keyword -> text of an answer of the index."""
    texts: dict[str, str] = json.loads(told) if told else {}
    return texts
