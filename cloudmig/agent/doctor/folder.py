"""A directory source: its folder, its listing, and room for its index."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from cloudmig.agent.doctor.findings import Finding, ok, problem, warning
from cloudmig.agent.doctor.reaching import OWNER_HINT, nearest_folder
from cloudmig.bootstrap.directory_source import index_path, listing_of
from cloudmig.config import Configuration, DirectorySettings
from cloudmig.config.quantities import bytes_text
from cloudmig.errors import CloudmigError
from cloudmig.sources.directory.listing import columns_of

__all__ = ["check_folder"]

#: Of the index, for one file: its path, its UIDs, and what finds them again. Measured: 600.
_INDEX_BYTES_A_FILE = 1000
#: Files whose index shall fit at least: nobody buys a migration for fewer.
_FILES_MIN = 1_000_000


def check_folder(config: Configuration, name: str) -> list[Finding]:
    """See what would keep an inventory of a folder from working."""
    settings = config.sources[name]
    assert isinstance(settings, DirectorySettings)
    subject = f"source {name}"
    found = _folder(subject, settings.directory)
    if settings.listing is not None:
        found.append(_listing(subject, settings))
    found.append(_index(subject, index_path(config, name)))
    return found


def _folder(subject: str, folder: Path) -> list[Finding]:
    hint = "Mount its disk, correct sources.*.url, or let this user read it."
    try:
        with os.scandir(folder) as entries:
            first = next(entries, None)
    except OSError as error:
        message = f"the folder cannot be listed: {error.strerror}"
        return [problem("folder", subject, message, hint)]
    if first is None:
        return [problem("folder", subject, "the folder is empty", hint)]
    if not folder.is_absolute():
        message = "the url names no absolute path"
        return [problem("folder", subject, message, "Write file:/// and the whole path.")]
    found = [ok("folder", subject, "the folder can be listed")]
    writable = os.access(folder, os.W_OK) and not os.statvfs(folder).f_flag & os.ST_RDONLY
    mode = stat.S_IMODE(folder.stat().st_mode)
    if writable and mode & stat.S_IWOTH:
        found.append(
            warning(
                "folder",
                subject,
                "anybody may change the folder",
                "Mount it read-only: a file that changes before the run is over counts as missing.",
            )
        )
    return found


def _listing(subject: str, settings: DirectorySettings) -> Finding:
    listing = listing_of(settings)
    assert listing is not None, "the caller looked"
    try:
        columns = columns_of(listing)
    except CloudmigError as error:
        return problem("listing", subject, str(error), f"{error.hint or 'See the listing'}.")
    return ok("listing", subject, f"the listing can be read; its columns: {', '.join(columns)}")


def _index(subject: str, path: Path) -> Finding:
    """Look at the disk that the index will lie on, and whether there is one."""
    try:
        is_there = path.exists()
        free = shutil.disk_usage(nearest_folder(path.parent)).free
    except OSError as error:
        message = f"its index cannot be looked at: {error.strerror}"
        return problem("index", subject, message, OWNER_HINT)
    if free < _INDEX_BYTES_A_FILE * _FILES_MIN and not is_there:
        return warning(
            "index",
            subject,
            f"{bytes_text(free)} are free for its index, room for"
            f" {free // _INDEX_BYTES_A_FILE:,} files",
            "Free some space, or set agent.state_dir to a larger disk.",
        )
    state = "is there" if is_there else "is made by `cloudmig inventory`"
    return ok("index", subject, f"its index {state}; {bytes_text(free)} are free")
