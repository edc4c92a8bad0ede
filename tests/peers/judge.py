"""The judge: compares what a bucket, or another home, holds with what was loaded into the PACS.

    python -m tests.peers.judge --truth truth.csv --bucket images --endpoint http://127.0.0.1:5000

It shares no code with cloudmig, and believes neither inventory nor manifest nor metadata.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Protocol

from mypy_boto3_s3 import S3Client

from tests.peers.bucket import Bucket, HeldObject, Survey
from tests.peers.compare import difference_in_child
from tests.peers.evidence import problems
from tests.peers.launch.moto import s3_client
from tests.peers.loading import Loaded, held, read_truth

__all__ = [
    "CONVERTED", "Difference", "Finding", "Home", "Told", "Verdict", "judge", "judge_home",
]  # fmt: skip


#: How the detail begins where an object came in another transfer syntax than it was loaded in.
CONVERTED = "converted"

#: (file, digest of what was found, its transfer syntax) -> where they differ.
Told = dict[tuple[str, str, str], str]


class Home(Protocol):
    """Where copies are kept, read by the judge itself."""

    @property
    def name(self) -> str: ...

    def survey(self) -> Survey:
        """List everything and read it."""
        ...

    def download(self, key: str, path: Path) -> None:
        """Write what a survey named to a file."""
        ...


class Finding(Enum):
    """What became of a file that the PACS took, or what is too much in the bucket."""

    EQUAL_BYTES = "equal bytes"  #: The data set is there, byte for byte.
    EQUAL_ELEMENTS = "equal elements"  #: Other bytes, the same elements and pixels.
    DIFFERS = "differs"
    MISSING = "missing"
    EXTRA = "extra"  #: An instance that was never loaded.
    TWICE = "twice"  #: More objects of one SOP Instance UID than contents were loaded.


@dataclass(frozen=True, slots=True)
class Difference:
    """One finding other than equal bytes."""

    finding: Finding
    file: str
    sop_instance_uid: str
    study_instance_uid: str
    key: str
    detail: str = ""


@dataclass(slots=True)
class Verdict:
    """What the judge found in one bucket."""

    bucket: str
    counts: Counter[Finding] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)
    #: What is wrong with manifests, versions, uploads, keys and metadata.
    problems: list[str] = field(default_factory=list)
    studies_loaded: int = 0
    studies_whole: int = 0  #: Studies of which every loaded file is there with equal bytes.

    @property
    def clean(self) -> bool:
        """Say whether all that was loaded is there as loaded, and nothing else."""
        return not self.differences and not self.problems

    def named(self, *findings: Finding) -> list[Difference]:
        """Return the differences of these kinds."""
        return [each for each in self.differences if each.finding in findings]

    def table(self) -> str:
        """Return counts, differences and problems as text."""
        rows = [f"{finding.value:>16} {self.counts[finding]:>7}" for finding in Finding]
        lines = [f"bucket {self.bucket}: {self.studies_whole} of {self.studies_loaded} studies"]
        lines += rows
        lines += [
            f"  {each.finding.value}: {each.file or each.key} {each.sop_instance_uid} {each.detail}"
            for each in self.differences
        ]
        lines += [f"  problem: {problem}" for problem in self.problems]
        return "\n".join(lines)

    def _add(
        self, finding: Finding, loaded: Loaded | None, key: str = "", detail: str = ""
    ) -> None:
        self.counts[finding] += 1
        if finding is not Finding.EQUAL_BYTES:
            self.differences.append(
                Difference(
                    finding,
                    loaded.path if loaded else "",
                    loaded.sop_instance_uid if loaded else "",
                    loaded.study_instance_uid if loaded else "",
                    key,
                    detail,
                )
            )


def judge(
    truth: Iterable[Loaded],
    client: S3Client,
    bucket: str,
    *,
    archives: Sequence[str] = ("main",),
    prefix: str = "",
) -> Verdict:
    """Read the whole bucket and compare it with what the PACS took."""
    return judge_home(truth, Bucket(client, bucket, archives=archives, prefix=prefix))


def judge_home(truth: Iterable[Loaded], home: Home, told: Told | None = None) -> Verdict:
    """Read all that is there and compare it with what the PACS took.

    `told` keeps what comparisons said, for the next home: equal digests make equal answers.
    """
    loaded = held(truth)
    told = {} if told is None else told
    found = home.survey()
    verdict = Verdict(home.name, problems=problems(found, loaded))
    objects: defaultdict[str, list[HeldObject]] = defaultdict(list)
    for each in found.objects:
        objects[each.sop_instance_uid].append(each)
    contents: defaultdict[str, dict[str, Loaded]] = defaultdict(dict)
    for record in loaded:
        # The same bytes loaded twice are one content.
        contents[record.sop_instance_uid].setdefault(record.dataset_sha256, record)
    for sop_instance_uid, records in contents.items():
        _judge_instance(
            verdict, home, list(records.values()), objects.pop(sop_instance_uid, []), told
        )
    for strangers in objects.values():
        for each in strangers:
            verdict._add(Finding.EXTRA, None, each.key)
    broken = {each.study_instance_uid for each in verdict.differences if each.file}
    studies = {record.study_instance_uid for record in loaded}
    verdict.studies_loaded = len(studies)
    verdict.studies_whole = len(studies - broken)
    return verdict


def _judge_instance(
    verdict: Verdict, home: Home, records: list[Loaded], objects: list[HeldObject], told: Told
) -> None:
    by_digest = {each.dataset_sha256: each for each in objects}
    for record in records:
        if record.dataset_sha256 in by_digest:
            key = by_digest[record.dataset_sha256].key
            verdict._add(Finding.EQUAL_BYTES, record, key)
        elif not objects:
            verdict._add(Finding.MISSING, record)
        else:
            found = {each.key: _compare(home, record, each, told) for each in objects}
            key = min(found, key=lambda key: (bool(found[key]), key))
            finding = Finding.DIFFERS if found[key] else Finding.EQUAL_ELEMENTS
            meta = next(each.meta for each in objects if each.key == key)
            syntaxes = (record.transfer_syntax_uid, meta.transfer_syntax_uid if meta else "none")
            sent = "" if syntaxes[0] == syntaxes[1] else f"{CONVERTED} {' -> '.join(syntaxes)} "
            verdict._add(finding, record, key, sent + found[key])
    if len(objects) > len(records):
        for each in sorted(objects, key=lambda each: len(each.key))[len(records) :]:
            verdict._add(Finding.TWICE, records[0], each.key)


def _compare(home: Home, record: Loaded, image: HeldObject, told: Told) -> str:
    syntax = image.meta.transfer_syntax_uid if image.meta else ""
    question = (record.path, image.dataset_sha256 or image.file_sha256, syntax)
    if question not in told:
        told[question] = _difference(home, record, image)
    return told[question]


def _difference(home: Home, record: Loaded, image: HeldObject) -> str:
    with tempfile.TemporaryDirectory(prefix="judge-") as folder:
        path = Path(folder) / "object.dcm"
        home.download(image.key, path)
        return difference_in_child(Path(record.path), path)


def main() -> int:
    """Judge one bucket from the command line; exit code 1 when it is not clean."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--truth", type=Path, required=True, help="CSV written by write_truth")
    parser.add_argument("--bucket", action="append", required=True)
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--archive", action="append", help="default: main")
    parser.add_argument("--prefix", default="")
    parser.add_argument("--access-key-id", default="testing")
    parser.add_argument("--secret-access-key", default="testing")
    given = parser.parse_args()
    client = s3_client(given.endpoint, given.access_key_id, given.secret_access_key)
    verdicts = [
        judge(
            read_truth(given.truth),
            client,
            bucket,
            archives=given.archive or ["main"],
            prefix=given.prefix,
        )
        for bucket in given.bucket
    ]
    print("\n\n".join(verdict.table() for verdict in verdicts))
    return 0 if all(verdict.clean for verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
