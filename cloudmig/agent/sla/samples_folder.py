"""The raw samples on site: one file per probe in the state folder, never changed."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from cloudmig.cloud.retrieval_samples import (
    RetrievalSample,
    SamplesUnreadable,
    decode_samples,
    encode_samples,
    samples_key,
)
from cloudmig.errors import CatalogError

__all__ = ["keep_samples", "kept_samples", "samples_dir"]

_DAY = re.compile(r"\d{4}/\d{2}/\d{2}/")


def samples_dir(state_dir: Path) -> Path:
    """Return the folder of raw samples."""
    return state_dir / "sla" / "samples"


def keep_samples(folder: Path, samples: Sequence[RetrievalSample], at: dt.datetime) -> Path:
    """Write the samples of a probe and return their file."""
    body = encode_samples(samples)
    path = folder / samples_key("", at, body)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".part")
        draft.write_bytes(body)
        draft.replace(path)
    except OSError as error:
        raise CatalogError(
            f"samples cannot be kept: {error.strerror}", hint=f"Make {folder} writable."
        ) from error
    return path


def kept_samples(folder: Path, since: dt.datetime) -> Iterator[RetrievalSample]:
    """Yield every sample taken since then, the oldest first, in files of any of the folders."""
    first_day = f"{since:%Y/%m/%d}"
    for path in sorted(folder.rglob("*.jsonl.gz")):
        day = path.relative_to(folder).as_posix()
        # Files that were copied here may lie deeper, or flat; those are opened and looked at.
        if _DAY.match(day) and day[:10] < first_day:
            continue
        try:
            samples = decode_samples(path.read_bytes())
        except (SamplesUnreadable, OSError) as error:
            raise CatalogError(
                f"{path} holds no samples that can be read: {error}",
                hint="Move the file away; the report is then made of the others.",
            ) from error
        for sample in samples:
            if dt.datetime.fromisoformat(sample.at) >= since:
                yield sample
