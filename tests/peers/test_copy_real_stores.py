"""Copies made from copies, between real stores, while the PACS is switched off.

The archive is filled once from the PACS. Then: bucket to Orthanc by STOW-RS, Orthanc to a bucket by
WADO-RS, bucket to a bucket on another server. CLOUDMIG_ACCEPTANCE=1 takes 200 generated studies and
the whole corpus; otherwise 8 and a third, and with CLOUDMIG_SAMPLE=1, as in CI, 4 and a sixteenth.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.peers.bucket import Bucket
from tests.peers.corpus import corpus_files, corpus_pairs, generated_archive
from tests.peers.explaining import as_listed, check_verdict, name_in_corpus
from tests.peers.homes import BUCKET, ThreeHomes
from tests.peers.judge import Told, Verdict, judge_home
from tests.peers.launch import Dcmqrscp
from tests.peers.loading import Loaded, held, load
from tests.peers.migration import Answer, Running, equations, run_cloudmig

ACCEPTANCE = os.environ.get("CLOUDMIG_ACCEPTANCE") == "1"
SAMPLE = os.environ.get("CLOUDMIG_SAMPLE") == "1" and not ACCEPTANCE
STUDIES = 200 if ACCEPTANCE else 4 if SAMPLE else 8
CORPUS_STEP = 1 if ACCEPTANCE else 16 if SAMPLE else 3
TIME_MAX_S = 3600.0 if ACCEPTANCE else 300.0
#: Further buckets on the server of the archive, one for each test that makes copies.
FURTHER = AGAIN, KILLED, RESTARTED, UNSPOILED = "again", "killed", "restarted", "unspoiled"


@dataclass(frozen=True, slots=True)
class Archived:
    """An archive that is verified in a bucket and in Orthanc; its PACS is switched off."""

    homes: ThreeHomes
    configuration: Path
    truth: list[Loaded]  #: What the PACS took.
    told: Told

    def run(self, *words: str, codes: Sequence[int] = (0,)) -> Answer:
        """Run a command to its end and look at its exit code."""
        answer = run_cloudmig(self.configuration, *words, time_max_s=TIME_MAX_S)
        print(f"{' '.join(words)}: exit {answer.exit_code} in {answer.seconds:.1f} s")
        assert answer.exit_code in codes, f"{words}: {answer.stderr[-3000:]} {answer.document}"
        return answer

    def copies(self) -> dict[str, dict[str, int]]:
        """Return the states of copies at each destination, those that occur."""
        told: Mapping[str, Mapping[str, int]] = self.run("status").document["destinations"]
        return {
            name: {state: count for state, count in states.items() if count}
            for name, states in told.items()
        }

    def images(self, bucket: str) -> dict[str, str]:
        """Return the keys of the images that lie in a bucket, by SOP Instance UID."""
        pages = self.homes.archive.client().get_paginator("list_objects_v2").paginate(Bucket=bucket)
        keys = [each["Key"] for page in pages for each in page.get("Contents", ())]
        images = [key for key in keys if key.endswith(".dcm")]
        return {key.rsplit("/", 1)[-1].removesuffix(".dcm"): key for key in images}

    def judge(self, name: str) -> Verdict:
        """Compare one home with what the PACS took."""
        home = self.homes.homes().get(name) or Bucket(self.homes.archive.client(), name)
        return judge_home(self.truth, home, self.told)

    @property
    def asked(self) -> int:
        """Return how often somebody tried to call the PACS."""
        assert self.homes.to_pacs is not None
        return self.homes.to_pacs.calls


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archived]:
    """An archive in a bucket, copied to Orthanc; the PACS has been off since the first copy."""
    files = [*corpus_files()[::CORPUS_STEP], *generated_archive(studies=STUDIES).files]
    with (
        ThreeHomes(copy_to=("archive",)) as homes,
        Dcmqrscp(homes.lanes, profile="assoc-nodelay", pairs=corpus_pairs()) as pacs,
    ):
        truth = held(as_listed(pacs, load(pacs, files)))
        folder = tmp_path_factory.mktemp("copies")
        configuration = homes.write_configuration(folder, pacs, "c-move")
        with configuration.open("a", encoding="utf-8") as file:
            for name in FURTHER:
                homes.archive.client().create_bucket(Bucket=name)
                file.write(homes.bucket_section(name, homes.archive, "moto", name))
        archived = Archived(homes, configuration, truth, {})
        for command in ("inventory", "plan", "run", "verify"):
            archived.run(command, codes=(0, 1))
        pacs.kill()
        homes.forget_what_was_sent()
        archived.run("copy", "--to", "viewer", "--all")
        archived.run("verify")
        yield archived


@pytest.mark.timeout(5 * TIME_MAX_S)
def test_copies_between_real_stores_hold_what_was_loaded_and_the_pacs_is_off(
    world: Archived,
) -> None:
    from_orthanc = world.run("copy", "--from", "viewer", "--to", AGAIN, "--all").document
    from_bucket = world.run("copy", "--from", "archive", "--to", "dr", "--all").document
    verified = world.run("verify").document
    copies, closing = world.copies(), equations(world.run("close", codes=(0, 1)))
    verdicts = {name: world.judge(name) for name in ("archive", "viewer", AGAIN, "dr")}

    for name, verdict in verdicts.items():
        print(f"{name}: {verdict.studies_loaded} studies, {dict(verdict.counts)}")
    studies = copies["archive"]["verified"]
    assert world.asked == 0, "the PACS is switched off"
    assert copies == {name: {"verified": studies} for name in verdicts}
    assert from_orthanc["from"] == {"viewer": studies}
    assert from_bucket["from"] == {"archive": studies}
    assert verified["how"] == {"READ_BACK": 2 * studies}
    assert closing.instances.adds_up
    for verdict in verdicts.values():
        check_verdict(verdict, "dcmqrscp", "c-move")
        assert verdict.counts == verdicts["archive"].counts, verdict.table()


@pytest.mark.timeout(5 * TIME_MAX_S)
def test_a_copy_that_is_killed_goes_on_where_it_was(world: Archived) -> None:
    words = ("copy", "--from", "viewer", "--to", KILLED, "--all")
    with Running(world.configuration, *words) as copying:
        copying.until(lambda: len(world.images(KILLED)) > len(world.truth) // 5, time_max_s=60)
    _check_resumed(world, words, KILLED)


@pytest.mark.skipif(SAMPLE, reason="a store that died is left alone for half a minute")
@pytest.mark.timeout(5 * TIME_MAX_S)
def test_a_copy_goes_on_after_its_origin_died_in_the_middle(world: Archived) -> None:
    words = ("copy", "--from", "viewer", "--to", RESTARTED, "--all")
    with Running(world.configuration, *words) as copying:
        copying.until(lambda: len(world.images(RESTARTED)) > len(world.truth) // 5, time_max_s=60)
        world.homes.viewer.kill()
        copying.until(lambda: bool(copying.events("study.put_back")), time_max_s=60)
        at_death = len(world.images(RESTARTED))
        world.homes.viewer.start()
        copying.until(lambda: len(world.images(RESTARTED)) > at_death, time_max_s=60)
        assert copying.exit_code(time_max_s=TIME_MAX_S) == 0
    print(f"origin died at {at_death} of {len(world.truth)}")
    assert at_death < len(world.truth), "too late to meet anything"
    _check_resumed(world, words, RESTARTED)


def _check_resumed(world: Archived, words: Sequence[str], to: str) -> None:
    """What was interrupted is exact when the same command has run once more."""
    before = len(world.images(to))
    last = world.run(*words).document
    world.run("verify")
    copies, verdict = world.copies(), world.judge(to)
    print(f"{before} of {len(world.truth)} were there, then: {last}")
    assert world.asked == 0
    assert copies[to] == copies["archive"]
    check_verdict(verdict, "dcmqrscp", "c-move")
    assert verdict.counts == world.judge("archive").counts


@pytest.mark.timeout(5 * TIME_MAX_S)
def test_a_spoiled_copy_is_never_the_parent_of_a_new_one(world: Archived) -> None:
    """The last test: it spoils one study of the bucket, and another of Orthanc."""
    in_bucket, in_orthanc = _two_studies(world.truth)
    _spoil_in_bucket(world, in_bucket)
    _spoil_in_orthanc(world.homes, in_orthanc)
    only = ("--study", in_bucket.study_instance_uid)

    of_bucket = world.run("copy", "--from", "archive", "--to", UNSPOILED, *only, codes=(1,))
    assert of_bucket.document["copies_damaged"] == 1
    assert in_bucket.sop_instance_uid not in world.images(UNSPOILED)
    of_orthanc = world.run("copy", "--from", "viewer", "--to", UNSPOILED, "--all", codes=(1,))
    assert of_orthanc.document["copies_damaged"] == 1
    assert in_orthanc.sop_instance_uid not in world.images(UNSPOILED)
    rest = world.run("copy", "--to", UNSPOILED, "--all")
    world.run("verify")
    copies, verdict = world.copies(), world.judge(UNSPOILED)

    assert rest.document["studies_copied"] == 1
    assert world.asked == 0
    assert copies["archive"]["failed"] == copies["viewer"]["failed"] == 1
    assert copies[UNSPOILED] == {"verified": sum(copies["archive"].values())}
    check_verdict(verdict, "dcmqrscp", "c-move")


def _two_studies(truth: Sequence[Loaded]) -> tuple[Loaded, Loaded]:
    """Return one instance each of two generated studies."""
    generated = [each for each in truth if not name_in_corpus(each.path)]
    first, second, *_ = {each.study_instance_uid: each for each in generated}.values()
    return first, second


def _spoil_in_bucket(world: Archived, one: Loaded) -> None:
    """Put an object over one of ours that differs in its last byte."""
    client, key = world.homes.archive.client(), world.images(BUCKET)[one.sop_instance_uid]
    ours = client.get_object(Bucket=BUCKET, Key=key)
    content = _last_byte_changed(ours["Body"].read())
    client.put_object(Bucket=BUCKET, Key=key, Body=content, Metadata=ours["Metadata"])


def _spoil_in_orthanc(homes: ThreeHomes, one: Loaded) -> None:
    """Put an instance in the place of another of the same UIDs."""
    found = json.loads(homes.viewer.get("tools/lookup", one.sop_instance_uid.encode("ascii")))
    [number] = [each["ID"] for each in found if each["Type"] == "Instance"]
    content = _last_byte_changed(homes.viewer.get(f"instances/{number}/file"))
    homes.viewer.delete(f"instances/{number}")
    homes.viewer.get("instances", content)


def _last_byte_changed(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])
