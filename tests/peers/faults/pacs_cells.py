"""The cells of one PACS: it is loaded once, each cell has a lane and two proxies of its own."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.peers.asking import Retrieve
from tests.peers.faults.cell import Cell, Migration, in_short, migrate, write_toml
from tests.peers.faults.dimse_proxy import DimseProxy
from tests.peers.faults.looping import LoopThread
from tests.peers.faults.pacs_faults import PacsFault, Trouble
from tests.peers.faults.small_archive import as_sent, small_studies
from tests.peers.judge import Finding, Verdict, judge
from tests.peers.launch import Dcmqrscp, Lane, MotoServer, Orthanc, PixelMed, free_ports
from tests.peers.loading import Loaded, held, load
from tests.peers.survey import PEERS

__all__ = ["Plan", "run_cells"]

Pacs = Orthanc | Dcmqrscp | PixelMed

_STUDIES = 8
_COMMAND_MAX_S = 240.0
#: Cells wait most of the time: for a hanging answer, for a PACS that comes back.
_AT_ONCE = 5
#: What every PACS takes at least; so that every strike has something to hit.
_INSTANCES_MIN = 25


@dataclass(frozen=True, slots=True)
class Plan:
    """Which fault, by which service, and whether it ever goes away."""

    fault: PacsFault
    retrieve: Retrieve = "c-move"
    stays: bool = False

    @property
    def name(self) -> str:
        """Return its name in the table."""
        service = "" if self.retrieve == "c-move" else " (C-GET)"
        return f"{self.fault.value}{service}{', for ever' if self.stays else ''}"


def run_cells(peer: str, plans: Sequence[Plan], folder: Path) -> dict[Plan, Cell]:
    """Load the peer and run the cells; those that kill it come after the others."""
    ports = free_ports(3 * len(plans))
    places = {plan: ports[3 * number : 3 * number + 3] for number, plan in enumerate(plans)}
    lanes = {plan: Lane(f"LANE{number:02}", places[plan][1]) for number, plan in enumerate(plans)}
    with ExitStack() as running:
        store = running.enter_context(MotoServer())
        own_lane = Lane("BASELINE", free_ports(1)[0])
        pacs = running.enter_context(PEERS[peer]([own_lane, *lanes.values()]))
        # PixelMed takes Explicit VR only: what it did not take is not in the truth.
        truth = held(load(pacs, small_studies(_STUDIES)))
        assert len(truth) >= _INSTANCES_MIN, f"{peer} took {len(truth)} files only"
        truth = as_sent(pacs, own_lane, truth, folder)
        loop = running.enter_context(LoopThread())

        def run(plan: Plan) -> Cell:
            bench = _Bench(peer, plan, pacs, lanes[plan], places[plan], store, truth, loop)
            place = folder / f"{plan.fault.name.lower()}-{plan.retrieve}-{plan.stays}"
            place.mkdir()
            try:
                return bench.run(place)
            except Exception as error:  # noqa: BLE001 - one cell must not take the others with it
                return Cell(peer, plan.name, wrong=[f"{type(error).__name__}: {error}"])

        killing = [plan for plan in plans if plan.fault is PacsFault.KILLED]
        others = [plan for plan in plans if plan not in killing]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            cells = dict(zip(others, pool.map(run, others), strict=True))
        return cells | {plan: run(plan) for plan in killing}


@dataclass(frozen=True, slots=True)
class _Bench:
    peer: str
    plan: Plan
    pacs: Pacs
    lane: Lane
    ports: Sequence[int]
    store: MotoServer
    truth: Sequence[Loaded]
    loop: LoopThread

    def run(self, folder: Path) -> Cell:
        cell = Cell(self.peer, self.plan.name)
        bucket = folder.name.replace("_", "-").lower()
        client = self.store.client()
        client.create_bucket(Bucket=bucket)
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        trouble = self._trouble()
        questions, storage, listen = self.ports
        pacs = self.pacs
        trouble.questions = DimseProxy(questions, (pacs.host, pacs.port), trouble.decide)
        trouble.storage = DimseProxy(storage, ("127.0.0.1", listen), trouble.decide)
        configuration = self._configuration(folder, bucket)
        began = time.monotonic()
        self.loop.call(trouble.begin())
        try:
            migration = migrate(
                configuration,
                lambda command: None,
                command_max_s=_COMMAND_MAX_S,
                told=cell.wrong.append,
            )
        finally:
            self.loop.call(trouble.end())
        cell.seconds = time.monotonic() - began
        verdict = judge(self.truth, client, bucket)
        cell.take(migration, verdict, trouble.injected)
        if self.plan.stays and self.plan.fault is not PacsFault.WARNING:
            self._check_loss(cell, migration, verdict)
        else:
            # The baseline came by C-MOVE. dcmqrscp writes sequences in another way by C-GET: other
            # bytes, and the judge has compared elements and pixels.
            may_be = Finding.EQUAL_ELEMENTS if self.plan.retrieve == "c-get" else None
            lost = [each for each in verdict.differences if each.finding is not may_be]
            cell.expect(not lost and not verdict.problems, in_short(verdict))
            cell.expect(cell.quarantined == 0, "a clean study is in quarantine")
        return cell

    def _trouble(self) -> Trouble:
        of_study = Counter(record.study_instance_uid for record in self.truth)
        studies = list(of_study)
        victim = ""
        if self.plan.stays:
            study = max(studies, key=lambda name: of_study[name])
            instances = [
                each.sop_instance_uid for each in self.truth if each.study_instance_uid == study
            ]
            of_request = self.plan.fault in {PacsFault.WRONG_STUDY, PacsFault.NOTHING}
            victim = study if of_request else instances[1]
        return Trouble(
            self.plan.fault,
            victim=victim,
            another_study=lambda study: studies[studies.index(study) - 1],
            kill=self.pacs.kill,
            revive=self.pacs.start,
        )

    def _configuration(self, folder: Path, bucket: str) -> Path:
        sections: Mapping[str, Mapping[str, object]] = {
            "agent": {"name": "faults", "transfers": 4, "backoff_s": 1},
            "listen": {"host": "127.0.0.1", "port": self.ports[2]},
            "sources.main": {
                "archive": "main",
                "host": "127.0.0.1",
                "port": self.ports[0],
                "aet": self.pacs.ae_title,
                "ae_titles": [self.lane.ae_title],
                "retrieve": self.plan.retrieve,
                "lanes": 2,
                "idle_s": 60,
            },
            "destinations.archive": {
                "url": f"s3://{bucket}",
                "endpoint": self.store.endpoint,
                "profile": "moto",
                "access_key_id": self.store.access_key_id,
                "secret_access_key": self.store.secret_access_key,
            },
        }
        return write_toml(folder, sections)

    def _check_loss(self, cell: Cell, migration: Migration, verdict: Verdict) -> None:
        """What can never be had is in quarantine with its reason, and is all that is missing."""
        if self.plan.fault is PacsFault.WRONG_STUDY and verdict.clean and not cell.quarantined:
            cell.note = "asked for single instances, it sends them whatever study is named"
            return
        victim = self._trouble().victim
        lost = {
            each.sop_instance_uid
            for each in self.truth
            if victim in {each.sop_instance_uid, each.study_instance_uid}
        }
        missing = {each.sop_instance_uid for each in verdict.named(Finding.MISSING)}
        cell.expect(missing == lost, f"missing {len(missing)} instances instead of {len(lost)}")
        others = [each for each in verdict.differences if each.finding is not Finding.MISSING]
        cell.expect(not others, in_short(verdict))
        cell.expect(not verdict.problems, f"problems: {verdict.problems}")
        reasons = dict(migration.closing.quarantine) if migration.closing else {}
        cell.note = f"quarantine: {reasons}"
        cell.expect(reasons == {"missing_instances": 1}, f"quarantine says {reasons}")
