"""Opens a PACS as a source, and our storage SCP for those that send to it."""

from __future__ import annotations

import asyncio
import socket
from collections import defaultdict

from cloudmig.config import Configuration, PacsSettings
from cloudmig.config.certificates import usable_certificates
from cloudmig.dimse.limits import Limits, Timers
from cloudmig.dimse.server import StorageServer
from cloudmig.dimse.tls import client_context, server_context
from cloudmig.errors import ConfigError
from cloudmig.pipeline.parts import Parts
from cloudmig.sources.dimse import (
    AllowedPeer,
    ArrivalDesk,
    DimseSource,
    DimseSourceSettings,
    StoragePolicy,
    Stranger,
)
from cloudmig.telemetry import Pseudonyms, Reporter

__all__ = ["open_pacs"]


async def open_pacs(parts: Parts) -> dict[str, DimseSource]:
    """Return every PACS of the configuration; give `parts` a listener if one must send to us."""
    desk = ArrivalDesk(parts.area)
    pacs = parts.config.pacs
    if any(settings.retrieve != "c-get" for settings in pacs.values()):
        parts.listener = await _storage_server(parts.config, desk, parts.reporter)
    return {
        name: _source(name, settings, parts.config, desk, parts.pseudonyms)
        for name, settings in pacs.items()
    }


def _source(
    name: str,
    settings: PacsSettings,
    config: Configuration,
    desk: ArrivalDesk,
    pseudonyms: Pseudonyms,
) -> DimseSource:
    ssl_context = None
    if (tls := settings.tls) is not None:
        with usable_certificates(f"sources.{name}.tls"):
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


async def _storage_server(
    config: Configuration, desk: ArrivalDesk, reporter: Reporter
) -> StorageServer:
    """Return our storage SCP, not yet started, open to the configured senders only."""
    peers: dict[str, set[AllowedPeer]] = defaultdict(set)
    for settings in config.pacs.values():
        senders = [(settings.host, settings.aet)]
        senders += [(peer.host, peer.aet) for peer in settings.peers]
        for host, aet in senders:
            for address in await _addresses(host):
                for our_aet in settings.ae_titles:
                    peers[our_aet].add(AllowedPeer(address, aet))

    def tell_refused(who: Stranger) -> None:
        peer = f"{who.calling_aet or 'AE_TITLE'}@{who.host}"
        hint = f'if it is the PACS, add "{peer}" to the peers of its source'
        if who.called_aet:
            ours = " or ".join(sorted(peers))
            hint = f"it calls us {who.called_aet}: if it is the PACS, register {ours} there instead"
        reporter.event(
            "sender.refused", host=who.host, calling_aet=who.calling_aet,
            called_aet=who.called_aet, hint=hint,
        )  # fmt: skip

    policy = StoragePolicy(desk, peers, tell_refused=tell_refused)
    listen = config.listen
    tls = listen.tls
    context = None
    if tls is not None:
        assert tls.certificate is not None, "the configuration checked it"
        with usable_certificates("listen.tls"):
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
