"""A bucket at Google or a container at Azure: may we use it, and does it overwrite nothing?

One small object is put under `v1/<archive>/doctor/`, read and deleted again.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator

from cloudmig.agent.doctor.findings import Finding, ok, problem, warning
from cloudmig.config import DestinationSettings
from cloudmig.destinations.opening import StoreSettings, profile_of
from cloudmig.destinations.probing import StoreProbe
from cloudmig.errors import CloudmigError

__all__ = ["check_cloud_store"]

_BODY = b"cloudmig doctor: this object may be deleted\n"


def check_cloud_store(
    subject: str,
    name: str,
    destination: DestinationSettings,
    settings: StoreSettings,
    archive: str,
) -> list[Finding]:
    """Examine one `gs://` or `az://` destination; blocks."""
    try:
        probe = StoreProbe(
            name, settings, profile_of(settings), storage_class=destination.storage_class
        )
    except CloudmigError as error:
        words = str(error).removeprefix(f"{subject}: ")
        return [problem("credentials", subject, words, _hint(error))]
    return list(_findings(subject, destination, probe, f"v1/{archive}/doctor/"))


def _findings(
    subject: str, destination: DestinationSettings, probe: StoreProbe, folder: str
) -> Iterator[Finding]:
    key = f"{folder}probe-{secrets.token_hex(6)}"
    try:
        probe.list(folder)
        yield ok("bucket", subject, f"{destination.url} is there and can be listed")
        probe.put(key, _BODY)
        yield ok("put", subject, "objects can be put")
    except CloudmigError as error:
        yield problem("store", subject, f"{destination.url} cannot be used: {error}", _hint(error))
        return
    try:
        if probe.put(key, _BODY):
            yield problem(
                "put_if_absent",
                subject,
                "the store overwrites an object although it was asked not to",
                "Is it an emulator, or a proxy that drops headers? Nothing may be copied there.",
            )
        else:
            yield ok("put_if_absent", subject, "an object that is there is not overwritten")
        if probe.read(key) == _BODY:
            yield ok("read", subject, "objects can be read")
        else:
            yield problem(
                "read", subject, "an object is read back otherwise than it was put",
                "Is there a proxy that alters what it passes on? Nothing may be copied there.",
            )  # fmt: skip
    except CloudmigError as error:
        yield problem("read", subject, f"{destination.url} cannot be used: {error}", _hint(error))
    try:
        probe.delete(key)
    except CloudmigError:
        yield warning(
            "clean_up",
            subject,
            f"a probe object could not be deleted: {key}",
            "A run never deletes and needs no such right; delete it by hand.",
        )


def _hint(error: CloudmigError) -> str:
    hint = error.hint or "the store is there and in trouble: try again later"
    return f"{hint[:1].upper()}{hint[1:]}".rstrip("?.") + ("?" if hint.endswith("?") else ".")
