"""Puts an agent together: the only module that names concrete sources and destinations."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import socket
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import boto3.session
from pydantic import SecretStr

from cloudmig.catalog import Catalog, CatalogThread
from cloudmig.cloud.verdict_queue import SqsQueue
from cloudmig.config import (
    Configuration,
    DestinationSettings,
    DicomWebSettings,
    SourceSettings,
)
from cloudmig.destinations.breaker import BreakerDestination
from cloudmig.destinations.dicomweb_opening import WebSettings, open_dicomweb
from cloudmig.destinations.evidence_elsewhere import EvidenceElsewhere
from cloudmig.destinations.multipart import OpenUpload
from cloudmig.destinations.opening import (
    StoreSettings,
    open_client,
    open_object_store,
    protect,
)
from cloudmig.destinations.queue_client import queue_client_maker
from cloudmig.destinations.retrying import RetryPolicy
from cloudmig.destinations.throttled import ThrottleLimits
from cloudmig.dimse.limits import Limits, Timers
from cloudmig.dimse.server import StorageServer
from cloudmig.dimse.tls import client_context, server_context
from cloudmig.errors import CatalogError, ConfigError
from cloudmig.pipeline.parts import Parts, VerdictPost
from cloudmig.ports import Destination, QueuedMessage, VerdictQueue
from cloudmig.sources.dimse import (
    AllowedPeer,
    ArrivalDesk,
    DimseSource,
    DimseSourceSettings,
    StoragePolicy,
)
from cloudmig.staging import MemoryBudget, Spool, StagingArea, StagingLimits
from cloudmig.telemetry import Pseudonyms, Reporter, SilentReporter

__all__ = ["Parts", "open_agent", "open_catalog_only", "open_store_client", "store_settings"]


@contextlib.asynccontextmanager
async def open_catalog_only(config: Configuration) -> AsyncIterator[Parts]:
    """Open what needs neither PACS nor bucket: status, plan, quarantine, close."""
    async with _opened(config, SilentReporter(), with_ends=False) as parts:
        yield parts


@contextlib.asynccontextmanager
async def open_agent(config: Configuration, reporter: Reporter) -> AsyncIterator[Parts]:
    """Open catalog, sources and destinations. Touches no network until they are used."""
    async with _opened(config, reporter, with_ends=True) as parts:
        yield parts


@contextlib.asynccontextmanager
async def _opened(
    config: Configuration, reporter: Reporter, *, with_ends: bool
) -> AsyncIterator[Parts]:
    state_dir = config.agent.state_dir
    try:
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise CatalogError(
            f"state_dir cannot be made: {error.strerror}", hint="see agent.state_dir"
        ) from error
    pseudonyms = Pseudonyms.from_state_dir(state_dir)
    catalog = await asyncio.to_thread(Catalog.open, config.agent.catalog_url)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(catalog.close)
        thread = await stack.enter_async_context(CatalogThread(catalog))
        area = StagingArea(
            MemoryBudget(config.agent.memory_bytes_max),
            Spool(config.agent.spool_dir, bytes_max=config.agent.spool_bytes_max),
            StagingLimits(credit_wait_max_s=config.listen.answer_wait_max_s),
        )
        parts = Parts(
            config=config,
            catalog=thread,
            sources={},
            destinations={},
            area=area,
            reporter=reporter,
            pseudonyms=pseudonyms,
            now=lambda: dt.datetime.now(dt.UTC),
        )
        if with_ends:
            desk = ArrivalDesk(area)
            parts.sources = {
                name: _source(name, settings, config, desk, pseudonyms)
                for name, settings in config.sources.items()
            }
            for source in parts.sources.values():
                stack.push_async_callback(source.close)
            _open_destinations(parts, stack)
            parts.verdict_posts = _verdict_posts(config)
            if any(settings.retrieve != "c-get" for settings in config.sources.values()):
                parts.listener = await _listener(config, desk)
        yield parts


def _source(
    name: str,
    settings: SourceSettings,
    config: Configuration,
    desk: ArrivalDesk,
    pseudonyms: Pseudonyms,
) -> DimseSource:
    tls = settings.tls
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
            ssl_context=None
            if tls is None
            else client_context(
                tls.ca, tls.certificate, tls.key, verify_hostname=settings.verify_hostname
            ),
        ),
        desk,
        patient_key=pseudonyms.of_patient,
    )


def _open_destinations(parts: Parts, stack: contextlib.AsyncExitStack) -> None:
    """One destination per store and source: an archive's name is part of every key."""
    session = boto3.session.Session()
    uploads = CatalogUploadLog(parts.catalog)
    destinations: dict[tuple[str, str], Destination] = {}
    breakers: dict[str, list[BreakerDestination]] = defaultdict(list)
    for name, settings in parts.config.destinations.items():
        if settings.is_dicomweb:
            continue
        for source, source_settings in parts.config.sources.items():
            store = open_object_store(
                name,
                store_settings(settings),
                archive=source_settings.archive,
                storage_class=settings.storage_class,
                uploads=uploads,
                session=session,
            )
            stack.callback(store.close)
            protected = protect(
                store,
                retry=RetryPolicy(attempts_max=settings.attempts_max),
                limits=ThrottleLimits(calls_max=settings.concurrency),
            )
            breakers[name].append(protected.breaker)
            destinations[name, source] = protected.destination
    for name, settings in parts.config.destinations.items():
        if not settings.is_dicomweb:
            continue
        for source, source_settings in parts.config.sources.items():
            web = open_dicomweb(name, web_settings(settings), archive=source_settings.archive)
            stack.push_async_callback(web.close)
            protected = protect(
                web,
                retry=RetryPolicy(attempts_max=settings.attempts_max),
                limits=ThrottleLimits(calls_max=web.stores_max),
            )
            assert settings.evidence is not None, "the configuration checked it"
            keeper = destinations[settings.evidence, source]
            breakers[name].append(protected.breaker)
            destinations[name, source] = EvidenceElsewhere(protected.destination, keeper)
    parts.destinations = destinations
    parts.breakers = breakers


def web_settings(settings: DestinationSettings) -> WebSettings:
    """Return what opens a DICOMweb store."""
    web = settings.dicomweb or DicomWebSettings()
    return WebSettings(
        url=settings.url,
        profile=web.profile,
        profile_path=web.profile_file,
        profile_overrides=web.profile_overrides,
        username=web.username,
        password=_plain(web.password),
        token=_plain(web.token),
        token_url=web.token_url,
        client_id=web.client_id,
        client_secret=_plain(web.client_secret),
        scope=web.scope,
        audience=web.audience,
        secret_in_form=web.secret_in_form,
        sigv4_service=web.sigv4_service,
        region=settings.region,
        access_key_id=_plain(settings.access_key_id),
        secret_access_key=_plain(settings.secret_access_key),
        session_token=_plain(settings.session_token),
        ca_path=settings.ca,
        certificate_path=web.certificate,
        key_path=web.key,
        connect_timeout_s=settings.connect_s,
        timeout_s=settings.timeout_s,
        connections_max=settings.concurrency,
        gather_s=web.gather_s,
        patience_s=settings.outage_max_s,
    )


def store_settings(settings: DestinationSettings) -> StoreSettings:
    """Return what opens a store. The doctor uses it too, so that it examines what a run uses."""
    return StoreSettings(
        url=settings.url,
        endpoint=settings.endpoint,
        region=settings.region,
        profile=settings.profile if settings.scheme == "s3" else None,
        profile_overrides=settings.profile_overrides,
        path_style=settings.path_style,
        access_key_id=_plain(settings.access_key_id),
        secret_access_key=_plain(settings.secret_access_key),
        session_token=_plain(settings.session_token),
        ca_path=settings.ca,
        kms_key_id=settings.kms_key_id,
        connect_timeout_s=settings.connect_s,
        timeout_s=settings.timeout_s,
    )


def open_store_client(
    name: str, settings: DestinationSettings, *, connections_max: int, attempts: int = 1
) -> Any:  # noqa: ANN401
    """Return a boto3 client of an `s3://` destination, for what `cloudmig.cloud` does on site.

    It does not retry unless `attempts` are more than one: whoever calls it does.
    """
    return open_client(
        name, store_settings(settings), connections_max=connections_max, attempts=attempts
    )


def _verdict_posts(config: Configuration) -> list[VerdictPost]:
    """One post per queue, however many destinations it brings word of."""
    posts: dict[tuple[str, str | None], list[str]] = {}
    for name, settings in config.destinations.items():
        if settings.verdict_queue is not None:
            posts.setdefault((settings.verdict_queue, settings.verdict_endpoint), []).append(name)
    return [
        VerdictPost(_verdict_queue(config.destinations[names[0]]), tuple(names))
        for names in posts.values()
    ]


def _verdict_queue(settings: DestinationSettings) -> LazyVerdictQueue:
    url = settings.verdict_queue
    assert url is not None, "a post has a queue"
    make = queue_client_maker(store_settings(settings), url, endpoint=settings.verdict_endpoint)
    return LazyVerdictQueue(lambda: SqsQueue(make(), url))


class LazyVerdictQueue:
    """A queue whose client is built where it is first used, in its thread: that takes 0.3 s."""

    def __init__(self, make: Callable[[], VerdictQueue]) -> None:
        self._make = make
        self._made: VerdictQueue | None = None

    def receive(self, *, wait_s: float) -> Sequence[QueuedMessage]:
        return self._queue().receive(wait_s=wait_s)

    def delete(self, messages: Sequence[QueuedMessage]) -> None:
        self._queue().delete(messages)

    def _queue(self) -> VerdictQueue:
        if self._made is None:
            self._made = self._make()
        return self._made


def _plain(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


async def _listener(config: Configuration, desk: ArrivalDesk) -> StorageServer:
    """Return our storage SCP, not yet started, open to the configured senders only."""
    peers: dict[str, set[AllowedPeer]] = defaultdict(set)
    for settings in config.sources.values():
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


class CatalogUploadLog:
    """Multipart uploads are remembered in the catalog (`destinations.multipart.UploadLog`)."""

    def __init__(self, catalog: CatalogThread) -> None:
        self._catalog = catalog

    async def remember(self, destination: str, key: str, upload_id: str) -> None:
        await self._catalog.call(Catalog.remember_upload, destination, key, upload_id)

    async def forget(self, destination: str, key: str, upload_id: str) -> None:  # noqa: ARG002
        await self._catalog.call(Catalog.forget_upload, destination, key)

    async def open_uploads(self, destination: str, key: str | None = None) -> list[OpenUpload]:
        return [
            OpenUpload(upload.key, upload.upload_id)
            for upload in await self._catalog.call(Catalog.uploads, destination)
            if key is None or upload.key == key
        ]
