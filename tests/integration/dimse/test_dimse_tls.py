"""Mutual TLS: who has no certificate gets in nowhere, and who says nothing delays nobody."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from cloudmig.dimse.client import Peer, associate
from cloudmig.dimse.contexts import ProposedContext
from cloudmig.dimse.limits import Limits, Timers
from cloudmig.dimse.messages import ObjectSink, StoreCommand
from cloudmig.dimse.server import Admission, AssociationRequest, StorageServer
from cloudmig.dimse.tls import client_context, server_context
from cloudmig.errors import SourceRefused, SourceUnavailable

VERIFICATION = ProposedContext("1.2.840.10008.1.1", ("1.2.840.10008.1.2",))
TIMERS = Timers(connect_s=3, tls_handshake_s=2, artim_s=2)


class Everybody:
    """A policy and its handler; nothing but C-ECHO is tried here."""

    async def admit(self, request: AssociationRequest) -> Admission:
        return Admission(self, lambda context: None)

    def begin(self, command: StoreCommand) -> ObjectSink | int:
        return 0xA700

    def closed(self) -> None:
        return None


@dataclass
class Files:
    ca: Path
    certificate: Path
    key: Path


def issue(folder: Path, authority: trustme.CA, name: str) -> Files:
    files = Files(folder / f"{name}-ca.pem", folder / f"{name}.pem", folder / f"{name}.key")
    certificate = authority.issue_cert(name)
    authority.cert_pem.write_to_path(files.ca)
    certificate.cert_chain_pems[0].write_to_path(files.certificate)
    certificate.private_key_pem.write_to_path(files.key)
    return files


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> tuple[Files, Files, Files]:
    """Return the agent's files, the PACS's, and those of somebody with a CA of their own."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    return (
        issue(folder, authority, "agent.example"),
        issue(folder, authority, "localhost"),
        issue(folder, trustme.CA(), "stranger.example"),
    )


def a_server(files: Files, timers: Timers = TIMERS, limits: Limits | None = None) -> StorageServer:
    return StorageServer(
        Everybody(),
        host="127.0.0.1",
        port=0,
        timers=timers,
        limits=limits,
        ssl_context=server_context(files.ca, files.certificate, files.key),
    )


async def ping(port: int, context: ssl.SSLContext | None, name: str | None = None) -> int:
    peer = Peer("127.0.0.1", port, "EDGE", "PACS", ssl_context=context, server_hostname=name)
    async with await associate(peer, [VERIFICATION], timers=TIMERS) as association:
        return await association.ping()


async def test_two_that_know_each_other_talk(hospital: tuple[Files, Files, Files]) -> None:
    agent, pacs, _ = hospital
    async with a_server(pacs) as server:
        context = client_context(agent.ca, agent.certificate, agent.key, verify_hostname=True)
        assert await ping(server.port, context, "localhost") == 0


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_caller_without_our_ca_is_refused(
    hospital: tuple[Files, Files, Files], version: ssl.TLSVersion
) -> None:
    agent, pacs, stranger = hospital
    wrong = client_context(agent.ca, stranger.certificate, stranger.key, verify_hostname=False)
    none = client_context(agent.ca, verify_hostname=False)
    async with a_server(pacs) as server:
        for context in (wrong, none):
            context.maximum_version = version
            with pytest.raises((SourceRefused, SourceUnavailable)) as caught:
                await ping(server.port, context)
            assert "certificate" in caught.value.hint
        right = client_context(agent.ca, agent.certificate, agent.key, verify_hostname=False)
        assert await ping(server.port, right) == 0


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_pacs_that_says_why_it_refuses_our_certificate_is_a_refusal(
    hospital: tuple[Files, Files, Files], version: ssl.TLSVersion
) -> None:
    agent, pacs, stranger = hospital
    context = client_context(agent.ca, stranger.certificate, stranger.key, verify_hostname=False)
    context.maximum_version = version

    def refuse(listener: socket.socket) -> None:
        accepted, _ = listener.accept()
        demanding = server_context(pacs.ca, pacs.certificate, pacs.key)
        with accepted, pytest.raises(ssl.SSLError):
            demanding.wrap_socket(accepted, server_side=True)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)
        refusing = asyncio.create_task(asyncio.to_thread(refuse, listener))
        with pytest.raises((SourceRefused, SourceUnavailable)) as caught:
            await ping(listener.getsockname()[1], context)
        await refusing

    assert "certificate" in caught.value.hint
    if version is ssl.TLSVersion.TLSv1_2:
        assert isinstance(caught.value, SourceRefused)


async def test_a_pacs_with_another_ca_or_name_is_refused(
    hospital: tuple[Files, Files, Files],
) -> None:
    agent, pacs, stranger = hospital
    async with a_server(pacs) as server:
        other = client_context(stranger.ca, agent.certificate, agent.key, verify_hostname=False)
        with pytest.raises(SourceRefused, match="TLS"):
            await ping(server.port, other)
        strict = client_context(agent.ca, agent.certificate, agent.key, verify_hostname=True)
        with pytest.raises(SourceRefused, match="TLS"):
            await ping(server.port, strict, "elsewhere.example")


async def test_plain_and_secured_do_not_meet(hospital: tuple[Files, Files, Files]) -> None:
    agent, pacs, _ = hospital
    context = client_context(agent.ca, agent.certificate, agent.key, verify_hostname=False)
    async with a_server(pacs) as secured:
        with pytest.raises((SourceUnavailable, SourceRefused)):
            await ping(secured.port, None)
    async with StorageServer(Everybody(), host="127.0.0.1", port=0, timers=TIMERS) as plain:
        with pytest.raises((SourceUnavailable, SourceRefused)):
            await ping(plain.port, context)


async def test_tls_1_1_is_not_spoken(hospital: tuple[Files, Files, Files]) -> None:
    agent, pacs, _ = hospital
    for context in (
        client_context(agent.ca, agent.certificate, agent.key, verify_hostname=True),
        server_context(pacs.ca, pacs.certificate, pacs.key),
    ):
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2
        assert context.verify_mode is ssl.CERT_REQUIRED
        weak = [
            c["name"] for c in context.get_ciphers() if "CBC" in c["name"] or "SHA1" in c["name"]
        ]
        assert weak == []


async def test_silent_handshakes_delay_nobody_and_end(hospital: tuple[Files, Files, Files]) -> None:
    agent, pacs, _ = hospital
    timers = Timers(tls_handshake_s=0.5, artim_s=2)
    context = client_context(agent.ca, agent.certificate, agent.key, verify_hostname=False)
    async with a_server(pacs, timers, Limits(silent_connections_max=20)) as server:
        silent = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(40)]
        started_s = asyncio.get_running_loop().time()
        assert await ping(server.port, context) == 0
        assert asyncio.get_running_loop().time() - started_s < 1
        for reader, writer in silent:
            async with asyncio.timeout(3):
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""
            writer.transport.abort()
