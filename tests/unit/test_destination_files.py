"""A local directory as a destination: whole files or none, whatever happens."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from obstore.store import LocalStore

from cloudmig.agent.doctor import Verdict
from cloudmig.agent.doctor.store import _check_directory
from cloudmig.destinations import disk_writing, local_files
from cloudmig.destinations.bodies import PartPlan, StagedBody
from cloudmig.destinations.local_files import LocalFiles, create_durably
from cloudmig.destinations.profiles import profile_named, profile_names
from cloudmig.errors import ConfigError, DestinationRefused, DestinationUnavailable

KILLED_WRITER = """
import os, signal, sys
from pathlib import Path
from cloudmig.destinations.local_files import create_durably

def pieces():
    yield b"half of it"
    os.kill(os.getpid(), signal.SIGKILL)

create_durably(Path(sys.argv[1]), pieces())
"""


def everything_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.fixture(params=["unnamed", "named"])
def temporary(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Some file systems have no unnamed files."""
    if request.param == "named":
        real = os.open

        def without_tmpfile(path: object, flags: int, *rest: int, **named: int) -> int:
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(errno.EOPNOTSUPP, "not here")
            return real(path, flags, *rest, **named)  # type: ignore[arg-type]

        monkeypatch.setattr(local_files.os, "open", without_tmpfile)
    return str(request.param)


@pytest.mark.usefixtures("temporary")
def test_a_file_is_created_once(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "1.2.3~r1"

    assert create_durably(path, [b"one", b"", memoryview(b" two")])
    assert not create_durably(path, [b"other"])

    assert path.read_bytes() == b"one two"
    assert everything_in(tmp_path) == ["1.2.3~r1"]


@pytest.mark.usefixtures("temporary")
def test_a_failed_writer_leaves_nothing(tmp_path: Path) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"half of it"
        raise OSError(errno.EIO, "the spool's disk is broken")

    with pytest.raises(OSError, match="broken"):
        create_durably(tmp_path / "key", pieces())

    assert everything_in(tmp_path) == []


def test_a_file_taken_while_writing_is_kept(tmp_path: Path) -> None:
    def pieces() -> Iterator[bytes]:
        (tmp_path / "key").write_bytes(b"quicker")
        yield b"slower"

    assert not create_durably(tmp_path / "key", pieces())

    assert (tmp_path / "key").read_bytes() == b"quicker"
    assert everything_in(tmp_path) == ["key"]


def test_a_killed_writer_leaves_no_torn_file(tmp_path: Path) -> None:
    writer = subprocess.run([sys.executable, "-c", KILLED_WRITER, tmp_path / "key"], check=False)

    assert writer.returncode == -signal.SIGKILL
    assert everything_in(tmp_path) == []


def test_bytes_reach_the_disk_before_the_key_and_the_key_before_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, link = os.fsync, os.link

    def noting_fsync(descriptor: int) -> None:
        steps.append("folder" if Path(f"/proc/self/fd/{descriptor}").is_dir() else "file")
        fsync(descriptor)

    def noting_link(*args: object, **kwargs: object) -> None:
        steps.append("link")
        link(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(os, "link", noting_link)
    create_durably(tmp_path / "folder" / "key", [b"bytes"])

    assert steps == ["folder", "file", "link", "folder"]


def test_a_name_that_is_taken_is_on_the_disk_before_anybody_relies_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was given a moment ago, by a writer that failed or died before it had said so."""
    synced: list[int] = []
    fsync = os.fsync

    def failing_once(descriptor: int) -> None:
        if (tmp_path / "key").exists():
            synced.append(os.fstat(descriptor).st_ino)
            if len(synced) == 1:
                raise OSError(errno.EIO, "the disk is in trouble")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", failing_once)
    with pytest.raises(OSError, match="trouble"):
        create_durably(tmp_path / "key", [b"bytes"])

    assert create_durably(tmp_path / "key", [b"bytes"]) is None

    assert synced == [tmp_path.stat().st_ino] * 2


@pytest.mark.parametrize("size_bytes", [1, 8 << 20, (8 << 20) + 1, 2 << 30, 5 << 40])
def test_parts_cover_the_object_and_are_never_too_many(size_bytes: int) -> None:
    ranges = list(PartPlan.of(size_bytes).ranges())

    assert len(ranges) <= 10_000
    assert sum(length for _, length in ranges) == size_bytes
    assert all(a + b == c for (a, b), (c, _) in itertools.pairwise(ranges))
    assert all(length >= 5 << 20 for _, length in ranges[:-1]), "S3 takes no smaller part"


def test_a_user_corrects_a_profile_by_configuration() -> None:
    assert not profile_named("ceph").multipart_put_if_absent
    assert profile_named("ceph", {"multipart_put_if_absent": True}).multipart_put_if_absent


def test_an_unknown_profile_or_feature_is_named_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="awz") as caught:
        profile_named("awz")
    assert all(name in caught.value.hint for name in profile_names())

    with pytest.raises(ConfigError, match="put_if_absnt"):
        profile_named("aws", {"put_if_absnt": True})


def test_our_etag_of_a_local_file_is_the_one_that_obstore_gives(tmp_path: Path) -> None:
    """Receipts have ours, a later look has obstore's: a difference would be taken for a change."""
    for number in range(20):
        etag = create_durably(tmp_path / f"{number}", [b"x" * number])

        assert etag == LocalStore(tmp_path).head(f"{number}")["e_tag"]


@pytest.fixture(params=["past the cache", "larger blocks", "cached"])
def disk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Some devices have larger blocks than ours; some file systems have no device."""
    match request.param:
        case "larger blocks":
            real = os.write

            def refusing(descriptor: int, rest: memoryview) -> int:
                if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT:
                    raise OSError(errno.EINVAL, "no multiple of a block")
                return real(descriptor, rest)

            monkeypatch.setattr(disk_writing.os, "write", refusing)
        case "cached":
            monkeypatch.setattr(disk_writing.os, "major", lambda _: 0)
    return str(request.param)


@pytest.mark.usefixtures("disk")
@pytest.mark.parametrize("size_bytes", [0, 1, 4096, 12_345, (1 << 20) - 1, 1 << 20, 2_500_001])
def test_every_byte_is_written_and_no_other(tmp_path: Path, size_bytes: int) -> None:
    content = random.Random(size_bytes).randbytes(size_bytes)
    cut = size_bytes // 3
    pieces = [bytearray(content[:cut]), memoryview(content)[cut:], b""]

    assert create_durably(tmp_path / "key", pieces)

    assert (tmp_path / "key").read_bytes() == content


def test_what_half_a_write_left_is_written_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = random.Random(1).randbytes(10_000)
    real = os.write
    monkeypatch.setattr(
        disk_writing.os, "write", lambda descriptor, rest: real(descriptor, rest[:4096])
    )

    assert create_durably(tmp_path / "key", [content])

    assert (tmp_path / "key").read_bytes() == content


def test_a_full_disk_is_told_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int, _rest: memoryview) -> int:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(disk_writing.os, "write", full)

    with pytest.raises(OSError, match="no space"):
        create_durably(tmp_path / "key", [b"bytes"])

    assert everything_in(tmp_path) == []


@pytest.mark.usefixtures("temporary")
def test_a_file_system_without_hard_links_is_told_and_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_link(*_args: object, **_kwargs: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_link)

    with pytest.raises(DestinationRefused, match="second name") as caught:
        create_durably(tmp_path / "key", [b"bytes"])
    assert "hard links" in caught.value.hint
    finding = _check_directory("destination store", tmp_path)
    assert finding.verdict is Verdict.PROBLEM
    assert "hard links" in finding.hint
    assert everything_in(tmp_path) == []


async def test_nothing_is_written_where_a_disk_was_mounted_before(tmp_path: Path) -> None:
    root, away = tmp_path / "store", tmp_path / "away"
    root.mkdir()
    files = LocalFiles(root, is_used=False)
    assert await files.create("a/1", StagedBody.of_evidence(b"one"))

    root.rename(away)
    with pytest.raises(DestinationUnavailable) as caught:
        await files.create("a/2", StagedBody.of_evidence(b"two"))
    assert "mounted" in caught.value.hint
    root.mkdir()
    with pytest.raises(DestinationUnavailable) as caught:
        await files.create("a/2", StagedBody.of_evidence(b"two"))
    assert "mounted" in caught.value.hint
    assert not list(root.iterdir())

    root.rmdir()
    away.rename(root)
    assert await files.create("a/2", StagedBody.of_evidence(b"two"))
    files.close()


async def test_an_empty_folder_is_not_taken_for_one_that_holds_copies(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path, is_used=True)
    with pytest.raises(DestinationUnavailable):
        await files.see_root()
    with pytest.raises(DestinationUnavailable):
        await files.create("a/2", StagedBody.of_evidence(b"two"))

    (tmp_path / "a").mkdir()  # Mounted.

    await files.see_root()
    assert await files.create("a/2", StagedBody.of_evidence(b"two"))
    files.close()
