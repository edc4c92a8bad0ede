"""Opens every destination, wrapped as it is used, and the queues that bring word of them."""

from __future__ import annotations

import contextlib
import functools
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloudmig.bootstrap.credentials import access
from cloudmig.catalog import Catalog, CatalogThread
from cloudmig.config import Configuration, DestinationSettings
from cloudmig.destinations.breaker import BreakerDestination
from cloudmig.destinations.evidence_elsewhere import EvidenceElsewhere
from cloudmig.destinations.object_store import ObjectStoreDestination
from cloudmig.destinations.opened_later import OpenedLater
from cloudmig.destinations.opening import StoreSettings, open_object_store, protect
from cloudmig.destinations.retrying import RetryPolicy
from cloudmig.destinations.throttled import ThrottleLimits
from cloudmig.destinations.upload_log import OpenUpload
from cloudmig.errors import DestinationUnavailable
from cloudmig.pipeline.parts import Parts, VerdictPost
from cloudmig.ports import Destination, QueuedMessage, VerdictQueue

if TYPE_CHECKING:
    from boto3.session import Session

__all__ = ["open_destinations", "open_store_client", "store_settings", "verdict_posts"]


async def open_destinations(parts: Parts, stack: contextlib.AsyncExitStack) -> None:
    """One destination per store and source: an archive's name is part of every key."""
    session = _aws_session(parts.config)
    uploads = CatalogUploadLog(parts.catalog)
    destinations: dict[tuple[str, str], Destination] = {}
    breakers: dict[str, list[BreakerDestination]] = defaultdict(list)
    for name, settings in parts.config.destinations.items():
        if settings.is_dicomweb:
            continue
        is_used = await _is_empty_and_used(parts, name)
        for source, source_settings in parts.config.sources.items():
            open_store = functools.partial(
                open_object_store,
                name,
                store_settings(settings),
                archive=source_settings.archive,
                storage_class=settings.storage_class,
                uploads=uploads,
                session=session,
                is_used=is_used,
            )
            store = _open_now_or_later(name, open_store, is_used=is_used)
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
        from cloudmig.bootstrap.web_destination import web_destination  # noqa: PLC0415

        for source, source_settings in parts.config.sources.items():
            web = web_destination(name, settings, source_settings.archive)
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


def _open_now_or_later(
    name: str, open_store: Callable[[], ObjectStoreDestination], *, is_used: bool
) -> ObjectStoreDestination | OpenedLater:
    """Open a store. One that has copies and cannot be opened is down, and holds nobody else back.

    Without any copy, it is rather the configuration that is wrong, and that is said at once.
    """
    try:
        return open_store()
    except DestinationUnavailable:
        if not is_used:
            raise
        return OpenedLater(name, open_store)


async def _is_empty_and_used(parts: Parts, name: str) -> bool:
    """Say whether a folder holds nothing, and should: copies, or the evidence of another's."""
    directory = parts.config.destinations[name].directory
    if directory is None or _holds_something(directory):
        return False
    for each in parts.config.kept_in(name):
        if await parts.catalog.call(Catalog.stored_copies, each, limit=1):
            return True
    return False


def _holds_something(directory: Path) -> bool:
    try:
        return any(directory.iterdir())
    except OSError:
        return False  # Not there; if it cannot be looked at, opening it says why.


def _aws_session(config: Configuration) -> Session | None:
    """Return one session for all buckets, so that credentials are looked for once."""
    if all(settings.scheme != "s3" for settings in config.destinations.values()):
        return None
    from boto3.session import Session  # noqa: PLC0415 - takes a tenth of a second

    return Session()


def store_settings(settings: DestinationSettings) -> StoreSettings:
    """Return what opens a store. The doctor uses it too, so that it examines what a run uses."""
    return StoreSettings(
        **access(settings),
        endpoint=settings.endpoint,
        profile=settings.profile if settings.scheme == "s3" else None,
        profile_overrides=settings.profile_overrides,
        path_style=settings.path_style,
        kms_key_id=settings.kms_key_id,
    )


def open_store_client(
    name: str, settings: DestinationSettings, *, connections_max: int, attempts: int = 1
) -> Any:  # noqa: ANN401
    """Return a boto3 client of an `s3://` destination, for what `cloudmig.cloud` does on site.

    It does not retry unless `attempts` are more than one: whoever calls it does.
    """
    from cloudmig.destinations.s3_opening import open_client  # noqa: PLC0415

    return open_client(
        name, store_settings(settings), connections_max=connections_max, attempts=attempts
    )


def verdict_posts(config: Configuration) -> list[VerdictPost]:
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
    from cloudmig.cloud.verdict_queue import SqsQueue  # noqa: PLC0415
    from cloudmig.destinations.queue_client import queue_client_maker  # noqa: PLC0415

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


class CatalogUploadLog:
    """Multipart uploads are remembered in the catalog (`destinations.upload_log.UploadLog`)."""

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
