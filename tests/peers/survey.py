"""Find out what each PACS does to the corpus, without cloudmig, and write expected.csv.

    python -m tests.peers.survey [--peer orthanc] [--write]

Load the corpus; ask for every study; ask again, one instance at a time with its transfer syntax
alone, for what did not come back byte for byte. What then is missing or altered is its doing.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.peers.asking import Arrivals, Retrieve, ask
from tests.peers.compare import difference_in_child
from tests.peers.corpus import corpus_files, corpus_folder, corpus_pairs
from tests.peers.launch import Dcmqrscp, Lane, Orthanc, PixelMed, free_ports
from tests.peers.loading import Loaded, held, load

__all__ = ["EXPECTED", "PEERS", "Expectation", "read_expected"]

EXPECTED = Path(__file__).with_name("expected.csv")
_RETRIEVES: tuple[Retrieve, ...] = ("c-move", "c-get")

_Peer = Orthanc | Dcmqrscp | PixelMed

#: How each peer of the matrix is launched, given our lanes.
PEERS: Mapping[str, Callable[[Sequence[Lane]], _Peer]] = {
    "orthanc": Orthanc,
    "dcmqrscp": lambda lanes: Dcmqrscp(lanes, profile="assoc", pairs=corpus_pairs()),
    "pixelmed": PixelMed,
}


@dataclass(frozen=True, slots=True)
class Expectation:
    """One row of expected.csv: a file that a peer does not give back as it was loaded."""

    peer: str
    retrieve: str  #: c-move, c-get, or * for both
    file: str
    sop_instance_uid: str
    #: refused_by_pacs, altered_by_pacs, replaced_by_pacs, cannot_send, or converted_by_pacs where a
    #: file comes unchanged only when its transfer syntax alone is accepted.
    outcome: str
    evidence: str


def read_expected(peer: str, retrieve: str) -> dict[str, Expectation]:
    """Return the rows of one cell of the matrix by file."""
    with EXPECTED.open(newline="", encoding="utf-8") as file:
        rows = [Expectation(**row) for row in csv.DictReader(file)]
    return {row.file: row for row in rows if row.peer == peer and row.retrieve in ("*", retrieve)}


def _file(record: Loaded) -> str:
    return Path(record.path).relative_to(corpus_folder()).as_posix()


def survey(peer: str) -> list[Expectation]:
    """Survey one peer; print how it behaves."""
    lane = Lane("CLOUDMIG", free_ports(1)[0])
    with PEERS[peer]([lane]) as pacs:
        truth = load(pacs, corpus_files())
        rows = [
            Expectation(
                peer, "*", _file(each), each.sop_instance_uid, "refused_by_pacs", _refusal(each)
            )
            for each in truth
            if not each.held
        ]
        print(f"{peer}: loaded {len(held(truth))} of {len(truth)}")
        for retrieve in _RETRIEVES:
            with tempfile.TemporaryDirectory(prefix="survey-") as folder:
                rows += _survey_retrieve(pacs, lane, peer, retrieve, held(truth), Path(folder))
    return rows


def _refusal(record: Loaded) -> str:
    return f"C-STORE: {record.answer}" if record.status is not None else record.answer


def _survey_retrieve(
    pacs: _Peer, lane: Lane, peer: str, retrieve: Retrieve, truth: list[Loaded], folder: Path
) -> list[Expectation]:
    arrivals = Arrivals(folder)
    ask(pacs, lane, truth, retrieve, arrivals, level="STUDY")
    absent = [each for each in truth if each.sop_instance_uid not in arrivals.data_sets]
    other = [each for each in truth if not arrivals.has(each) and each not in absent]
    open_ones = [each for each in truth if not arrivals.has(each)]
    ask(pacs, lane, open_ones, retrieve, arrivals, level="IMAGE")
    recovered = [each for each in open_ones if arrivals.has(each)]
    rows = [
        _converted(peer, retrieve, each, arrivals)
        if arrivals.has(each)
        else _expectation(peer, retrieve, each, truth, arrivals)
        for each in open_ones
        if each not in absent or not arrivals.has(each)
    ]
    print(
        f"{peer} {retrieve}: {len(truth) - len(open_ones)} of {len(truth)} byte for byte by study;"
        f" {len(absent)} did not come, {len(other)} came with other bytes;"
        f" one instance and syntax at a time recovered {len(recovered)}; in the end"
        f" {dict(Counter(row.outcome for row in rows))}"
    )
    for each in recovered:
        print(f"    recovered {_file(each)} {each.transfer_syntax_uid}")
    return rows


def _expectation(
    peer: str, retrieve: str, record: Loaded, truth: Sequence[Loaded], arrivals: Arrivals
) -> Expectation:
    name = _file(record)
    came = arrivals.data_sets.get(record.sop_instance_uid, {})
    if not came:
        study = arrivals.statuses.get(record.study_instance_uid, "not asked: no Study Instance UID")
        evidence = f"STUDY {study}; IMAGE {arrivals.statuses.get(record.sop_instance_uid, '-')}"
        outcome = "cannot_send"
    else:
        twins = [each for each in truth if each.dataset_sha256 in came]
        if twins:
            outcome = "replaced_by_pacs"
            evidence = f"same SOP Instance UID as {_file(twins[0])}, which is what it sends"
        else:
            outcome = "altered_by_pacs"
            evidence = _alteration(record, came, arrivals)
    return Expectation(peer, retrieve, name, record.sop_instance_uid, outcome, evidence)


def _converted(peer: str, retrieve: str, record: Loaded, arrivals: Arrivals) -> Expectation:
    """Describe what comes by study for a file that comes unchanged when asked for alone."""
    came = dict(arrivals.data_sets[record.sop_instance_uid])
    del came[record.dataset_sha256]
    syntax = arrivals.transfer_syntaxes[next(iter(came))]
    evidence = f"by study in {syntax}: {_alteration(record, came, arrivals)}"
    evidence += f"; unchanged when {record.transfer_syntax_uid} alone is accepted"
    return Expectation(
        peer, retrieve, _file(record), record.sop_instance_uid, "converted_by_pacs", evidence
    )


def _alteration(record: Loaded, came: Mapping[str, Path], arrivals: Arrivals) -> str:
    """Say how far the closest of the data sets that came is from the file."""
    told: dict[str, str] = {}
    for digest, path in came.items():
        syntax = arrivals.transfer_syntaxes[digest]
        found = _compare(record, path, syntax, arrivals.folder)
        told[syntax] = found or "equal elements and pixels, other bytes"
        if not found:
            return told[syntax]
    # Sent as it was loaded says more than sent in another syntax.
    return told.get(record.transfer_syntax_uid) or next(iter(told.values()))


def _compare(record: Loaded, data_set: Path, transfer_syntax_uid: str, folder: Path) -> str:
    """Compare the file with a data set that came, wrapped as the least Part 10 file there is."""
    value = transfer_syntax_uid.encode("ascii")
    value += b"\0" * (len(value) % 2)
    element = b"\x02\x00\x10\x00UI" + len(value).to_bytes(2, "little") + value
    wrapped = folder / "came.dcm"
    wrapped.write_bytes(bytes(128) + b"DICM" + element + data_set.read_bytes())
    return difference_in_child(Path(record.path), wrapped)


def _merged(rows: list[Expectation]) -> list[Expectation]:
    """Write `*` where C-MOVE and C-GET gave the same."""
    merged: dict[tuple[str, str, str, str], Expectation] = {}
    for row in rows:
        key = (row.peer, row.file, row.outcome, row.evidence)
        if key in merged:
            row = Expectation(  # noqa: PLW2901 - the same row for both ways
                row.peer, "*", row.file, row.sop_instance_uid, row.outcome, row.evidence
            )
        merged[key] = row
    return sorted(merged.values(), key=lambda row: (row.peer, row.file, row.retrieve))


def main() -> None:
    """Survey the peers named on the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", action="append", choices=sorted(PEERS))
    parser.add_argument("--write", action="store_true", help="rewrite expected.csv for these peers")
    given = parser.parse_args()
    peers = given.peer or sorted(PEERS)
    rows = _merged([row for peer in peers for row in survey(peer)])
    for row in rows:
        print(f"{row.peer} {row.retrieve} {row.file} {row.outcome}: {row.evidence}")
    if given.write:
        others = []
        if EXPECTED.exists():
            with EXPECTED.open(newline="", encoding="utf-8") as file:
                others = [Expectation(**row) for row in csv.DictReader(file)]
        rows += [row for row in others if row.peer not in peers]
        rows.sort(key=lambda row: (row.peer, row.file, row.retrieve))
        with EXPECTED.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(Expectation.__slots__)
            writer.writerows([getattr(row, name) for name in Expectation.__slots__] for row in rows)


if __name__ == "__main__":
    main()
