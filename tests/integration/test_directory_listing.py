"""A listing that is partly wrong: every disagreement by name, every equation exact."""

from __future__ import annotations

import csv
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from cloudmig.demo.studies import Instance
from cloudmig.errors import ConfigError
from cloudmig.model.files import Account
from tests.integration.folder_world import FolderWorld, path_of, write_studies
from tests.integration.migration_world import a_study

COLUMNS = ["STUDY_UID", "SERIES_UID", "SOP_UID", "FILENAME", "BYTES", "STUDY_DATE", "PAT_ID"]
MAP = {
    "study_instance_uid": "study_uid", "series_instance_uid": "SERIES_UID",
    "sop_instance_uid": "SOP_UID", "path": "FILENAME", "size_bytes": "BYTES",
    "study_date": "STUDY_DATE", "patient_id": "PAT_ID",
}  # fmt: skip


def row_of(instance: Instance, patient_id: str) -> list[str]:
    return [
        instance.study_instance_uid, instance.series_instance_uid, instance.sop_instance_uid,
        path_of(instance), str(len(instance.part10())), "2020-01-01 00:00:00", patient_id,
    ]  # fmt: skip


def write_csv(path: Path, rows: Sequence[Sequence[str]], *, delimiter: str = ",",
              encoding: str = "utf-8") -> None:  # fmt: skip
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file, delimiter=delimiter).writerows([COLUMNS, *rows])


@dataclass
class DirtyArchive:
    """Files and a listing that disagree in known ways; `truth` is what must be found."""

    world: FolderWorld
    rows: list[list[str]] = field(default_factory=list)
    truth: set[tuple[str, str]] = field(default_factory=set)  #: Kind and path, or kind and line.
    instances: int = 0  #: That exist by the files or by the listing.
    files: int = 0

    def make_wrong(self, chosen: Sequence[int]) -> None:
        """Make every chosen row wrong, each in the next way."""
        ways: list[Callable[[int], None]] = [
            self._missing, self._orphan, self._other_date, self._other_series, self._twice,
            self._broken, self._moved, self._outside, self._other_patient,
        ]  # fmt: skip
        for n, position in enumerate(chosen):
            ways[n % len(ways)](position)

    def _path(self, position: int) -> Path:
        return self.world.export / self.rows[position][3]

    def _missing(self, position: int) -> None:
        self._path(position).unlink()
        self.files -= 1
        self.truth.add(("missing", self.rows[position][3]))

    def _orphan(self, position: int) -> None:
        self.truth.add(("not_listed", self.rows[position][3]))
        self.rows[position] = []

    def _other_date(self, position: int) -> None:
        self.rows[position][5] = "1999-12-31"
        self.truth.add(("disagrees StudyDate", self.rows[position][3]))

    def _other_patient(self, position: int) -> None:
        self.rows[position][6] = "SOMEBODY ELSE"
        self.truth.add(("disagrees PatientID", self.rows[position][3]))

    def _other_series(self, position: int) -> None:
        self.rows[position][1] += ".9"
        self.truth.add(("disagrees SeriesInstanceUID", self.rows[position][3]))

    def _twice(self, position: int) -> None:
        self.rows.append(list(self.rows[position]))
        self.truth.add(("double", self.rows[position][3]))

    def _broken(self, position: int) -> None:
        path = self.rows[position][3]
        self.truth |= {("bad", f"line {position + 2}"), ("not_listed", path)}
        self.rows[position] = self.rows[position][:2]

    def _moved(self, position: int) -> None:
        path = self._path(position)
        self.truth.add(("elsewhere", self.rows[position][3]))
        path.rename(path.with_suffix(".moved"))

    def _outside(self, position: int) -> None:
        path = self.rows[position][3]
        self.rows[position][3] = f"../../{path}"
        self.truth |= {("outside", f"../../{path}"), ("not_listed", path)}

    def found(self) -> set[tuple[str, str]]:
        """Return what `cloudmig files` names."""
        named = set()
        for entry in self.world.named(
            "missing", "disagrees", "double", "bad", "elsewhere", "outside", "not_listed"
        ):
            kind = f"{entry.kind} {entry.detail}" if entry.kind == "disagrees" else entry.kind
            named.add((kind, f"line {entry.line}" if entry.kind == "bad" else entry.path))
        return named


def an_archive(folder: Path, *, studies: int = 30, listing: str = "listing.csv",
               columns: dict[str, str] = MAP) -> DirtyArchive:  # fmt: skip
    source = {"listing": str(folder / listing), "listing_columns": columns}
    archive = DirtyArchive(FolderWorld(folder, source=source))
    for number in range(1, studies + 1):
        study = a_study(number, series=(6, 4))
        write_studies(archive.world.export, [study])
        archive.rows += [row_of(each, study.patient.patient_id) for each in study.instances()]
    archive.instances = archive.files = len(archive.rows)
    return archive


async def test_every_disagreement_is_named_and_the_equations_are_exact(tmp_path: Path) -> None:
    archive = an_archive(tmp_path)
    rows = len(archive.rows)
    archive.make_wrong(random.Random(7).sample(range(rows), round(rows * 0.03) * 2))
    write_csv(tmp_path / "listing.csv", archive.rows)  # A row that was removed is an empty line.

    closing = await archive.world.migrate()

    assert archive.found() == archive.truth
    counts = Counter(kind.split()[0] for kind, _ in archive.truth)
    [files, listing] = closing.files["main"]
    assert (files.account, files.total) == (Account.FILES, archive.files)
    assert files.kinds == {"instance": archive.files}
    assert listing.kinds == {
        "agrees": listing.total - sum(counts[state] for state in STATES),
        **{state: counts[state] for state in sorted(STATES)},
    }
    statement = closing.statement
    assert statement.instances.inventory == archive.instances
    assert statement.instances.verified == archive.instances - counts["missing"]
    assert statement.instances.quarantined == counts["missing"]
    assert len(archive.world.stored()) == archive.files


STATES = {"missing", "disagrees", "double", "bad", "elsewhere", "outside"}


async def test_a_study_that_only_the_listing_knows_waits_for_a_person(tmp_path: Path) -> None:
    archive = an_archive(tmp_path, studies=2)
    lost = a_study(3, series=(2,))
    archive.rows += [row_of(each, lost.patient.patient_id) for each in lost.instances()]
    write_csv(tmp_path / "listing.csv", archive.rows)

    closing = await archive.world.migrate()

    assert archive.world.quarantined() == {"missing_instances": 1}
    assert closing.statement.studies.inventory == 3
    assert closing.statement.instances.quarantined == 2


async def test_an_instance_without_a_path_is_expected(tmp_path: Path) -> None:
    """What lies on a tape, or nowhere, has no path in the database of a PACS."""
    archive = an_archive(tmp_path, studies=1)
    (archive.world.export / archive.rows[0][3]).unlink()
    archive.rows[0][3] = archive.rows[1][3] = ""
    write_csv(tmp_path / "listing.csv", archive.rows)

    closing = await archive.world.migrate()

    [_, listing] = closing.files["main"]
    assert listing.kinds == {"agrees": 8, "elsewhere": 1, "missing": 1}
    assert archive.world.quarantined() == {"missing_instances": 1}
    assert closing.statement.instances.inventory == 10


async def test_a_named_file_that_is_broken_is_a_missing_instance(tmp_path: Path) -> None:
    archive = an_archive(tmp_path, studies=1)
    path = archive.world.export / archive.rows[0][3]
    path.write_bytes(path.read_bytes()[:140])
    write_csv(tmp_path / "listing.csv", archive.rows)

    closing = await archive.world.migrate()

    assert archive.world.kinds() == {"instance": 9, "unreadable": 1}
    assert archive.world.quarantined() == {"missing_instances": 1, "broken_files": 1}
    assert closing.statement.instances.inventory == 10


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
async def test_listings_are_read_as_databases_write_them(
    delimiter: str, encoding: str, tmp_path: Path
) -> None:
    archive = an_archive(tmp_path, studies=1)
    write_csv(tmp_path / "listing.csv", archive.rows, delimiter=delimiter, encoding=encoding)

    await archive.world.inventory()

    assert archive.found() == set()
    assert len(archive.world.named("agrees")) == 10


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("character", ["\v", "\f", "\x1c", "\x85", "\u2028"])
async def test_only_the_ends_of_its_lines_end_a_row(
    character: str, encoding: str, tmp_path: Path
) -> None:
    """Unicode knows more separators of lines than databases write."""
    archive = an_archive(tmp_path, studies=1)
    path = archive.world.export / archive.rows[0][3]
    moved = path.rename(path.with_name(f"DOE{character}JANE"))
    archive.rows[0][3] = str(moved.relative_to(archive.world.export))
    archive.rows[1][6] = f"P,{character}1"  # In quotation marks.
    write_csv(tmp_path / "listing.csv", archive.rows, encoding=encoding)

    await archive.world.inventory()

    assert archive.found() == {("disagrees PatientID", archive.rows[1][3])}
    assert len(archive.world.named("agrees")) == 9


async def test_paths_of_another_system_are_found(tmp_path: Path) -> None:
    archive = an_archive(tmp_path, studies=1)
    archive.world.source = {**archive.world.source, "listing_prefix": "D:\\store\\"}
    archive.world.write_configuration()
    for row in archive.rows:
        row[3] = "D:\\store\\" + row[3].upper().replace("/", "\\")
    write_csv(tmp_path / "listing.csv", archive.rows)

    await archive.world.inventory()

    assert archive.found() == set()


@pytest.mark.parametrize(
    ("line", "broken"),
    [
        (3, lambda line: b'"' + line),
        (11, lambda line: b'"' + line.rstrip()),
        (5, lambda line: line.replace(b"2020-01-01 00:00:00", b'"2020-01-01\r\n00:00:00"')),
    ],
    ids=["never closed", "in the last line", "a line break in a value"],
)
async def test_a_quotation_mark_over_the_end_of_a_line_ends_the_inventory(
    line: int, broken: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    """Any number of rows may be inside: what they name would not be expected any more."""
    archive = an_archive(tmp_path, studies=1)
    write_csv(tmp_path / "listing.csv", archive.rows)
    lines = (tmp_path / "listing.csv").read_bytes().splitlines(keepends=True)
    lines[line - 1] = broken(lines[line - 1])
    (tmp_path / "listing.csv").write_bytes(b"".join(lines))

    with pytest.raises(ConfigError, match=f"quotation mark in line {line} ") as caught:
        await archive.world.inventory()

    assert "export the listing without line breaks" in caught.value.hint
    assert (await archive.world.close()).refused


async def test_a_bad_quote_that_its_line_ends_costs_that_row_only(tmp_path: Path) -> None:
    archive = an_archive(tmp_path, studies=1)
    write_csv(tmp_path / "listing.csv", archive.rows)
    lines = (tmp_path / "listing.csv").read_bytes().splitlines(keepends=True)
    lines[3] = lines[3].replace(b",", b',"', 1).replace(b",2020", b'",2020')
    lines[6] = b'\x00\xff\xfe"' + lines[6]
    (tmp_path / "listing.csv").write_bytes(b"".join(lines))

    result = await archive.world.inventory()

    listing = {t.kind: t.count for t in result.files if t.account is Account.LISTING}
    assert listing == {"total": 10, "agrees": 8, "bad": 2}


async def test_parquet_is_read_as_csv_is(tmp_path: Path) -> None:
    archive = an_archive(tmp_path, studies=2, listing="listing.parquet")
    archive.make_wrong([0, 1, 2, 3, 4])
    rows = [row for row in archive.rows if row]
    table = pa.table({name: [row[n] for row in rows] for n, name in enumerate(COLUMNS)})
    parquet.write_table(table, tmp_path / "listing.parquet")

    await archive.world.migrate()

    assert archive.found() == archive.truth


@pytest.mark.parametrize("broken", ["no file", "no column", "no parquet"])
async def test_a_listing_that_cannot_be_read_is_a_mistake_of_the_configuration(
    broken: str, tmp_path: Path
) -> None:
    name = "listing.parquet" if broken == "no parquet" else "listing.csv"
    archive = an_archive(tmp_path, studies=1, listing=name)
    if broken != "no file":
        (tmp_path / name).write_text("a,b,c\n1,2,3\n")

    with pytest.raises(ConfigError, match="listing"):
        await archive.world.inventory()


@pytest.mark.parametrize("damaged", ["a text", "the length of a text", "the head of a page"])
async def test_a_parquet_listing_with_a_damaged_page_is_said_to_be_damaged(
    damaged: str, tmp_path: Path
) -> None:
    archive = an_archive(tmp_path, studies=1, listing="listing.parquet")
    path = tmp_path / "listing.parquet"
    table = pa.table({name: [row[n] for row in archive.rows] for n, name in enumerate(COLUMNS)})
    parquet.write_table(
        table, path, compression="none", use_dictionary=False, write_statistics=False
    )
    content = bytearray(path.read_bytes())
    text = content.index(archive.rows[0][3].encode())
    at = {"a text": text, "the length of a text": text - 4, "the head of a page": 4}[damaged]
    content[at : at + 2] = b"\xff\xff"
    path.write_bytes(content)

    with pytest.raises(ConfigError, match="cannot be read: its contents are damaged") as caught:
        await archive.world.inventory()

    assert "export it again" in caught.value.hint
