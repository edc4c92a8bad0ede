"""The story of `cloudmig demo`: a whole migration in a minute, with a SIGKILL in the middle.

scripted PACS ──► inventory ─► plan ─► run ─✂ SIGKILL ─► run ─► verify ─► close ──► judge
                                        (child processes of the real command line)
"""

from __future__ import annotations

import datetime as dt
import gzip
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cloudmig.demo import answers
from cloudmig.demo.archive import DemoArchive, demo_archive
from cloudmig.demo.bucket import BucketProcess, BucketView
from cloudmig.demo.children import Child, CommandRun, cloudmig, cloudmig_killed_when
from cloudmig.demo.judge import Judgement, judge
from cloudmig.demo.pacs.holdings import Held, Holdings
from cloudmig.demo.telling import Teller, teller_for
from cloudmig.demo.workplace import AGENT_AET, Workplace, free_port

__all__ = ["Outcome", "run_demo"]

_RECENT_DAYS = 365
_EXPECTED_REASONS = frozenset({"missing_instances", "conflict"})


@dataclass
class Outcome:
    """What the demo found out, as data."""

    studies: int = 0
    studies_shown_at_once: int = 0
    studies_found: int = 0
    instances_to_move: int = 0
    interrupted_at: int = 0
    interrupted: str = ""
    instances_stored: int = 0
    instances_per_second: float = 0.0
    duration_s: float = 0.0
    equations: list[answers.EquationAnswer] = field(default_factory=list)
    quarantine: list[answers.QuarantineAnswer] = field(default_factory=list)
    judgement: Judgement | None = None
    manifest: str = ""
    report: str = ""

    @property
    def problems(self) -> list[str]:
        """Name what did not go as it must; empty after a good run."""
        found = [f"does not add up: {one}" for one in self.equations if not one.holds]
        if self.studies_found != self.studies:
            found.append(f"the inventory has {self.studies_found} of {self.studies} studies")
        reasons = {one.reason for one in self.quarantine}
        if reasons != _EXPECTED_REASONS or len({one.study for one in self.quarantine}) != 2:
            found.append(f"quarantine should hold the two planted studies, not {sorted(reasons)}")
        if self.judgement is None or not self.judgement.holds:
            found.append("the bucket does not hold what the PACS holds")
        return found

    def document(self) -> dict[str, object]:
        """Return everything for --json."""
        assert self.judgement is not None, "the story was told to its end"
        return {
            "studies": self.studies,
            "studies_shown_at_once": self.studies_shown_at_once,
            "studies_found": self.studies_found,
            "instances_to_move": self.instances_to_move,
            "interrupted_at": self.interrupted_at,
            "interrupted": self.interrupted,
            "instances_stored": self.instances_stored,
            "instances_per_second": round(self.instances_per_second, 1),
            "duration_s": round(self.duration_s, 1),
            "equations": {
                one.unit: {
                    "inventory": one.inventory,
                    "verified": one.verified,
                    "quarantined": one.quarantined,
                    "excluded": dict(one.excluded),
                    "unexplained": one.unexplained,
                    "holds": one.holds,
                }
                for one in self.equations
            },
            "quarantine": [
                {"study": one.study, "reason": one.reason, "explanation": one.explanation}
                for one in self.quarantine
            ],
            "judge": {
                "expected": self.judgement.expected,
                "found": self.judgement.found,
                "absent": self.judgement.absent,
                "strange": self.judgement.strange,
                "written_twice": self.judgement.written_twice,
                "manifests": self.judgement.manifests,
            },
            "manifest": self.manifest,
            "report": self.report,
            "problems": self.problems,
        }


def run_demo(*, studies: int = 60, as_json: bool = False, folder: Path = Path(".demo")) -> int:
    """Tell the whole story; return 0 when it went as it must, else 3."""
    teller = teller_for(as_json=as_json)
    outcome = Outcome()
    began = time.monotonic()
    place = Workplace(folder)
    place.wipe()
    today = dt.datetime.now().astimezone().date()
    archive = demo_archive(studies, today=today)
    with _surroundings(place, archive, today) as bucket:
        _Story(place, archive, today, bucket, teller, outcome).tell()
    outcome.duration_s = time.monotonic() - began
    _tell_end(teller, outcome, place)
    teller.end(outcome.document())
    return 3 if outcome.problems else 0


@contextmanager
def _surroundings(place: Workplace, archive: DemoArchive, today: dt.date) -> Iterator[BucketView]:
    """Start the PACS and the bucket, and write the configuration that knows both."""
    listen_port = free_port()
    pacs = Child(
        "cloudmig.demo.pacs",
        "--studies", str(len(archive.studies)),
        "--today", today.isoformat(),
        "--to", f"{AGENT_AET}=127.0.0.1:{listen_port}",
    )  # fmt: skip
    with ExitStack() as open_things:
        bucket = open_things.enter_context(BucketProcess())
        open_things.callback(pacs.stop)
        told = pacs.start()
        place.write_configuration(
            listen_port=listen_port,
            pacs=(str(told["host"]), int(str(told["port"])), str(told["aet"])),
            endpoint=bucket.endpoint,
            bucket=bucket.name,
        )
        yield bucket


@dataclass(frozen=True, slots=True)
class _Story:
    place: Workplace
    archive: DemoArchive
    today: dt.date
    bucket: BucketView
    teller: Teller
    outcome: Outcome

    def tell(self) -> None:
        """Go through all chapters."""
        expected = self._introduce()
        self._find_and_plan()
        self._run_and_kill(expected)
        self._run_again()
        self.outcome.instances_stored = self._images()
        self._prove(expected)

    def _introduce(self) -> list[Held]:
        """Say what the PACS holds, and return what should end up in the bucket."""
        outcome, script = self.outcome, self.archive.script
        outcome.studies = len(self.archive.studies)
        outcome.studies_shown_at_once = script.study_limit or outcome.studies
        recent = self.today - dt.timedelta(days=_RECENT_DAYS)
        old = [one for one in self.archive.studies if _is_older(one.study_date, recent)]
        expected = [
            held for held in Holdings(old).truth() if held.sop_instance_uid not in script.missing
        ]
        outcome.instances_to_move = len(expected)
        self.teller.step("A legacy PACS, and a bucket")
        self.teller.line(
            f"{outcome.studies} studies. To a plain query it shows"
            f" {outcome.studies_shown_at_once} without a word; it lost an image it still lists,"
        )
        self.teller.line(
            "and has two contents under one SOP Instance UID. One study has no date, one an"
            " impossible one."
        )
        self.teller.line(f"The bucket is at {self.bucket.endpoint}, with versions.")
        return expected

    def _find_and_plan(self) -> None:
        self.teller.step("cloudmig inventory; cloudmig plan")
        found, told = answers.inventory_words(self._cloudmig("inventory").stdout)
        self.outcome.studies_found = found
        self.teller.line(told)
        self.teller.line(answers.plan_words(self._cloudmig("plan").stdout))

    def _run_and_kill(self, expected: list[Held]) -> None:
        self.teller.step("cloudmig run, and kill -9 in the middle")
        half = len(expected) // 2
        run = cloudmig_killed_when(
            self.place.config, "run", kill_when=lambda: self._images() >= half
        )
        moved_s = answers.moving_s(run.stdout, run.ended_at)
        self.outcome.interrupted_at = self._images()
        if moved_s:
            self.outcome.instances_per_second = self.outcome.interrupted_at / moved_s
        self.outcome.interrupted = answers.status_words(self._cloudmig("status").stdout)
        self.teller.line(
            f"SIGKILL with {self.outcome.interrupted_at} of {len(expected)} instances in the bucket"
            f" after {run.duration_s:.1f} s",
            style="yellow",
        )
        self.teller.line(f"Interrupted: {self.outcome.interrupted}")

    def _run_again(self) -> None:
        self.teller.step("cloudmig run again")
        run = self._cloudmig("run")
        rest = self._images() - self.outcome.interrupted_at
        self.teller.line(
            f"Resumed: the other {rest} instances in {run.duration_s:.1f} s", style="green"
        )

    def _prove(self, expected: list[Held]) -> None:
        self.teller.step("cloudmig verify; cloudmig close")
        self.teller.line(answers.verify_words(self._cloudmig("verify").stdout))
        outcome = self.outcome
        outcome.quarantine = answers.quarantine(self._cloudmig("quarantine", "list").stdout)
        outcome.equations, report = answers.closing(self._cloudmig("close").stdout)
        outcome.report = report or self._newest_report()
        outcome.manifest = self._fetch_manifest()
        outcome.judgement = judge(self.bucket, expected)

    def _cloudmig(self, *arguments: str) -> CommandRun:
        return cloudmig(self.place.config, *arguments)

    def _images(self) -> int:
        return len({one.key for one in self.bucket.versions("v1/") if one.key.endswith(".dcm")})

    def _newest_report(self) -> str:
        pages = sorted(self.place.reports.glob("**/*.html"), key=lambda page: page.stat().st_mtime)
        return str(pages[-1]) if pages else ""

    def _fetch_manifest(self) -> str:
        """Save one manifest where a person can open it."""
        keys = (one.key for one in self.bucket.versions("v1/") if "/manifest/" in one.key)
        key = next(keys, None)
        if key is None:
            return ""
        saved = self.place.folder / "manifest.json"
        saved.write_bytes(gzip.decompress(self.bucket.read(key)))
        return str(saved)


def _is_older(study_date: str, day: dt.date) -> bool:
    """Tell what the first rule of the demo tells: a study without a usable date is not recent."""
    try:
        taken = dt.datetime.strptime(study_date, "%Y%m%d").date()  # noqa: DTZ007 - a date has none
    except ValueError:
        return True
    return taken < day


def _tell_end(teller: Teller, outcome: Outcome, place: Workplace) -> None:
    assert outcome.judgement is not None, "the story was told to its end"
    judged = outcome.judgement
    teller.step("Nothing unexplained")
    for equation in outcome.equations:
        teller.line(str(equation), style="green" if equation.holds else "red")
    teller.line(
        f"judge, who shares no code with the agent: {judged.found} of {judged.expected} data sets"
        f" are in the bucket byte for byte, {judged.absent} absent, {judged.strange} strange,"
        f" {judged.written_twice} written twice",
        style="green" if judged.holds else "red",
    )
    teller.line(
        f"{outcome.instances_per_second:.0f} instances a second until the kill, into a bucket"
        f" written in Python; {outcome.duration_s:.0f} s in all"
    )
    teller.step("In quarantine, for a person")
    for finding in dict.fromkeys(outcome.quarantine):
        teller.line(f"{finding.study}  {finding.reason}: {finding.explanation}", style="yellow")
    teller.step("To look at")
    teller.line(f"a manifest   {outcome.manifest}")
    teller.line(f"a report     {outcome.report}")
    teller.line(f"the catalog  cloudmig --config {place.config} status")
    for problem in outcome.problems:
        teller.line(f"PROBLEM: {problem}", style="bold red")
    teller.step("Next, with your own PACS")
    teller.line("cloudmig init --pacs HOST:PORT --aet PACS --bucket s3://YOUR-BUCKET")
    teller.line("cloudmig doctor")
    teller.line("cloudmig inventory")
