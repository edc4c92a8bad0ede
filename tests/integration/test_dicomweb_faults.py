"""What may go wrong at a DICOMweb store, in one table: one pull fills a folder and the store.

Each cell is one migration of a scripted PACS under one fault. However it goes, nothing is lost: the
other copy is whole after the first run, the DICOMweb copy is complete in the end or the instance
waits for a person with the right reason, both equations hold, and what verification says is what
an independent look at the store's content says. The last test prints the table.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web

from cloudmig.destinations.breaker import BreakerPolicy
from cloudmig.model.states import TransferState
from tests.contract.stow_server import Answer, Reset, ScriptedStow
from tests.integration.migration_world import World, a_study, let_breakers
from tests.peers.part10 import NotPart10, dataset_sha256

STUDIES = [a_study(number, series=(3,)) for number in (1, 2)]
FIRST = STUDIES[0].instances()[0]
KEY = FIRST.study_instance_uid, FIRST.sop_instance_uid
OLD = FIRST.part10()[:-2] + b"\x55\x55"
RETRY_AFTER = (("Retry-After", "1"),)
_ROUNDS_MAX = 3

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Guard = Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]


@dataclass
class Stage:
    """What a cell may prepare, and mend later."""

    server: ScriptedStow
    folder: Path
    web: dict[str, Any]  #: Settings of the destination.
    dicomweb: dict[str, Any]
    tls: ssl.SSLContext | None = None
    has_fault: bool = True  #: Read by the guards; a person takes the fault away.

    def guard(self, guard: Guard) -> None:
        """Answer requests in the server's place while there is a fault."""

        @web.middleware
        async def watch(request: web.Request, handler: Handler) -> web.StreamResponse:
            if not self.has_fault:
                return await handler(request)
            return await guard(request, handler)

        self.server.guards.append(watch)


@dataclass(frozen=True)
class Cell:
    """One fault and how it ends."""

    fault: str
    prepare: Callable[[Stage], None]
    reasons: frozenset[str] = frozenset()  #: Of what waits for a person in the end.
    halts: str = ""  #: Part of why the first run stops; a person mends, and runs again.
    found: frozenset[str] = frozenset()  #: What verification finds before repair.
    profile: str = "plain"


@dataclass
class Row:
    """What became of a cell."""

    fault: str
    first_run: str
    web_copy: str
    quarantined: str
    equation: str
    rounds: int


ROWS: dict[str, Row] = {}


def scripted(*answers: Answer | Reset) -> Callable[[Stage], None]:
    """Return what lets the next store requests be answered so."""

    def prepare(stage: Stage) -> None:
        stage.server.script = list(answers)

    return prepare


def holding(content: bytes) -> Callable[[Stage], None]:
    """Return what lets the store hold an instance before anybody sends it."""

    def prepare(stage: Stage) -> None:
        stage.server.held[KEY] = content

    return prepare


def rejecting_one(stage: Stage) -> None:
    """One instance spoils every request that it is in."""
    stage.server.rejects = {FIRST.sop_instance_uid}


def refusing_one(status: int, reason: int) -> Callable[[Stage], None]:
    """Return what lets the store refuse one instance whenever it comes, with a reason."""

    def prepare(stage: Stage) -> None:
        stage.server.refuses = {FIRST.sop_instance_uid: (status, reason)}

    return prepare


def taking_small_requests(stage: Stage) -> None:
    stage.server.body_bytes_max = 2 * len(FIRST.part10())


def taking_nothing_so_large(stage: Stage) -> None:
    stage.server.body_bytes_max = len(FIRST.part10()) // 2


def revoking_the_token_once(stage: Stage) -> None:
    stage.server.tokens = ["none yet"]
    stage.dicomweb |= {"client_id": "cloudmig", "client_secret": "s3cret", "token_url": "?"}
    posts = 0

    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal posts
        posts += request.method == "POST" and not request.path.endswith("/token")
        if posts == 1 and stage.has_fault:
            stage.has_fault = False
            stage.server.tokens[:] = ["revoked"]
        return await handler(request)

    stage.guard(guard)


def rejecting_every_token(stage: Stage) -> None:
    stage.dicomweb["token"] = "s3cret"

    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        return web.Response(status=401)

    stage.guard(guard)


def never_answering(*, times: int) -> Callable[[Stage], None]:
    """Return what lets so many store requests wait for an answer that never comes."""

    def prepare(stage: Stage) -> None:
        stage.web |= {"timeout_s": 0.4, "outage_max_s": 1.0}
        waiting = 0

        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            nonlocal waiting
            if request.method == "POST" and waiting < times:
                waiting += 1
                await asyncio.Event().wait()
            return await handler(request)

        stage.guard(guard)

    return prepare


def truncating(*, times: int) -> Callable[[Stage], None]:
    """Return what cuts retrieves off; every instance is read back after it was stored."""

    def prepare(stage: Stage) -> None:
        stage.dicomweb["profile_overrides"] = {"confirm": "read"}
        cut = 0

        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            nonlocal cut
            response = await handler(request)
            is_instance = request.path.split("/")[-2] == "instances"
            if not is_instance or not isinstance(response, web.Response) or cut >= times:
                return response
            cut += 1
            assert isinstance(response.body, bytes)
            return web.Response(
                body=response.body[: len(response.body) * 2 // 3],
                headers={"Content-Type": response.headers["Content-Type"]},
            )

        stage.guard(guard)

    return prepare


def naming_another(*, keeps: int | None) -> Callable[[Stage], None]:
    item = {"00081155": {"vr": "UI", "Value": ["1.2.3.4"]}}
    body = json.dumps({"00081199": {"vr": "SQ", "Value": [item]}}).encode()
    return scripted(Answer(200, keeps=keeps, body=body))


def distrusted(stage: Stage) -> None:
    """The store's certificate is of an authority that nobody told us of."""
    authority = trustme.CA(key_type=trustme.KeyType.RSA)
    issued = authority.issue_cert("127.0.0.1", key_type=trustme.KeyType.RSA)
    issued.cert_chain_pems[0].write_to_path(stage.folder / "server.pem")
    issued.private_key_pem.write_to_path(stage.folder / "server.key")
    authority.cert_pem.write_to_path(stage.folder / "ca.pem")
    stage.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    stage.tls.load_cert_chain(stage.folder / "server.pem", stage.folder / "server.key")


REFUSED, CONFLICT = frozenset({"refused_by_destination"}), frozenset({"conflict"})
CELLS = [
    Cell("200, one of three failed", scripted(Answer(200, keeps=2))),
    Cell("200, one failed for ever", refusing_one(200, 0xA900), REFUSED),
    Cell("200 with warnings", scripted(Answer(200, warning=0xB000))),
    Cell("200 with warnings, altered",
         scripted(Answer(200, warning=0xB000, alters=True)), CONFLICT),
    Cell("empty 200, all kept", scripted(Answer(200, body=b""))),
    Cell("empty 200, nothing kept", scripted(Answer(200, keeps=0, body=b""))),
    Cell("202, some kept", scripted(Answer(202, keeps=1))),
    Cell("202, nothing named", scripted(Answer(202, keeps=1, names_failed=False))),
    Cell("400, one bad of three", rejecting_one, REFUSED),
    Cell("400, the good ones kept", scripted(Answer(400, keeps=2))),
    Cell("409, exists, ours", scripted(Answer(409, says_failed=True, reason=45070))),
    Cell("409, exists, other bytes",
         scripted(Answer(409, says_failed=True, reason=45070, alters=True)), CONFLICT),
    Cell("409, being created", scripted(Answer(409, keeps=0, reason=45071)), profile="azure"),
    Cell("409, wrong study", refusing_one(409, 43265), REFUSED, profile="azure"),
    Cell("413, the batch", taking_small_requests),
    Cell("413, each instance", taking_nothing_so_large, REFUSED),
    Cell("429 with Retry-After", scripted(Answer(429, keeps=0, headers=RETRY_AFTER))),
    Cell("503 with Retry-After", scripted(Answer(503, keeps=1, headers=RETRY_AFTER))),
    Cell("500, some kept", scripted(Answer(500, keeps=1), Answer(500, keeps=1))),
    Cell("reset inside the body", scripted(Reset(), Reset())),
    Cell("reset after commit", scripted(Reset(keeps=3), Reset(keeps=2))),
    Cell("401 once, token expired", revoking_the_token_once),
    Cell("401 for ever", rejecting_every_token, halts="HTTP 401"),
    Cell("retrieve cut off, twice", truncating(times=2)),
    Cell("success, old bytes kept", holding(OLD), CONFLICT),
    Cell("success, ours were there", holding(FIRST.part10())),
    Cell("success, other bytes kept", scripted(Answer(200, alters=True)), CONFLICT,
         found=frozenset({"altered"})),
    Cell("success, nothing stored, looked", scripted(Answer(200, keeps=0, says_stored=True))),
    Cell("success, nothing stored, believed",
         scripted(Answer(200, keeps=0, says_stored=True)), profile="orthanc",
         found=frozenset({"missing"})),
    Cell("names another, all kept", naming_another(keeps=None)),
    Cell("names another, nothing kept", naming_another(keeps=0)),
    Cell("no answer, twice", never_answering(times=2)),
    Cell("no answer, for ever", never_answering(times=1_000_000), halts="not answered"),
    Cell("certificate not trusted", distrusted, halts="not trusted"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def impatient_breakers(monkeypatch: pytest.MonkeyPatch) -> None:
    let_breakers(monkeypatch, BreakerPolicy(failures_max=10, pause_s=0.2))


def homes(stage: Stage) -> Mapping[str, Mapping[str, Any]]:
    """Return a folder and the store; the store's address is known now."""
    if "token_url" in stage.dicomweb:
        stage.dicomweb["token_url"] = stage.server.token_url
    return {
        "store": {"url": f"file://{stage.folder / 'store'}"},
        "web": {
            "url": stage.server.url, "evidence": "store", "attempts_max": 3,
            **stage.web, "dicomweb": stage.dicomweb,
        },
    }  # fmt: skip


def looked_at(server: ScriptedStow) -> dict[str, str]:
    """Return the data set digests that the store holds, by an eye of the judge's own."""
    found = {}
    for (_, uid), part in server.held.items():
        try:
            found[uid] = dataset_sha256(part)
        except NotPart10:
            found[uid] = "no DICOM"
    return found


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.fault)
async def test_a_fault_loses_nothing(cell: Cell, tmp_path: Path) -> None:
    stage = Stage(ScriptedStow(), tmp_path, {}, {"profile": cell.profile})
    cell.prepare(stage)
    async with stage.server.running(stage.tls):
        world = World(tmp_path, STUDIES, destinations=homes(stage))
        with world.serving():
            ROWS[cell.fault] = await reconciled(cell, stage, world)


async def reconciled(cell: Cell, stage: Stage, world: World) -> Row:
    truth = world.truth()
    first = await world.migrate()
    assert cell.halts in first.halted if cell.halts else first.halted == ""
    assert world.held() == truth, "the other copy waits for nobody"
    if cell.halts:
        await mended(stage, world)
    found, rounds = set(), 0
    while (seen := await world.verify()).findings:
        rounds += 1
        assert rounds <= _ROUNDS_MAX, "it goes round in circles"
        found |= {each.finding for each in seen.findings}
        await world.run()
    assert found == cell.found

    closing = await world.explain_everything()
    quarantined = world.quarantined()
    assert set().union(*quarantined.values()) == cell.reasons
    verified = closing.statement.instances.verified
    right = judge(world, stage.server, truth, set(quarantined))
    if cell.found and quarantined:
        # A copy that a verdict found bad, and that cannot be repaired, vouches for nothing.
        right -= {uid for study in quarantined for uid in members()[study]}
    assert verified == len(right)
    return Row(
        cell.fault,
        first.halted or "ends",
        f"{sum(truth[uid] == {seen} for uid, seen in looked_at(stage.server).items())} of 6",
        ", ".join(sorted(cell.reasons)) or "-",
        f"6 = {verified} + {6 - verified}",
        rounds,
    )


async def mended(stage: Stage, world: World) -> None:
    """A person takes the fault away, and runs again."""
    stage.has_fault = False
    if stage.tls is not None:
        stage.web["ca"] = stage.folder / "ca.pem"
    world.destinations = homes(stage)
    world.write_configuration()
    again = await world.run()
    assert again.halted == ""


def judge(
    world: World, server: ScriptedStow, truth: Mapping[str, set[str]], quarantined: set[str]
) -> set[str]:
    """Compare what the catalog says with what the store holds; return which of that is right."""
    held = looked_at(server)
    right = {uid for uid, digests in truth.items() if digests == {held.get(uid)}}
    states = world.states()
    for study, instances in members().items():
        if study in quarantined:
            assert not instances <= right, "a clean study in quarantine is a defect"
        else:
            assert states[study] in {TransferState.VERIFIED.value, TransferState.CLOSED.value}
            assert instances <= right, "what is called verified is there as the PACS has it"
    others = right | {FIRST.sop_instance_uid}
    assert set(held) <= set(truth), "the store holds nothing that the PACS does not"
    if quarantined == {FIRST.study_instance_uid}:
        assert len(others) == len(truth), "one bad instance holds nothing else back"
    return right


def members() -> dict[str, set[str]]:
    """Return the instances of each study."""
    return {
        each.study_instance_uid: {one.sop_instance_uid for one in each.instances()}
        for each in STUDIES
    }


async def test_a_store_that_refuses_us_holds_back_no_other_copy(tmp_path: Path) -> None:
    """A person has to act, and until then everything else is done."""
    many = [a_study(number, series=(2,)) for number in range(1, 13)]
    stage = Stage(ScriptedStow(), tmp_path, {}, {"profile": "plain"})
    rejecting_every_token(stage)
    async with stage.server.running():
        world = World(tmp_path, many, destinations=homes(stage))
        with world.serving():
            halted = await world.migrate()

            assert "HTTP 401" in halted.halted
            assert world.held() == world.truth()
            assert stage.server.held == {}
            stage.has_fault = False
            assert (await world.run()).halted == ""
            assert {uid: {one} for uid, one in looked_at(stage.server).items()} == world.truth()
            await world.explain_everything()


def test_the_table_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    if len(ROWS) < len(CELLS):
        pytest.skip("only some cells were run")
    with capsys.disabled():
        heads = f"{'fault':36}{'first run':52}{'web copy':10}{'quarantine':26}{'equation':12}"
        print(f"\n\n{heads}repairs")
        for row in ROWS.values():
            print(
                f"{row.fault:36}{row.first_run:52}{row.web_copy:10}{row.quarantined:26}"
                f"{row.equation:12}{row.rounds}"
            )
