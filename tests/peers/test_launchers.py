"""Each peer starts, answers, takes real files, and comes back after a kill -9 with its data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import pytest
from botocore.exceptions import ClientError
from mypy_boto3_s3 import S3Client

from tests.peers.asking import Arrivals, Retrieve, ask
from tests.peers.corpus import corpus_folder
from tests.peers.launch import (
    Dcmqrscp,
    Lane,
    MotoServer,
    NginxSink,
    Orthanc,
    OrthancTls,
    PixelMed,
    Postgresql,
    Swift,
    echo,
    free_ports,
)
from tests.peers.loading import load

Pacs = Orthanc | Dcmqrscp | PixelMed

#: Explicit VR Little Endian, which every one of them takes in its stock configuration.
FILES = ("mr-siemens-mosaic-001.dcm", "ct-explicit-small-001.dcm", "us-explicit-rgb-001.dcm")


class Store(Protocol):
    """A peer that speaks S3."""

    def client(self) -> S3Client: ...


@pytest.mark.parametrize(
    "make",
    [
        Orthanc,
        PixelMed,
        Dcmqrscp,
        lambda lanes: Dcmqrscp(lanes, profile="stock"),
        lambda lanes: Dcmqrscp(lanes, profile="nodelay"),
    ],
    ids=["orthanc", "pixelmed", "dcmqrscp", "dcmqrscp-stock", "dcmqrscp-nodelay"],
)
@pytest.mark.parametrize("retrieve", ["c-move", "c-get"])
def test_a_pacs_gives_back_what_it_took_also_after_a_kill(
    make: Callable[[list[Lane]], Pacs], retrieve: Retrieve, tmp_path_factory: pytest.TempPathFactory
) -> None:
    files = [corpus_folder() / name for name in FILES]
    lane = Lane("CLOUDMIG", free_ports(1)[0])
    with make([lane]) as pacs:
        truth = load(pacs, files)
        assert all(record.held for record in truth), truth
        before, after = (Arrivals(tmp_path_factory.mktemp(name)) for name in ("before", "after"))
        ask(pacs, lane, truth, retrieve, before, level="IMAGE")

        pacs.kill()
        assert not echo(pacs.host, pacs.port, pacs.ae_title)
        pacs.start()
        ask(pacs, lane, truth, retrieve, after, level="IMAGE")

    wanted = {record.sop_instance_uid for record in truth}
    assert set(before.data_sets) == wanted
    if make is PixelMed:
        # Its database is written with a delay: what a kill takes away is its own loss.
        assert set(after.data_sets) <= wanted
    else:
        assert set(after.data_sets) == wanted


def test_tls_is_answered_only_to_whom_the_ca_knows() -> None:
    with OrthancTls() as pacs:
        assert echo(pacs.host, pacs.port, pacs.ae_title, tls=pacs.client_context())
        assert not echo(pacs.host, pacs.port, pacs.ae_title)
        stranger = pacs.client_context()
        stranger.load_cert_chain(*map(str, pacs.stranger))
        assert not echo(pacs.host, pacs.port, pacs.ae_title, tls=stranger)


def test_swift_refuses_a_wrong_checksum_and_survives_a_kill() -> None:
    with Swift() as store:
        client = store.client()
        client.create_bucket(Bucket="images")
        client.put_object(Bucket="images", Key="a", Body=b"abc")
        with pytest.raises(ClientError, match="BadDigest"):
            client.put_object(
                Bucket="images", Key="b", Body=b"abc", ContentMD5="AAAAAAAAAAAAAAAAAAAAAA=="
            )

        store.kill()
        store.start()

        assert client.get_object(Bucket="images", Key="a")["Body"].read() == b"abc"


def test_moto_starts_again_empty() -> None:
    with MotoServer() as store:
        store.client().create_bucket(Bucket="images")
        store.kill()
        store.start()

        assert store.client().list_buckets()["Buckets"] == []


def test_postgresql_keeps_what_was_committed() -> None:
    psycopg = pytest.importorskip("psycopg")
    with Postgresql() as server:
        address = server.create_database("second").replace("+psycopg", "")
        with psycopg.connect(address) as connection:
            connection.execute("CREATE TABLE kept (n int)")
            connection.execute("INSERT INTO kept VALUES (7)")

        server.kill()
        server.start()

        with psycopg.connect(address) as connection:
            assert connection.execute("SELECT n FROM kept").fetchall() == [(7,)]


def test_nginx_keeps_what_was_put() -> None:
    with NginxSink() as sink:
        assert (sink.root / "ready").exists()


def test_peers_of_one_kind_run_side_by_side() -> None:
    with Dcmqrscp() as one, Dcmqrscp() as other, MotoServer() as third, MotoServer() as fourth:
        assert one.port != other.port
        assert all(each.answers() for each in (one, other, third, fourth))
