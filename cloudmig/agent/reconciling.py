"""Reconciles an S3 Inventory with the manifests of a destination, in processes of this machine.

The code is the functions' (`cloudmig.cloud.reconcile_inventory`). Nothing is written to the store,
the catalog or the ledger: what differs is kept as files below `state_dir` and shown.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cloudmig.bootstrap.destinations import open_store_client
from cloudmig.cloud.reconcile_inventory import InventoryRefused, Settings
from cloudmig.cloud.reconcile_judging import ReconcileFinding, ReconcileRules
from cloudmig.cloud.reconcile_listing import read_inventory
from cloudmig.cloud.reconcile_on_site import Progress, reconcile_on_site
from cloudmig.cloud.reconcile_shelf import Address, FolderShelf, S3Shelf, Shelf
from cloudmig.config import Configuration, DestinationSettings
from cloudmig.destinations.s3_control import translated
from cloudmig.errors import ConfigError

__all__ = ["Reconciled", "reconcile_destination"]

#: Manifests that a worker asks for at once.
_FETCHES = 8
_WORKERS_MAX = 4
#: A client's own attempts for one small object: a partition reads thousands of them.
_ATTEMPTS = 5
#: No bucket has a name with a space in it, so this one is never taken.
_FOLDER = "a folder"


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What came of it."""

    destination: str
    summary: dict[str, Any]
    folder: Path  #: Where the findings lie.

    def findings(self) -> Iterator[ReconcileFinding]:
        """Yield every finding, partition by partition."""
        for path in sorted(self.folder.glob("findings/*.jsonl.gz")):
            with gzip.open(path, "rt", encoding="ascii") as file:
                for line in file:
                    content = json.loads(line)
                    del content["schema"]
                    yield ReconcileFinding(**content)


class _InventoryFolder(FolderShelf):
    """A downloaded inventory, whatever part of its bucket's folders came with it.

    manifest.json names the data files by their whole keys; who copied them by hand has them
    beside it, or in `data/` beside its folder.
    """

    def __init__(self, manifest: Path) -> None:
        super().__init__(manifest.parent)
        self._parents = list(manifest.parents)[:8]

    def path_of(self, key: str) -> Path:
        parts = super().path_of(key).relative_to(self._parents[0]).parts
        for start in range(len(parts)):
            for parent in self._parents:
                path = parent.joinpath(*parts[start:])
                if path.is_file():
                    return path
        return self._parents[0].joinpath(*parts)


class _InventoryBucket(S3Shelf):
    """The bucket that INVENTORY names, which no setting of a destination does."""

    def get(self, address: Address, version_id: str | None = None) -> bytes | None:
        try:
            return super().get(address, version_id)
        except self._client.exceptions.ClientError as error:
            if error.response.get("Error", {}).get("Code") != "NoSuchBucket":
                raise
            raise ConfigError(
                f"there is no bucket {address.bucket}",
                hint="correct INVENTORY: it names s3://BUCKET/.../manifest.json",
            ) from error


def reconcile_destination(
    config: Configuration,
    inventory: str,
    *,
    destination: str | None = None,
    workers: int | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Reconciled:
    """Reconcile the inventory at a path or an `s3://` address. Raises `CloudmigError`."""
    url = urlsplit(inventory)
    is_remote = url.scheme == "s3"
    path = Path(inventory).resolve()
    if not is_remote and not path.is_file():
        raise ConfigError(
            "there is no such inventory",
            hint="name its manifest.json: a path, or s3://BUCKET/.../manifest.json",
        )
    address = (
        Address(url.netloc, url.path.lstrip("/")) if is_remote else Address(_FOLDER, path.name)
    )
    name = destination or _chosen(config, None if is_remote else path)
    settings = config.destinations.get(name)
    if settings is None or settings.scheme != "s3":
        raise ConfigError(
            f"there is no destination {name} in a bucket",
            hint="an inventory is of a bucket: name an s3:// destination by --destination",
        )
    folder = config.agent.state_dir / "reconcile"
    with translated("reconcile"):
        try:
            summary = reconcile_on_site(
                address,
                Settings(
                    bucket=settings.bucket,
                    prefix=settings.key_prefix,
                    results=Address("", ""),
                    rules=ReconcileRules(
                        later_classes=settings.later_classes, kms=settings.kms_key_id is not None
                    ),
                ),
                partial(_shelves, name, settings, address, path),
                folder=folder,
                workers=workers or min(_WORKERS_MAX, os.cpu_count() or 1),
                fetches=_FETCHES,
                on_progress=on_progress,
            )
        except InventoryRefused as refused:
            raise ConfigError(
                f"the inventory cannot be reconciled: {refused}",
                hint="What an inventory must be: docs/reconciliation.md.",
            ) from refused
    return Reconciled(name, summary, folder / summary["run"])


def _chosen(config: Configuration, manifest: Path | None) -> str:
    """Return the destination that an inventory is of: the only bucket, or the one it names."""
    names = [name for name, each in config.destinations.items() if each.scheme == "s3"]
    if len(names) > 1 and manifest is not None:
        try:
            held = read_inventory(_InventoryFolder(manifest), Address(_FOLDER, manifest.name))
        except InventoryRefused as refused:
            raise ConfigError(f"the inventory cannot be reconciled: {refused}") from refused
        names = [name for name in names if config.destinations[name].bucket == held.source_bucket]
    if len(names) != 1:
        raise ConfigError(
            "it cannot be told of which destination the inventory is",
            hint="name an s3:// destination by --destination",
        )
    return names[0]


def _shelves(
    name: str, settings: DestinationSettings, inventory: Address, manifest: Path
) -> dict[str, Shelf]:
    """Open what a worker reads. An inventory in a bucket is read with the destination's keys."""
    client = open_store_client(name, settings, connections_max=_FETCHES, attempts=_ATTEMPTS)
    where = _InventoryFolder(manifest) if inventory.bucket == _FOLDER else _InventoryBucket(client)
    return {inventory.bucket: where, settings.bucket: S3Shelf(client)}
