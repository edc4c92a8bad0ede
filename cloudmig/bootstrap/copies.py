"""Opens a copy of a study as what another copy is made from."""

from __future__ import annotations

from cloudmig.catalog.records import CopyRow
from cloudmig.pipeline.copying import Origin
from cloudmig.pipeline.parts import Parts
from cloudmig.sources.copies import CopySource

__all__ = ["open_origin"]


def open_origin(parts: Parts, source: str, copy: CopyRow) -> Origin:
    """Return the copy as a source. Touches no network until it is used."""
    assert copy.manifest_key is not None, "a verified copy has a manifest"
    assert copy.manifest_sha256 is not None
    return CopySource(
        parts.destination(copy.destination, source),
        manifest_key=copy.manifest_key,
        manifest_sha256=copy.manifest_sha256,
        area=parts.area,
    )
