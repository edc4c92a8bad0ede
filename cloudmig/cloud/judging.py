"""One judgement of a study: collects the evidence, compares it, words the verdict."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace

from cloudmig.cloud.comparing import Comparison, compare, is_mere_claim
from cloudmig.cloud.instants import instant
from cloudmig.cloud.listing import ListedObject, list_objects
from cloudmig.cloud.looking import STORE_CHECKSUM, STREAMED, UNDECIDED
from cloudmig.cloud.manifest_chain import Chain, HeldManifest, read_chain
from cloudmig.cloud.places import Place, PlaceKind, read_place
from cloudmig.cloud.sampling import place_of, stratum_of
from cloudmig.cloud.verdict_table import ObjectItem, StudyItem
from cloudmig.cloud.verify_object import Desk, examine
from cloudmig.manifest import InstanceRecord, Manifest
from cloudmig.messages import FINDINGS_MAX, ObjectFinding, StudyRequest, StudyVerdict
from cloudmig.model.references import StudyRef
from cloudmig.objects import study_prefix

__all__ = ["Judgement", "judge"]

#: What the findings of one message may take; a queue takes 256 KiB, and a key may be 1 KiB.
_FINDINGS_BYTES_MAX = 200 * 1024


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was found, as it is told and as it is kept."""

    verdict: StudyVerdict
    item: StudyItem
    settled: Sequence[ObjectItem]  #: To be settled once the verdict is told.


def judge(desk: Desk, request: StudyRequest, pk: str, known: StudyItem | None) -> Judgement | None:
    """Judge a study as it is now. None: it has no manifest, and never had one we know of."""
    at = instant(desk.now())
    study = StudyRef(request.study_instance_uid)
    prefix = study_prefix(request.archive, study)
    listed = {
        each.key.removeprefix(request.prefix): each
        for each in list_objects(
            desk.s3, request.bucket, request.prefix + prefix, page_keys=desk.page_keys
        )
    }
    places = [read_place(request.prefix + key, request.prefix) for key in listed]
    revisions = {each.revision for each in places if each and each.kind is PlaceKind.MANIFEST}
    if known is not None and max(revisions, default=0) < known.manifest_revision:
        return _without_manifest(request, at, known)
    if not revisions:
        return None
    chain = read_chain(
        desk.s3,
        request.bucket,
        desk.expected,
        archive=request.archive,
        study=study,
        revisions=revisions,
    )
    chain = _as_remembered(chain, known)
    listing = chain.newest.content
    if listing is None:
        return _with_spoilt_manifest(request, at, pk, chain, known)
    members = {record.location.key: record for record in listing.instances}
    wanted = {*members, *listed} - {_manifest_key(prefix, number) for number in revisions}
    held = {prefix + item.sk: item for item in desk.table.of_study(pk)}
    seen = _seen(desk, request.bucket, wanted, listed, held, members)
    comparison = compare(listing, chain.superseded, seen, desk.expected.later_classes)
    return _concluded(request, at, pk, chain, listing, comparison, [seen[key] for key in members])


def _manifest_key(prefix: str, revision: int) -> str:
    return f"{prefix}manifest/{revision}.json.gz"


def _as_remembered(chain: Chain, known: StudyItem | None) -> Chain:
    """Compare the newest manifest with what an earlier judgement saw: a revision is immutable."""
    newest = chain.newest
    if (
        known is None
        or newest.content is None
        or known.manifest_revision != newest.revision
        or known.manifest_sha256 in {"", newest.sha256}
    ):
        return chain
    spoilt = newest.spoilt("manifest altered")
    return replace(chain, newest=spoilt, findings=(*chain.findings, *spoilt.findings))


def _seen(
    desk: Desk,
    bucket: str,
    wanted: Collection[str],
    listed: Mapping[str, ListedObject],
    held: Mapping[str, ObjectItem],
    members: Mapping[str, InstanceRecord],
) -> dict[str, ObjectItem]:
    """Return an item for every key: the one held where it is about the object that lies there
    now, else that of a look right now.
    """

    def examined(key: str) -> ObjectItem:
        place = read_place(desk.expected.prefix + key, desk.expected.prefix)
        assert place is not None, "it lies below the prefix"
        if place.kind is PlaceKind.STRANGE and key in listed:
            return _stranger(place, listed[key])
        item, _ = examine(desk, bucket, place)
        if key in members and is_mere_claim(members[key], item):
            item, _ = examine(desk, bucket, place, read="stream")
        if desk.table.record(item):
            return item
        return desk.table.find(item.pk, item.sk) or item  # Somebody looked later still.

    seen: dict[str, ObjectItem] = {}
    unknown = []
    for key in wanted:
        line, item = listed.get(key), held.get(key)
        record = members.get(key)
        doubtful = record is not None and item is not None and is_mere_claim(record, item)
        if line is not None and item is not None and _is_about(item, line) and not doubtful:
            seen[key] = replace(item, storage_class=line.storage_class)
        else:
            unknown.append(key)
    with ThreadPoolExecutor(desk.threads) as threads:
        seen.update(zip(unknown, threads.map(examined, unknown), strict=True))
    return seen


def _stranger(place: Place, line: ListedObject) -> ObjectItem:
    """Return what a list says of a stranger's object. There may be a million: none is kept."""
    return ObjectItem(
        pk="",
        sk=place.rest,
        at="",
        own_finding="stranger",
        finding="stranger",
        how="",
        etag=line.etag,
        size_bytes=line.size_bytes,
        storage_class=line.storage_class,
    )


def _is_about(item: ObjectItem, line: ListedObject) -> bool:
    """Say whether a look decided about the object that is listed. It may have moved its class."""
    return (
        item.how != UNDECIDED  # It may have been restored since.
        and (item.etag, item.size_bytes) == (line.etag, line.size_bytes)
        and instant(line.modified_at) <= item.at
    )


# ----------------------------------------------------------------------------------- the wording


def _concluded(
    request: StudyRequest,
    at: str,
    pk: str,
    chain: Chain,
    listing: Manifest,
    comparison: Comparison,
    members: Sequence[ObjectItem],
) -> Judgement:
    findings = [*chain.findings, *comparison.findings]
    how = STREAMED
    if comparison.undecided:
        how = UNDECIDED
    elif any(item.how == STORE_CHECKSUM for item in members):
        how = STORE_CHECKSUM
    agreed = not findings and not comparison.undecided
    verdict = _verdict(request, at, chain.newest, len(listing.instances), findings, how)
    size_bytes = sum(record.size_bytes for record in listing.instances)
    storage_class = _commonest(item.storage_class for item in members)
    modality = _commonest(item.modality for item in members)
    study_year = _commonest(item.study_year for item in members)
    item = StudyItem(
        pk=pk,
        at=at,
        manifest_key=verdict.manifest_key,
        manifest_sha256=verdict.manifest_sha256,
        manifest_revision=verdict.manifest_revision,
        agreed=agreed,
        instances=verdict.instances,
        differing=verdict.differing,
        size_bytes=size_bytes,
        storage_class=storage_class,
        modality=modality,
        study_year=study_year,
        stratum=stratum_of(storage_class, study_year, modality, size_bytes),
        sample=place_of(request.study_instance_uid),
    )
    return Judgement(replace(verdict, agreed=agreed), item, comparison.settled)


def _with_spoilt_manifest(
    request: StudyRequest, at: str, pk: str, chain: Chain, known: StudyItem | None
) -> Judgement:
    """Nothing can be said of the objects. The study is in no sample until it is repaired."""
    newest = chain.newest
    same = known is not None and known.manifest_revision == newest.revision
    verdict = _verdict(request, at, newest, 0, chain.findings, STREAMED)
    item = StudyItem(
        pk=pk,
        at=at,
        manifest_key=newest.key,
        # What was believed of this revision, not what lies there now: it may come back.
        manifest_sha256=known.manifest_sha256 if known is not None and same else "",
        manifest_revision=newest.revision,
        agreed=False,
        instances=0,
        differing=verdict.differing,
        size_bytes=0,
        storage_class="",
        modality="",
        study_year="",
        stratum="",
        sample="",
    )
    return Judgement(verdict, item, ())


def _without_manifest(request: StudyRequest, at: str, known: StudyItem) -> Judgement:
    """The manifest that was judged is gone, and none came after it."""
    gone = HeldManifest(
        key=known.manifest_key,
        revision=known.manifest_revision,
        sha256=known.manifest_sha256,
        content=None,
    )
    findings = [gone.finding("manifest missing")]
    verdict = _verdict(request, at, gone, known.instances, findings, STREAMED)
    item = replace(known, at=at, agreed=False, differing=1, stratum="", sample="", settled=False)
    return Judgement(verdict, item, ())


def _verdict(
    request: StudyRequest,
    at: str,
    newest: HeldManifest,
    instances: int,
    findings: Sequence[ObjectFinding],
    how: str,
) -> StudyVerdict:
    return StudyVerdict(
        bucket=request.bucket,
        prefix=request.prefix,
        archive=request.archive,
        study_instance_uid=request.study_instance_uid,
        manifest_key=newest.key,
        manifest_sha256=newest.sha256,
        manifest_revision=newest.revision,
        agreed=False,
        instances=instances,
        differing=len(findings),
        how=how,
        at=at,
        findings=tuple(_that_fit(findings)),
    )


def _that_fit(findings: Sequence[ObjectFinding]) -> Iterable[ObjectFinding]:
    """Yield findings while they fit into a message. Strangers come last, and may have any name."""
    left = _FINDINGS_BYTES_MAX
    for finding in findings[:FINDINGS_MAX]:
        left -= len(json.dumps(asdict(finding)))
        if left < 0:
            return
        yield finding


def _commonest(values: Iterable[str]) -> str:
    counted = Counter(value for value in values if value)
    return min(counted, key=lambda value: (-counted[value], value)) if counted else ""
