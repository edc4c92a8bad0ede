"""The cells of one store: a small archive goes through a proxy that breaks requests."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.peers.faults.cell import Cell, Migration, in_short, migrate, write_toml
from tests.peers.faults.http_proxy import HttpProxy
from tests.peers.faults.looping import LoopThread
from tests.peers.faults.small_archive import as_sent, small_studies
from tests.peers.faults.store_faults import StoreFault, StoreTrouble
from tests.peers.judge import Verdict, judge
from tests.peers.launch import Dcmqrscp, Lane, MotoServer, Swift, free_ports
from tests.peers.loading import Loaded, load

__all__ = ["STORES", "run_cells"]

Store = MotoServer | Swift
STORES: Mapping[str, Callable[[], Store]] = {"swift": Swift, "moto": MotoServer}

_STUDIES = 6
_AT_ONCE = 3
_COMMAND_MAX_S = 180.0


def run_cells(name: str, faults: Sequence[StoreFault], folder: Path) -> dict[StoreFault, Cell]:
    """Start the store and one PACS, and run the cells."""
    ports = dict(zip(faults, free_ports(len(faults)), strict=True))
    lanes = {fault: Lane(f"LANE{n:02}", ports[fault]) for n, fault in enumerate(faults)}
    own_lane = Lane("BASELINE", free_ports(1)[0])
    with ExitStack() as running:
        store = running.enter_context(STORES[name]())
        pacs = running.enter_context(Dcmqrscp([own_lane, *lanes.values()], profile="assoc-nodelay"))
        truth = load(pacs, small_studies(_STUDIES))
        assert all(record.held for record in truth), "dcmqrscp did not take every file"
        truth = as_sent(pacs, own_lane, truth, folder)
        loop = running.enter_context(LoopThread())

        def run(fault: StoreFault) -> Cell:
            place = folder / fault.name.lower()
            place.mkdir()
            cell = Cell(name, fault.value)
            try:
                _Bench(name, fault, pacs, lanes[fault], store, truth, loop).run(place, cell)
            except Exception as error:  # noqa: BLE001 - one cell must not take the others with it
                cell.wrong.append(f"{type(error).__name__}: {error}")
            return cell

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return dict(zip(faults, pool.map(run, faults), strict=True))


@dataclass(frozen=True, slots=True)
class _Bench:
    name: str
    fault: StoreFault
    pacs: Dcmqrscp
    lane: Lane
    store: Store
    truth: Sequence[Loaded]
    loop: LoopThread

    def run(self, folder: Path, cell: Cell) -> None:
        bucket = folder.name.replace("_", "-")
        client = self.store.client()
        client.create_bucket(Bucket=bucket)
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        trouble = StoreTrouble(self.fault)
        proxy = HttpProxy(self.store.endpoint, trouble.decide)
        self.loop.call(proxy.start())
        began = time.monotonic()
        try:
            migration = migrate(
                self._configuration(folder, proxy.endpoint, bucket),
                trouble.about_to,
                command_max_s=_COMMAND_MAX_S,
                told=cell.wrong.append,
            )
        finally:
            self.loop.call(proxy.stop())
        cell.seconds = time.monotonic() - began
        verdict = judge(self.truth, client, bucket)
        cell.take(migration, verdict, trouble.injected)
        cell.expect(cell.quarantined == 0, "a clean study is in quarantine")
        self._check(cell, migration, verdict, trouble)

    def _check(
        self, cell: Cell, migration: Migration, verdict: Verdict, trouble: StoreTrouble
    ) -> None:
        repaired: set[str] = set()
        if self.fault is StoreFault.FORBIDDEN:
            cell.expect(migration.halts == 1, f"halted {migration.halts} times instead of once")
        if self.fault is StoreFault.DAMAGED and self.name == "moto":
            # moto believes any checksum: verify has to see it, and a repair is a second version.
            named = sum(len(each["findings"]) for each in migration.verified_with if each)
            cell.expect(named > 0, "verify named nothing")
            cell.note = f"verify named {named}, repaired"
            repaired = set(trouble.hit)
        if self.fault in {StoreFault.TRUNCATED, StoreFault.CORRUPTED}:
            unread = [key for key in trouble.hit if not trouble.passed_after[key]]
            cell.expect(not unread, f"{len(unread)} broken answers were believed")
        cell.expect(not verdict.differences, in_short(verdict))
        problems = [
            each
            for each in verdict.problems
            if not (each.startswith("2 versions: ") and each[12:] in repaired)
        ]
        cell.expect(not problems, f"{len(problems)} problems: {problems[:3]}")

    def _configuration(self, folder: Path, endpoint: str, bucket: str) -> Path:
        sections: Mapping[str, Mapping[str, object]] = {
            "agent": {"name": "faults", "transfers": 3, "backoff_s": 1},
            "listen": {"host": "127.0.0.1", "port": self.lane.port},
            "sources.main": {
                "archive": "main",
                "host": self.pacs.host,
                "port": self.pacs.port,
                "aet": self.pacs.ae_title,
                "ae_titles": [self.lane.ae_title],
                "retrieve": "c-move",
                "lanes": 2,
            },
            "destinations.archive": {
                "url": f"s3://{bucket}",
                "endpoint": endpoint,
                "profile": self.name,
                "access_key_id": self.store.access_key_id,
                "secret_access_key": self.store.secret_access_key,
                "timeout_s": 3,
                "concurrency": 4,
            },
        }
        return write_toml(folder, sections)
