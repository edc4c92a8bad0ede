"""A listing from a PACS database: CSV or Parquet, with a map of its columns.

It is streamed: neither its rows nor a line without an end are held in memory. Rows that cannot be
understood are claims of their own, bad, by their line number. What may hide whole rows ends the
inventory: a quotation mark that runs on over the end of a line, and pages that are damaged.
"""

from __future__ import annotations

import codecs
import csv
import itertools
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from cloudmig.errors import ConfigError
from cloudmig.model.files import Account, ClaimState
from cloudmig.sources.directory.claims import Claim, FolderNames, add_claims
from cloudmig.sources.directory.index import FileIndex

__all__ = ["ListingFormat", "claim_by_listing", "columns_of"]

_CLAIMS_A_COMMIT = 2000
_LINE_CHARS_MAX = 1 << 20
_DELIMITERS = ",;\t|"
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
#: Our names of what a row may say beside its UIDs and path -> DICOM keyword.
_KEYWORDS = {
    "sop_class_uid": "SOPClassUID", "transfer_syntax_uid": "TransferSyntaxUID",
    "size_bytes": "size_bytes", "study_date": "StudyDate", "patient_id": "PatientID",
    "accession_number": "AccessionNumber", "modality": "Modality",
}  # fmt: skip
_REQUIRED = ("path", "study_instance_uid", "series_instance_uid", "sop_instance_uid")


@dataclass(frozen=True, slots=True)
class ListingFormat:
    """Where a listing lies and how it is read."""

    path: Path
    columns: Mapping[str, str] = field(default_factory=dict)  #: Our name -> its name.
    prefix: str = ""  #: Taken off its paths.

    @property
    def is_parquet(self) -> bool:
        return self.path.suffix.lower() in {".parquet", ".pq"}


#: A row by our names; None where it cannot be read.
_Row = tuple[int, dict[str, str] | None]


def claim_by_listing(index: FileIndex, listing: ListingFormat, root: Path) -> None:
    """Write down what the listing says is there."""
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        names = FolderNames(descriptor)
        claims = (_claim(index, names, listing, root, *row) for row in _rows(listing))
        while batch := list(itertools.islice(claims, _CLAIMS_A_COMMIT)):
            add_claims(index, batch)
    except OSError as error:
        raise _unreadable(error) from error
    finally:
        os.close(descriptor)


def columns_of(listing: ListingFormat) -> list[str]:
    """Return which of our names the listing has; raises ConfigError where it lacks one it needs."""
    try:
        if listing.is_parquet:
            return list(_mapping(listing, _parquet(listing).schema_arrow.names))
        with _opened(listing.path) as text:
            return list(_mapping(listing, _Csv(text).header()))
    except OSError as error:
        raise _unreadable(error) from error


def _unreadable(error: Exception) -> ConfigError:
    """Return what to say of it. The words of an error may hold what stands in the listing."""
    why = (isinstance(error, OSError) and error.strerror) or "its contents are damaged"
    return ConfigError(
        f"the listing cannot be read: {why}",
        hint="see sources.*.listing; if it is damaged, export it again",
    )


def _mapping(listing: ListingFormat, header: list[str]) -> dict[str, int]:
    """Return our name -> position of its column."""
    positions = {name.strip().casefold(): number for number, name in enumerate(header)}
    found = {}
    for name in (*_REQUIRED, *_KEYWORDS):
        theirs = listing.columns.get(name, name).casefold()
        if theirs in positions:
            found[name] = positions[theirs]
        elif name in listing.columns or name in _REQUIRED:
            raise ConfigError(
                f"the listing has no column {listing.columns.get(name, name)!r} for {name}",
                hint="its columns are named by sources.*.listing_columns: our name = its name",
            )
    return found


def _rows(listing: ListingFormat) -> Iterator[_Row]:
    if listing.is_parquet:
        yield from _parquet_rows(listing)
        return
    with _opened(listing.path) as text:
        reader = _Csv(text)
        header = reader.header()
        mapping = _mapping(listing, header)
        while True:
            try:
                row = reader.row()
            except csv.Error:
                yield reader.line, None
                continue
            if row is None:
                return
            if not row:
                continue  # An empty line says nothing.
            whole = len(row) == len(header)
            yield reader.line, {name: row[n] for name, n in mapping.items()} if whole else None


def _opened(path: Path) -> TextIO:
    """Open a CSV file in the encoding that its beginning tells; its lines keep their ends."""
    with path.open("rb") as file:
        beginning = file.read(4)
    encoding = next((name for bom, name in _BOMS if beginning.startswith(bom)), "utf-8")
    # What is no UTF-8 is kept byte for byte: names on a disk are bytes, too.
    errors = "replace" if encoding == "utf-16" else "surrogateescape"
    return path.open(encoding=encoding, errors=errors, newline="")


class _Csv:
    """Rows of a CSV file in any of the dialects that databases export."""

    def __init__(self, text: TextIO) -> None:
        self._text = text
        first = self._text.readline(_LINE_CHARS_MAX)
        counts = {each: first.count(each) for each in _DELIMITERS}
        delimiter = max(counts, key=lambda each: counts[each])
        self.line = 0  #: The last one that was asked for, be it behind the end.
        self._reader = csv.reader(self._lines(first), delimiter=delimiter)

    def _lines(self, line: str) -> Iterator[str]:
        self.line += 1
        while line:
            yield line
            line = self._text.readline(_LINE_CHARS_MAX)
            self.line += 1

    def header(self) -> list[str]:
        """Return the first row."""
        try:
            return self.row() or []
        except csv.Error as error:
            raise _unreadable(error) from error

    def row(self) -> list[str] | None:
        """Return the next row, None behind the last. Raises csv.Error for one that is none.

        A row that needs a second line is inside quotation marks: nobody can say how many rows
        are in there, so none is taken.
        """
        first = self.line + 1
        try:
            return next(self._reader, None)
        finally:
            if self.line > first:
                raise ConfigError(
                    f"the listing opens a quotation mark in line {first} and does not close it"
                    " there: what follows may be swallowed",
                    hint="correct that line, or export the listing without line breaks in its"
                    " values, then take the inventory again",
                )


def _parquet(listing: ListingFormat) -> Any:  # noqa: ANN401 - pyarrow has no types
    try:
        from pyarrow import ArrowException, parquet  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        raise ConfigError(
            "reading a Parquet listing needs pyarrow",
            hint="install cloudmig[parquet], or export the listing as CSV",
        ) from error
    try:
        return parquet.ParquetFile(listing.path)
    except ArrowException as error:
        raise ConfigError("the listing is no Parquet file", hint="see sources.*.listing") from error


def _parquet_rows(listing: ListingFormat) -> Iterator[_Row]:
    file = _parquet(listing)
    names = file.schema_arrow.names
    mapping = _mapping(listing, names)
    columns = [names[number] for number in mapping.values()]
    line = 0
    for batch in _batches(file, columns):
        for row in batch:
            line += 1
            values = {name: row[names[number]] for name, number in mapping.items()}
            yield line, {name: "" if v is None else _text(v) for name, v in values.items()}


def _batches(file: Any, columns: list[str]) -> Iterator[list[dict[str, Any]]]:  # noqa: ANN401
    """Yield rows. Damage shows when a page is unpacked, and when its texts are decoded."""
    from pyarrow import ArrowException  # noqa: PLC0415 - an optional extra

    try:
        for batch in file.iter_batches(batch_size=_CLAIMS_A_COMMIT, columns=columns):
            yield batch.to_pylist()
    except (ArrowException, ValueError) as error:
        raise _unreadable(error) from error


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return os.fsdecode(value)
    return str(value)


def _claim(
    index: FileIndex,
    names: FolderNames,
    listing: ListingFormat,
    root: Path,
    line: int,
    row: dict[str, str] | None,
) -> Claim:
    if row is None:
        return Claim(Account.LISTING, b"", line, state=ClaimState.BAD)
    path, outside = _place(index, names, listing, root, row["path"])
    told = {
        keyword: row[name].strip()
        for name, keyword in _KEYWORDS.items()
        if row.get(name, "").strip()
    }
    return Claim(
        Account.LISTING,
        b"",
        line,
        path,
        study_instance_uid=row["study_instance_uid"].strip(),
        series_instance_uid=row["series_instance_uid"].strip(),
        sop_instance_uid=row["sop_instance_uid"].strip(),
        told=_encodable(told),
        state=ClaimState.OUTSIDE if outside else None,  # Its instance may lie somewhere.
    )


def _encodable(told: dict[str, str]) -> dict[str, str]:
    return {name: text.encode("utf-8", "replace").decode() for name, text in told.items()}


def _place(
    index: FileIndex, names: FolderNames, listing: ListingFormat, root: Path, text: str
) -> tuple[bytes, bool]:
    """Return the path that a row means, and whether it leads out of the folder."""
    inner = text.strip()
    for prefix in (listing.prefix, f"{root}/"):
        if prefix and inner.startswith(prefix):
            inner = inner[len(prefix) :].lstrip("/\\")
            break
    for parts in (inner.split("/"), inner.replace("\\", "/").split("/")):
        plain = [os.fsencode(part) for part in parts if part not in {"", "."}]
        path = b"/".join(plain)
        if inner.startswith("/") or b".." in plain or b"\0" in path or _is_drive(plain):
            return path, True
        if index.one("SELECT 1 FROM file WHERE path = ?", (path,)) is not None:
            return path, False
    return names.resolve(b"", plain) or path, False


def _is_drive(parts: list[bytes]) -> bool:
    return bool(parts) and parts[0].endswith(b":")
