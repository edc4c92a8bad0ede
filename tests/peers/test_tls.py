"""A migration over mutual DICOM TLS (PS3.15 B.12), and everybody who is turned away."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme
from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom.pdu import A_ASSOCIATE_RJ
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from cloudmig.demo.children import Child
from cloudmig.demo.studies import StudyMaker
from tests.peers.judge import judge
from tests.peers.launch import MotoServer, free_ports
from tests.peers.launch.orthanc import OrthancTls
from tests.peers.loading import Loaded, describe
from tests.peers.migration import Answer, equations, lanes, run_cloudmig

Files = tuple[Path, Path]
STUDIES = 4


@dataclasses.dataclass(frozen=True)
class Hospital:
    """Orthanc behind TLS with studies in it, a store, and where its C-MOVE sends to."""

    pacs: OrthancTls
    store: MotoServer
    truth: list[Loaded]
    listen_port: int


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    folder = tmp_path_factory.mktemp("files")
    (port,) = free_ports(1)
    with OrthancTls(lanes(["CLOUDMIG"], port)) as pacs, MotoServer() as store:
        store.client().create_bucket(Bucket="images")
        yield Hospital(pacs, store, fill(pacs, folder), port)


def fill(pacs: OrthancTls, folder: Path) -> list[Loaded]:
    """Load studies over HTTP: the loader of the other tests speaks no TLS."""
    truth = []
    maker = StudyMaker(dt.date(2026, 1, 1), instances_per_series_max=6)
    for number in range(STUDIES):
        for instance in maker.study(number).instances():
            path = folder / f"{UID(instance.sop_instance_uid)}.dcm"
            path.write_bytes(instance.part10())
            url = f"http://{pacs.host}:{pacs.http_port}/instances"
            with urllib.request.urlopen(urllib.request.Request(url, path.read_bytes())) as answer:
                assert json.load(answer)["Status"] == "Success"
            truth.append(dataclasses.replace(describe(path), status=0))
    return truth


def configure(
    folder: Path,
    hospital: Hospital,
    *,
    bucket: str = "images",
    retrieve: str = "c-get",
    ca: Path | None = None,
    identity: Files | None = None,
    aet: str = "",
    our_aet: str = "CLOUDMIG",
) -> Path:
    """Write a configuration; what is not said is right."""
    pacs, store = hospital.pacs, hospital.store
    certificate, key = identity or pacs.client
    tls = f'{{ ca = "{ca or pacs.ca_file}", certificate = "{certificate}", key = "{key}" }}'
    path = folder / "cloudmig.toml"
    path.write_text(
        f"""
[agent]
name = "tls"
state_dir = "state"
[listen]
host = "127.0.0.1"
port = {hospital.listen_port}
tls = {tls}
[sources.main]
archive = "main"
host = "{pacs.host}"
port = {pacs.port}
aet = "{aet or pacs.ae_title}"
ae_titles = ["{our_aet}"]
retrieve = "{retrieve}"
tls = {tls}
[destinations.archive]
url = "s3://{bucket}"
endpoint = "{store.endpoint}"
profile = "moto"
access_key_id = "{store.access_key_id}"
secret_access_key = "{store.secret_access_key}"
[[rules]]
name = "everything"
copy_to = ["archive"]
"""
    )
    return path


def do(configuration: Path, *words: str, expect: int = 0) -> Answer:
    answer = run_cloudmig(configuration, *words, time_max_s=120)
    assert answer.exit_code == expect, f"{words}: {answer.document} {answer.stderr[-2000:]}"
    return answer


def findings(configuration: Path) -> dict[str, str]:
    """Return the problems that the doctor names: check -> message and hint."""
    told = do(configuration, "doctor", expect=2).document
    return {
        each["check"]: f"{each['message']} | {each['hint']}"
        for each in told["findings"]
        if each["verdict"] == "problem"
    }


@pytest.mark.timeout(300)
@pytest.mark.parametrize("retrieve", ["c-move", "c-get"])
def test_a_whole_migration_over_mutual_tls(
    hospital: Hospital, tmp_path: Path, retrieve: str
) -> None:
    hospital.store.client().create_bucket(Bucket=retrieve)
    configuration = configure(tmp_path, hospital, bucket=retrieve, retrieve=retrieve)

    assert do(configuration, "doctor").document["healthy"] is True
    for words in ("inventory", "plan", "run", "verify"):
        do(configuration, words)
    closing = equations(do(configuration, "close"))
    verdict = judge(hospital.truth, hospital.store.client(), retrieve)

    assert closing.studies.adds_up
    assert closing.studies.verified == STUDIES
    assert closing.instances.verified == len(hospital.truth)
    assert verdict.clean, verdict.table()


@pytest.mark.timeout(120)
def test_a_client_certificate_of_somebody_else_is_refused(
    hospital: Hospital, tmp_path: Path
) -> None:
    configuration = configure(tmp_path, hospital, identity=hospital.pacs.stranger)

    error = do(configuration, "inventory", expect=3).document["error"]
    [(check, told)] = findings(configuration).items()

    assert "certificate" in error["hint"], error
    assert check in {"tls", "association"}
    assert "certificate" in told, told


@pytest.mark.timeout(120)
def test_a_pacs_whose_certificate_our_ca_did_not_sign_is_not_believed(
    hospital: Hospital, tmp_path: Path
) -> None:
    configuration = configure(tmp_path, hospital, ca=hospital.pacs.stranger_ca_file)

    error = do(configuration, "inventory", expect=3).document["error"]
    named = findings(configuration)

    assert error["kind"] == "SourceRefused"
    assert "CERTIFICATE_VERIFY_FAILED" in error["message"]
    assert "ca must be the authority of the PACS's certificate" in named["tls"]


@pytest.mark.timeout(120)
def test_a_wrong_ae_title_is_named_by_whose_it_is(hospital: Hospital, tmp_path: Path) -> None:
    configuration = configure(tmp_path, hospital, aet="NOBODY")

    error = do(configuration, "inventory", expect=3).document["error"]

    assert error["kind"] == "SourceRefused"
    assert "Called AE title" in error["message"]
    assert "the PACS is not called NOBODY" in findings(configuration)["called_aet"]


@pytest.mark.timeout(120)
def test_the_doctor_names_an_expired_certificate(hospital: Hospital, tmp_path: Path) -> None:
    now = dt.datetime.now(dt.UTC)
    issued = trustme.CA(key_type=trustme.KeyType.RSA).issue_cert(
        "localhost", key_type=trustme.KeyType.RSA,
        not_before=now - dt.timedelta(days=9), not_after=now - dt.timedelta(days=2),
    )  # fmt: skip
    expired = tmp_path / "expired.pem", tmp_path / "expired.key"
    issued.cert_chain_pems[0].write_to_path(expired[0])
    issued.private_key_pem.write_to_path(expired[1])

    named = findings(configure(tmp_path, hospital, identity=expired))

    assert "expired" in named["tls_certificate"]
    assert "renewed" in named["tls_certificate"]


# Who knocks at our own door


@contextmanager
def agent_listening(hospital: Hospital, folder: Path) -> Iterator[None]:
    """Run an agent that waits for a PACS which has gone away: meanwhile its door is open."""
    pacs = Child(
        "cloudmig.demo.pacs", "--studies", "2", "--well-behaved", "--aet", hospital.pacs.ae_title
    )
    configuration = configure(folder, hospital, retrieve="c-move")
    try:
        port = pacs.start()["port"]
        [source] = [line for line in configuration.read_text().splitlines() if "tls = " in line][1:]
        text = configuration.read_text().replace(f"port = {hospital.pacs.port}", f"port = {port}")
        head, _, tail = text.rpartition(source)  # This PACS speaks no TLS; our listener does.
        configuration.write_text(head + tail)
        do(configuration, "inventory")
        do(configuration, "plan")
    finally:
        pacs.stop()
    command = [sys.executable, "-m", "cloudmig", "--config", str(configuration), "run", "--json"]
    with (folder / "run.log").open("wb") as log:
        agent = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _wait_for_door(hospital.listen_port, agent)
        yield
        agent.send_signal(signal.SIGINT)
        assert agent.wait(60) == 130
    finally:
        agent.kill()
        agent.wait()


def _wait_for_door(port: int, agent: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and agent.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(f"the agent does not listen (exit code {agent.poll()})")


def knock(
    port: int, tls: ssl.SSLContext | None, *, calling: str, called: str, address: str = "127.0.0.1"
) -> str:
    """Ask for an association; return `welcome`, what it was rejected with, or `nothing`.

    Where its threads are late pynetdicom calls a rejection an abort; what was read is certain.
    """
    answers: list[str] = []

    def note(event: evt.Event) -> None:
        told = event.pdu
        if isinstance(told, A_ASSOCIATE_RJ):
            answers.append(f"{told.result}/{told.source}/{told.reason_diagnostic}")

    entity = AE(ae_title=calling)
    entity.acse_timeout = entity.network_timeout = entity.connection_timeout = 5
    entity.add_requested_context(Verification)
    association = entity.associate(
        "127.0.0.1", port, ae_title=called, bind_address=(address, 0),
        tls_args=(tls, "localhost") if tls else None, evt_handlers=[(evt.EVT_PDU_RECV, note)],
    )  # fmt: skip
    if association.is_established:
        association.release()
        return "welcome"
    return f"rejected {answers[0]}" if answers else "nothing"


@pytest.mark.timeout(180)
def test_our_listener_lets_nobody_in_but_the_pacs(hospital: Hospital, tmp_path: Path) -> None:
    ours = hospital.pacs.client_context()
    strange = ssl.create_default_context(cafile=str(hospital.pacs.ca_file))
    strange.check_hostname = False
    anonymous = ssl.create_default_context(cafile=str(hospital.pacs.ca_file))
    anonymous.check_hostname = False
    strange.load_cert_chain(*map(str, hospital.pacs.stranger))
    port, pacs = hospital.listen_port, hospital.pacs.ae_title

    with agent_listening(hospital, tmp_path):
        answers = {
            "the PACS": knock(port, ours, calling=pacs, called="CLOUDMIG"),
            "another AE title": knock(port, ours, calling="SOMEBODY", called="CLOUDMIG"),
            "for somebody else": knock(port, ours, calling=pacs, called="SOMEBODY"),
            "without TLS": knock(port, None, calling=pacs, called="CLOUDMIG"),
            "without certificate": knock(port, anonymous, calling=pacs, called="CLOUDMIG"),
            "another's certificate": knock(port, strange, calling=pacs, called="CLOUDMIG"),
            "from elsewhere": knock(
                port, ours, calling=pacs, called="CLOUDMIG", address="127.0.0.2"
            ),
            "the PACS again": knock(port, ours, calling=pacs, called="CLOUDMIG"),
        }

    assert answers == {
        "the PACS": "welcome",
        "another AE title": "rejected 1/1/3",  # PS3.8 table 9-21: calling AE title not recognized
        "for somebody else": "rejected 1/1/7",  # called AE title not recognized
        "without TLS": "nothing",
        "without certificate": "nothing",
        "another's certificate": "nothing",
        "from elsewhere": "nothing",
        "the PACS again": "welcome",
    }
