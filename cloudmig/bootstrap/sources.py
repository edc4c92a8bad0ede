"""Opens every source by its kind, and our storage SCP for those that send to it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import defaultdict
from collections.abc import Iterator

from cloudmig.bootstrap.directory_source import directory_source
from cloudmig.bootstrap.web_source import web_source
from cloudmig.config import (
    Configuration,
    DirectorySettings,
    PacsSettings,
    SourceSettings,
    WebSourceSettings,
)
from cloudmig.dimse.limits import Limits, Timers
from cloudmig.dimse.server import StorageServer
from cloudmig.dimse.tls import client_context, server_context
from cloudmig.errors import ConfigError
from cloudmig.pipeline.parts import Parts, Source
from cloudmig.sources.dimse import (
    AllowedPeer,
    ArrivalDesk,
    DimseSource,
    DimseSourceSettings,
    StoragePolicy,
)
from cloudmig.telemetry import Pseudonyms

__all__ = ["open_sources"]


async def open_sources(parts: Parts, stack: contextlib.AsyncExitStack) -> None:
    """Open the sources of the configuration into `parts`; the stack closes them."""
    desk = ArrivalDesk(parts.area)
    parts.sources = {
        name: _source(name, settings, parts, desk)
        for name, settings in parts.config.sources.items()
    }
    for source in parts.sources.values():
        stack.push_async_callback(source.close)
    if any(settings.retrieve != "c-get" for settings in parts.config.pacs.values()):
        parts.listener = await _listener(parts.config, desk)


def _source(name: str, settings: SourceSettings, parts: Parts, desk: ArrivalDesk) -> Source:
    match settings:
        case PacsSettings():
            return _pacs(name, settings, parts.config, desk, parts.pseudonyms)
        case WebSourceSettings():
            return _web(name, settings, parts)
        case DirectorySettings():
            return directory_source(name, settings, parts)
        case _:
            raise AssertionError("a kind of source that nobody opens")


def _pacs(
    name: str,
    settings: PacsSettings,
    config: Configuration,
    desk: ArrivalDesk,
    pseudonyms: Pseudonyms,
) -> DimseSource:
    ssl_context = None
    if (tls := settings.tls) is not None:
        with _certificates_of(f"sources.{name}"):
            ssl_context = client_context(
                tls.ca, tls.certificate, tls.key, verify_hostname=settings.verify_hostname
            )
    return DimseSource(
        DimseSourceSettings(
            name=name,
            host=settings.host,
            port=settings.port,
            aet=settings.aet,
            ae_titles=settings.ae_titles,
            retrieve=settings.retrieve,
            lanes=settings.lanes,
            grace_s=settings.grace_s,
            find_limit=settings.find_limit,
            timers=Timers(
                connect_s=settings.connect_s,
                answer_s=settings.idle_s,
                network_s=settings.idle_s,
                total_s=settings.total_s,
            ),
            limits=Limits(object_bytes_max=config.agent.object_bytes_max),
            ssl_context=ssl_context,
        ),
        desk,
        patient_key=pseudonyms.of_patient,
    )


@contextlib.contextmanager
def _certificates_of(section: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"{section}.tls: certificate, key or ca cannot be used: {type(error).__name__}",
            hint="they are PEM files that the agent may read; the key has no password",
        ) from error


def _web(name: str, settings: WebSourceSettings, parts: Parts) -> Source:
    return web_source(
        name,
        settings,
        parts.area,
        object_bytes_max=parts.config.agent.object_bytes_max,
        patient_key=parts.pseudonyms.of_patient,
    )


async def _listener(config: Configuration, desk: ArrivalDesk) -> StorageServer:
    """Return our storage SCP, not yet started, open to the configured senders only."""
    peers: dict[str, set[AllowedPeer]] = defaultdict(set)
    for settings in config.pacs.values():
        senders = [(settings.host, settings.aet)]
        senders += [(peer.host, peer.aet) for peer in settings.peers]
        for host, aet in senders:
            for address in await _addresses(host):
                for our_aet in settings.ae_titles:
                    peers[our_aet].add(AllowedPeer(address, aet))
    policy = StoragePolicy(desk, peers)
    listen = config.listen
    tls = listen.tls
    context = None
    if tls is not None:
        assert tls.certificate is not None, "the configuration checked it"
        with _certificates_of("listen"):
            context = server_context(tls.ca, tls.certificate, tls.key)
    return StorageServer(
        policy,
        host=listen.host,
        port=listen.port,
        timers=Timers(artim_s=listen.artim_s, idle_s=listen.idle_s),
        limits=Limits(
            pdu_bytes_max=listen.pdu_bytes_max,
            object_bytes_max=config.agent.object_bytes_max,
            associations_max=listen.associations_max,
            associations_per_peer_max=listen.associations_per_peer_max,
        ),
        ssl_context=context,
        may_connect=policy.may_connect,
    )


async def _addresses(host: str) -> set[str]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigError(
            f"the name of a PACS host cannot be resolved: {host}", hint="check sources.*.host"
        ) from error
    return {str(address[0]) for *_, address in found}
