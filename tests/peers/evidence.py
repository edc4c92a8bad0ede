"""What the judge asks of manifests, keys, metadata, versions and uploads.

The manifest format is read here as published (version 1), by the judge's own eyes.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import pydicom

from tests.peers.bucket import HeldObject, ManifestFile, Survey
from tests.peers.loading import Loaded

__all__ = ["problems"]

_KEY = re.compile(
    r"(?:.*/)?v1/[a-z0-9][a-z0-9-]*/(?:"
    r"quarantine/[0-9a-f]{64}\.dcm"
    r"|[0-9a-f]{2}/[0-9.]{1,64}/"
    r"(?:manifest/[0-9]+\.json\.gz|[0-9.]{1,64}/[0-9.]{1,64}(?:~[0-9a-f]{16})?\.dcm(?:~r[0-9]+)?)"
    r")"
)
_METADATA_VALUE = re.compile(r"[A-Za-z0-9.:/+=_-]{0,128}")


def problems(found: Survey, truth: Sequence[Loaded]) -> list[str]:
    """Return everything that is wrong with the bucket, the bytes of images apart."""
    return [
        *(f"stranger in the bucket: {key}" for key in found.strangers),
        *(f"open multipart upload: {key}" for key in found.open_uploads),
        *(f"{n} versions: {key}" for key, n in sorted(found.versions.items()) if n != 1),
        *(f"not a Part 10 object: {each.key}" for each in found.objects if each.meta is None),
        *_manifest_problems(found),
        *_privacy_problems(found, truth),
    ]


def _manifest_problems(found: Survey) -> Iterator[str]:
    studies: defaultdict[str, dict[int, ManifestFile]] = defaultdict(dict)
    for manifest in found.manifests:
        if manifest.damage:
            yield f"damaged manifest ({manifest.damage}): {manifest.key}"
            continue
        studies[manifest.study_prefix][int(manifest.content["revision"])] = manifest
    named: Counter[str] = Counter()
    held = {each.key: each for each in found.objects}
    for revisions in studies.values():
        yield from _chain_problems(revisions)
        newest = revisions[max(revisions)]
        for record in newest.content["instances"]:
            key = record["location"]["key"]
            named[key] += 1
            image = held.get(key)
            if image is None:
                yield f"{newest.key} names {key}, which is not there"
            elif (image.size_bytes, image.file_sha256, image.dataset_sha256) != (
                record["size_bytes"],
                record["file_sha256"],
                record["dataset_sha256"],
            ):
                yield f"{newest.key} has other digests or sizes than {key}"
            elif image.meta is not None and (
                record["transfer_syntax_uid"],
                record["sop_class_uid"],
            ) != (image.meta.transfer_syntax_uid, image.meta.sop_class_uid):
                yield f"{newest.key} has another SOP class or transfer syntax than {key}"
    yield from (f"a manifest names it {n} times: {key}" for key, n in named.items() if n > 1)
    for image in found.objects:
        if image.key not in named and not image.quarantined:
            yield f"no manifest names {image.key}"


def _chain_problems(revisions: dict[int, ManifestFile]) -> Iterator[str]:
    """Every revision names its predecessor's digest, from 1 on."""
    if sorted(revisions) != list(range(1, len(revisions) + 1)):
        yield f"manifest revisions {sorted(revisions)}: {revisions[max(revisions)].study_prefix}"
        return
    for number, manifest in revisions.items():
        before = revisions[number - 1].sha256 if number > 1 else ""
        if manifest.content["previous_sha256"] != before:
            yield f"{manifest.key} does not name its predecessor"


def _privacy_problems(found: Survey, truth: Sequence[Loaded]) -> Iterator[str]:
    words, values = _patient_data(truth)
    everything: list[HeldObject | ManifestFile] = [*found.objects, *found.manifests]
    for each in everything:
        if not _KEY.fullmatch(each.key):
            yield f"a key out of the layout: {each.key}"
        for name, value in each.metadata.items():
            if not _METADATA_VALUE.fullmatch(value) or value in values:
                yield f"metadata {name} may hold patient data: {each.key}"
    texts = [(each.key, f"{each.key} {each.metadata}".lower()) for each in everything]
    if words:
        pattern = re.compile("|".join(sorted(map(re.escape, words))))
        yield from (f"a patient's name or ID: {key}" for key, text in texts if pattern.search(text))


def _patient_data(truth: Sequence[Loaded]) -> tuple[set[str], set[str]]:
    """Return words that no key may contain, and values that no metadata may equal.

    Digits alone occur in UIDs, letters up to f in digests: such words prove nothing inside a key.
    """
    words, values = set(), set()
    for record in truth:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = pydicom.dcmread(
                record.path,
                force=True,
                stop_before_pixels=True,
                specific_tags=["PatientName", "PatientID", "AccessionNumber", "PatientBirthDate"],
            )
            told = [str(element.value or "") for element in header if element.tag.group != 0]
        values |= {value for value in told if len(value) >= 4}
        for value in told:
            for word in re.split(r"[\^= ,]", value.lower()):
                if len(word) >= 5 and re.search(r"[g-z]", word):
                    words.add(word)
    # Fixed words of ours that a test file may use as a name, too.
    return {word for word in words if word not in "cloudmig-file-dataset-sha256-manifest"}, values
