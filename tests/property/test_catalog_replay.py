"""The tables and a replay of the ledger agree after any sequence of legal operations."""

from __future__ import annotations

import datetime as dt
import itertools

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from cloudmig.catalog import Catalog
from cloudmig.catalog.copying import CopyOrder
from cloudmig.catalog.records import BadInstance
from cloudmig.catalog.replay import (
    as_replayed_extra,
    as_replayed_files,
    as_replayed_unnamed,
    rebuild_extras,
    rebuild_files,
    rebuild_unnamed,
)
from cloudmig.errors import CatalogError, LeaseLost
from cloudmig.messages import ObjectFinding, StudyVerdict
from cloudmig.model.extra_object import ExtraObject
from cloudmig.model.files import TOTAL, Account, FileGroup, FileTally, file_equations
from cloudmig.model.quarantine import QuarantineReason
from cloudmig.model.references import StudyRef
from cloudmig.model.states import CopyState, TransferState
from cloudmig.model.study import Answer, StudySummary, UnnamedStudy
from cloudmig.model.transfer import CopyPlan, Decision, TransferJob
from tests.catalog_studies import (
    NOW,
    UrlFactory,
    a_study,
    an_instance,
    check_ledger,
    plan,
    store_copy,
    take_inventory,
)

pytest_plugins = ["tests.catalog_fixtures"]

STUDIES = [a_study(number) for number in range(1, 5)]
DESTINATIONS = ["archive", "second"]
HELD = {CopyState.STORED, CopyState.VERIFIED}

UNNAMED = [UnnamedStudy(f"{number:064x}") for number in range(1, 4)]

studies = st.sampled_from(STUDIES)
plans = st.lists(st.sampled_from(DESTINATIONS), unique=True)


class CatalogMachine(RuleBasedStateMachine):
    """Plans, works, verifies, releases and closes at random; late workers keep trying, too."""

    fresh_url: UrlFactory

    def __init__(self) -> None:
        super().__init__()
        self.catalog = Catalog.open(self.fresh_url(), now=lambda: NOW)
        self.jobs: list[TransferJob] = []
        self.revisions = itertools.count(1)
        take_inventory(self.catalog, STUDIES)
        plan(self.catalog, STUDIES[:3], *DESTINATIONS)

    def teardown(self) -> None:
        self.catalog.close()

    @rule(
        study=studies,
        destinations=plans,
        name=st.sampled_from(["old", "new"]),
        storage_class=st.sampled_from(["STANDARD", "STANDARD_IA"]),
        priority=st.integers(0, 2),
    )
    def plan(
        self,
        study: StudyRef,
        destinations: list[str],
        name: str,
        storage_class: str,
        priority: int,
    ) -> None:
        copies = tuple(CopyPlan(one, storage_class) for one in destinations)
        self.catalog.record_plan([Decision("main", study, name, copies, priority)], NOW)

    @rule(study=studies, instances=st.integers(2, 4))
    def grow(self, study: StudyRef, instances: int) -> None:
        """Take the inventory anew: a plan after it may begin a study again that was done."""
        take_inventory(self.catalog, [study], instances=instances)

    @rule(lease_s=st.sampled_from([0.0, 600.0]))
    def claim(self, lease_s: float) -> None:
        job = self.catalog.claim_next("worker", lease_s=lease_s, sources=["main"])
        if job is not None:
            assert all(job.attempt > old.attempt for old in self.jobs if old.study == job.study)
            self.jobs.append(job)

    @rule(revised=st.booleans())
    def move_one(self, revised: bool) -> None:
        """Claim and store at once: the common way, so that later steps have something to do."""
        job = self.catalog.claim_next("worker", lease_s=600.0, sources=["main"])
        if job is not None:
            held = self.catalog.open_work(job).copies
            for copy in job.copies:
                revision = held[copy.destination].manifest_revision + revised
                store_copy(self.catalog, job, copy.destination, revision=revision)
            self.catalog.finish(job, TransferState.STORED, cause="", instances_inventory=2)

    @rule(agreed=st.booleans())
    def verify_all(self, agreed: bool) -> None:
        findings = () if agreed else (BadInstance("1.2.3", "altered", "k"),)
        for copy in self.catalog.copies_to_verify():
            self.catalog.record_verdict(
                copy, agreed=agreed, how="STORE_CHECKSUM", findings=findings, at=NOW
            )

    @rule(
        destination=st.sampled_from(["third", "third", "second"]),
        rules=st.sampled_from([None, None, ("the archive",), ()]),
        ending=st.sampled_from(["stored", "put back", "left", "forgone", "origin failed"]),
        prepared=st.sampled_from([True, True, False]),
    )
    def copy_from_another(
        self, destination: str, rules: tuple[str, ...] | None, ending: str, prepared: bool
    ) -> None:
        """Make a copy from a verified one, of studies that are done as well."""
        if prepared:  # By chance alone a study is verified too seldom.
            self.move_one(False)
            self.verify_all(True)
        order = CopyOrder(("main",), destination, rules=rules)
        for row in self.catalog.copies_to_make(order):
            origin = next(
                copy
                for copy in row.copies
                if copy.state is CopyState.VERIFIED and copy.destination != destination
            )
            wanted = CopyPlan(destination, "STANDARD")
            claim = self.catalog.claim_copy("worker", row, origin, wanted, lease_s=600.0)
            if claim is None:
                assert row.state is TransferState.MOVING, "somebody else is at it"
                continue
            self.jobs.append(claim.job)
            if not claim.job.copies:
                self.catalog.finish(claim.job, TransferState.STORED, cause="made before")
                continue
            assert [each.destination for each in claim.job.copies] == [destination]
            self._end_copy(claim.job, origin.destination, ending, planned=claim.planned)

    def _end_copy(self, job: TransferJob, origin: str, ending: str, *, planned: bool) -> None:
        [copy] = job.copies
        bad = BadInstance("1.2.3", "altered", "k")
        if ending == "left":
            return
        if ending == "stored":
            held = self.catalog.open_work(job).copies[copy.destination]
            store_copy(self.catalog, job, copy.destination, revision=held.manifest_revision + 1)
        if ending == "origin failed" and self.catalog.fail_origin(job, origin, [bad], NOW):
            self.catalog.finish(
                job,
                TransferState.QUARANTINED,
                cause="because",
                reason=QuarantineReason.VERIFICATION_FAILED,
            )
            return
        if ending == "forgone" and planned:
            self.catalog.forgo_copy(job, copy.destination, "archived")
        self.catalog.finish(job, self.reached(job), cause="")

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def store_all(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self.jobs))
        weak = data.draw(st.sampled_from(["SET", "WEAK"]))
        try:
            held = self.catalog.open_work(job).copies
            for copy in job.copies:
                revision = held[copy.destination].manifest_revision + 1
                store_copy(
                    self.catalog, job, copy.destination, revision=revision, completeness=weak
                )
            self.catalog.finish(job, self.reached(job), cause="", instances_inventory=2)
        except LeaseLost:
            assert self.is_late(job)

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), state=st.sampled_from(["PLANNED", "QUARANTINED", "EXCLUDED"]))
    def end_otherwise(self, data: st.DataObject, state: str) -> None:
        job = data.draw(st.sampled_from(self.jobs))
        reason = QuarantineReason.MISSING_INSTANCES if state == "QUARANTINED" else None
        try:
            self.catalog.finish(
                job,
                TransferState[state],
                cause="because",
                failed=data.draw(st.booleans()),
                reason=reason,
                instances_inventory=data.draw(st.sampled_from([None, 3])),
            )
        except LeaseLost:
            assert self.is_late(job)

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def reopen(self, data: st.DataObject) -> None:
        """What an earlier attempt made, and perhaps this one, lacks what is listed by now."""
        job = data.draw(st.sampled_from(self.jobs))
        try:
            copies = self.catalog.open_work(job).copies
            made = [name for name, row in copies.items() if row.state in HELD]
            self.catalog.reopen_copies(job, made)
            self.catalog.finish(job, TransferState.PLANNED, cause="lacking")
        except LeaseLost:
            assert self.is_late(job)

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def find_and_owe(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self.jobs))
        try:
            for copy in job.copies[:1]:
                if self.catalog.open_work(job).copies[copy.destination].state is CopyState.STORED:
                    return  # This attempt has made it already.
                self.catalog.owe_copy(job, copy.destination, "down")
            self.catalog.record_finding(
                job, "conflict_found", QuarantineReason.CONFLICT, {"n": 1}, an_instance(job.study)
            )
        except LeaseLost:
            assert self.is_late(job)

    @rule(data=st.data(), agreed=st.booleans(), again=st.booleans())
    def verify(self, data: st.DataObject, agreed: bool, again: bool) -> None:
        copies = self.catalog.copies_to_verify(again=again)
        if not copies:
            return
        copy = data.draw(st.sampled_from(copies))
        findings = () if agreed else (BadInstance("1.2.3", "altered", "k"),)
        state = self.catalog.record_verdict(
            copy, agreed=agreed, how="READ_BACK", findings=findings, at=NOW
        )
        assert state is not None

    @rule(data=st.data(), shape=st.sampled_from(["agreed", "differs", "stranger", "other"]))
    def hear_the_cloud(self, data: st.DataObject, shape: str) -> None:
        """A verdict of any time about any revision of any copy, whatever its study is doing."""
        study = data.draw(studies)
        row = self.catalog.transfer("main", study)
        if row is None or not row.copies:
            return
        copy = data.draw(st.sampled_from(row.copies))
        revision = max(1, copy.manifest_revision + data.draw(st.integers(-1, 1)))
        findings = {
            "agreed": (),
            "differs": (ObjectFinding(finding="altered", key="k", sop_instance_uid="1.2.3"),),
            "stranger": (ObjectFinding(finding="stranger", key=f"{copy.destination}/s"),),
            "other": (),
        }[shape]
        at = NOW + dt.timedelta(minutes=data.draw(st.integers(-2, 20)))
        verdict = StudyVerdict(
            bucket="b", prefix="", archive="main", study_instance_uid=study.study_instance_uid,
            manifest_key=f"manifest/{revision}.json.gz",
            manifest_sha256="f" * 64 if shape == "other" else f"{revision:064x}",
            manifest_revision=revision, agreed=not findings, instances=2, differing=len(findings),
            how="STREAMED", at=at.isoformat(), findings=findings,
        )  # fmt: skip
        self.catalog.hear_study_verdict(copy.destination, "main", verdict, at=NOW)

    @rule()
    def hear_what_waits(self) -> None:
        self.catalog.hear_waiting(NOW)

    @rule(key=st.sampled_from(["archive/s", "second/s"]))
    def release_extra(self, key: str) -> None:
        waiting = [row.extra for row in self.catalog.extra_objects(released=False)]
        extra = ExtraObject(key.split("/", maxsplit=1)[0], key)
        try:
            self.catalog.release_extra(extra, at=NOW, note="seen")
        except CatalogError:
            assert extra not in waiting

    @rule(study=studies, exclude_rule=st.sampled_from([None, "given up"]))
    def release(self, study: StudyRef, exclude_rule: str | None) -> None:
        row = self.catalog.transfer("main", study)
        if row is not None and row.state is TransferState.QUARANTINED:
            self.catalog.release("main", study, at=NOW, note="looked", exclude_rule=exclude_rule)

    @rule(
        study=st.sampled_from(UNNAMED),
        source=st.sampled_from(["main", "annex"]),
        claimed=st.sampled_from([None, 0, 5]),
    )
    def find_unnamed(self, study: UnnamedStudy, source: str, claimed: int | None) -> None:
        sweep = self.catalog.begin_sweep(source, NOW)
        summaries = [StudySummary(study, instances_claimed=claimed), StudySummary(STUDIES[0])]
        self.catalog.record_answer(sweep, Answer("universal", 2, "complete"), summaries, NOW)

    @rule(study=st.sampled_from(UNNAMED), note=st.sampled_from(["", "seen"]))
    def release_unnamed(self, study: UnnamedStudy, note: str) -> None:
        try:
            self.catalog.release_unnamed("main", study, at=NOW, note=note)
        except CatalogError:
            waiting = self.catalog.unnamed_studies("main", released=False)
            assert study not in [row.study for row in waiting]

    @rule(
        source=st.sampled_from(["main", "annex"]),
        broken=st.integers(0, 2),
        instances=st.integers(0, 2),
        fingerprint=st.sampled_from(["a", "b"]),
    )
    def count_files(self, source: str, broken: int, instances: int, fingerprint: str) -> None:
        tallies = [
            FileTally(Account.FILES, TOTAL, broken + instances),
            FileTally(Account.FILES, "instance", instances, 100),
        ]
        if broken:
            tallies.append(
                FileTally(Account.FILES, "unreadable", broken, 9, fingerprint, waits=True)
            )
        self.catalog.record_tallies(source, tallies, NOW)
        assert all(each.holds for each in file_equations(
            row.tally for row in self.catalog.file_tallies(source)
        ))  # fmt: skip

    @rule(source=st.sampled_from(["main", "annex"]), note=st.sampled_from(["", "seen"]))
    def release_files(self, source: str, note: str) -> None:
        group = FileGroup(source, "files", "unreadable")
        waiting = [item.study for item in self.catalog.quarantine_items()]
        try:
            self.catalog.release_files(group, at=NOW, note=note)
        except CatalogError:
            assert group not in waiting
        else:
            assert group in waiting

    @rule()
    def stop_cleanly(self) -> None:
        self.catalog.put_back_all("worker")

    @rule()
    def close_wave(self) -> None:
        statement = self.catalog.statement()
        try:
            self.catalog.close_wave(NOW, statement)
        except CatalogError:
            assert not statement.holds

    @invariant()
    def the_ledger_tells_the_same_as_the_tables(self) -> None:
        check_ledger(self.catalog)
        unnamed = {
            (row.source, row.study.answer_sha256): as_replayed_unnamed(row)
            for row in self.catalog.unnamed_studies()
        }
        assert rebuild_unnamed(self.catalog.ledger(limit=100_000)) == unnamed
        extras = {row.extra: as_replayed_extra(row) for row in self.catalog.extra_objects()}
        assert rebuild_extras(self.catalog.ledger(limit=100_000)) == extras
        files = {
            FileGroup(row.source, row.tally.account.value, row.tally.kind): as_replayed_files(row)
            for row in self.catalog.file_tallies()
        }
        assert rebuild_files(self.catalog.ledger(limit=100_000)) == files

    @invariant()
    def every_study_and_instance_is_in_one_term_of_the_equation(self) -> None:
        statement = self.catalog.statement()
        for equation in (statement.studies, statement.instances):
            assert equation.inventory == (
                equation.verified
                + equation.quarantined
                + sum(equation.excluded.values())
                + sum(equation.unexplained.values())
            )
        assert statement.holds == (not self.catalog.unexplained())
        assert statement.late_copies == 0

    def reached(self, job: TransferJob) -> TransferState:
        """Return where a job leaves its study: it may have been for one copy of several."""
        row = self.catalog.transfer("main", job.study)
        assert row is not None
        done = all(copy.state in HELD for copy in row.copies)
        return TransferState.STORED if done else TransferState.PLANNED

    def is_late(self, job: TransferJob) -> bool:
        row = self.catalog.transfer("main", job.study)
        assert row is not None
        return row.attempt != job.attempt or row.state is not TransferState.MOVING


def test_tables_can_be_rebuilt_from_the_ledger(fresh_url: UrlFactory) -> None:
    class Machine(CatalogMachine):
        pass

    Machine.fresh_url = staticmethod(fresh_url)
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=30,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
