"""What each kind of object store can do: data, so that a user can correct it by configuration."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from importlib.resources import files
from typing import Any

from cloudmig.errors import ConfigError

__all__ = ["StoreProfile", "profile_named", "profile_names"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreProfile:
    """The features of a store. The defaults are those of Amazon S3; others say what they lack."""

    name: str
    #: `If-None-Match: *` on a PUT. Without it a store is HEAD, PUT, HEAD: two writers that race
    #: for one key both write, the later one wins (a second version where the bucket is versioned),
    #: and the earlier one learns it only from the HEAD after its PUT, or not at all.
    put_if_absent: bool = True
    look_before_put: bool = True  #: Without put-if-absent: HEAD before and after. Off: believe.
    put_if_match: bool = True  #: `If-Match` on a PUT: repair in place, in versioned buckets.
    metadata: bool = True  #: Keeps content type and user metadata.
    metadata_dashes: bool = True  #: Names of metadata may hold dashes; else they are underscores.
    checksum_header: bool = True  #: Takes `x-amz-checksum-sha256`.
    stored_checksum: bool = True  #: Tells the SHA-256 it computed itself.
    storage_classes: bool = True
    versioning: bool = True  #: Buckets can be versioned; whether this one is, its answers say.
    multipart: bool = True  #: S3 multipart uploads.
    multipart_put_if_absent: bool = True  #: `If-None-Match: *` on completing one.
    sse_kms: bool = True
    payload_signed: bool = True  #: Off saves nothing while a SHA-256 is sent: it is one pass.


@cache
def _known() -> Mapping[str, StoreProfile]:
    text = (files("cloudmig.destinations") / "profiles.toml").read_text(encoding="utf-8")
    return {name: StoreProfile(name=name, **table) for name, table in tomllib.loads(text).items()}


def profile_names() -> tuple[str, ...]:
    """Return the names a configuration may use."""
    return tuple(_known())


def profile_named(name: str, overrides: Mapping[str, bool] | None = None) -> StoreProfile:
    """Return the profile of that name, with the user's corrections."""
    try:
        profile = _known()[name]
    except KeyError:
        raise ConfigError(
            f"no store profile is called {name!r}", hint=f"use one of {', '.join(_known())}"
        ) from None
    features = {field.name for field in fields(StoreProfile)} - {"name"}
    unknown = sorted(set(overrides or {}) - features)
    if unknown:
        raise ConfigError(
            f"a store profile has no feature {', '.join(unknown)}",
            hint=f"features are {', '.join(sorted(features))}",
        )
    changes: dict[str, Any] = dict(overrides or {})
    return replace(profile, **changes)
