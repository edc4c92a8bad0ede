"""A manifest is written once, read for ever, and says the same in the same bytes."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import random
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudmig.manifest import InstanceRecord, Manifest, ManifestUnreadable, decode, encode
from cloudmig.model.instance import Location

GOLDEN = Path(__file__).parents[1] / "golden" / "manifest.json"
SCHEMA = json.loads(
    (Path(__file__).parents[2] / "docs" / "manifest.schema.json").read_text(encoding="utf-8")
)
STUDY = "1.2.826.0.1.3680043.2.1125.7"


def a_record(number: int, *, slot: str = "primary", key: str = "") -> InstanceRecord:
    digest = hashlib.sha256(f"{number}{slot}{key}".encode()).hexdigest()
    return InstanceRecord(
        series_instance_uid=f"{STUDY}.1",
        sop_instance_uid=f"{STUDY}.1.{number}",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        transfer_syntax_uid="1.2.840.10008.1.2.4.90",
        size_bytes=1000 + number,
        file_sha256=digest,
        dataset_sha256=digest[::-1],
        location=Location(key or f"v1/main/8c/{STUDY}/{STUDY}.1/{STUDY}.1.{number}.dcm", "v1"),
        etag='"abc"',
        storage_class="STANDARD_IA",
        slot=slot,
        unexpected=number == 2,
        stored_at="2026-01-02T03:04:05+00:00",
    )


def a_manifest(*records: InstanceRecord, **changes: Any) -> Manifest:  # noqa: ANN401 - as `replace`
    manifest = Manifest(
        archive="main",
        study_instance_uid=STUDY,
        revision=1,
        previous_sha256="",
        source={"name": "main", "aet": "PACS"},
        destination="archive",
        created_at="2026-01-02T03:04:06+00:00",
        completeness="SET",
        instances=records or (a_record(1), a_record(2, slot="conflict"), a_record(2)),
        missing=(f"{STUDY}.1.9",),
    )
    return dataclasses.replace(manifest, **changes)


def as_json(manifest: Manifest) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(gzip.decompress(encode(manifest)[0]))
    return document


def packed(document: object) -> bytes:
    return gzip.compress(json.dumps(document).encode())


def test_what_is_written_can_be_read() -> None:
    manifest = a_manifest()

    body, sha256 = encode(manifest)

    assert decode(body) == manifest
    assert sha256 == hashlib.sha256(body).hexdigest()


def test_the_document_is_that_of_the_golden_file() -> None:
    """Version 1 is read by functions and by others' tools: it changes in a version 2 only."""
    assert as_json(a_manifest()) == json.loads(GOLDEN.read_text(encoding="ascii"))


def test_the_golden_file_can_be_read() -> None:
    assert decode(gzip.compress(GOLDEN.read_bytes())) == a_manifest()


def test_equal_evidence_makes_equal_bytes_in_whatever_order_it_came() -> None:
    records = [a_record(number) for number in range(20)]
    # Two conflicts under one SOP Instance UID differ in nothing but their key and digests.
    records += [a_record(3, slot="conflict", key=f"v1/main/8c/{n}") for n in range(5)]
    first = encode(a_manifest(*records))

    for seed in range(5):
        random.Random(seed).shuffle(records)
        assert encode(a_manifest(*records)) == first


def test_evidence_is_everything_but_times_and_the_chain() -> None:
    manifest = a_manifest()
    later = dataclasses.replace(
        manifest,
        revision=2,
        previous_sha256="a" * 64,
        created_at="2027-01-01T00:00:00+00:00",
        instances=[
            dataclasses.replace(each, stored_at="2027-01-01T00:00:00+00:00")
            for each in reversed(manifest.instances)
        ],
    )

    assert later.evidence() == manifest.evidence()


@pytest.mark.parametrize(
    "change",
    [
        {"archive": "other"},
        {"destination": "second"},
        {"completeness": "WEAK"},
        {"missing": ()},
        {"source": {"name": "main", "aet": "OTHER"}},
        {"instances": (a_record(1),)},
        {"instances": (a_record(1), a_record(2), a_record(2, slot="conflict", key="v1/x"))},
    ],
    ids=str,
)
def test_any_other_change_is_other_evidence(change: dict[str, Any]) -> None:
    assert a_manifest(**change).evidence() != a_manifest().evidence()


def test_references_name_every_record() -> None:
    [reference, *_] = a_manifest().references()

    assert reference.study_instance_uid == STUDY
    assert reference.sop_instance_uid == f"{STUDY}.1.1"


@pytest.mark.parametrize(
    "manifest",
    [
        a_manifest(),
        a_manifest(revision=7, previous_sha256="a" * 64, completeness="WEAK", missing=()),
        a_manifest(instances=()),
        a_manifest(dataclasses.replace(a_record(1), location=Location("v1/x", None, 512, 10))),
    ],
    ids=["first", "weak", "empty", "packed"],
)
def test_what_is_written_follows_the_published_schema(manifest: Manifest) -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(as_json(manifest))


def test_the_schema_itself_is_valid() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_the_schema_names_every_field_and_no_other() -> None:
    fields = {each.name for each in dataclasses.fields(Manifest)} | {"schema"}
    record = SCHEMA["$defs"]["instance"]
    location = record["properties"]["location"]

    assert set(SCHEMA["properties"]) == set(SCHEMA["required"]) == fields
    assert set(record["properties"]) == {each.name for each in dataclasses.fields(InstanceRecord)}
    assert set(record["required"]) == set(record["properties"])
    assert set(location["properties"]) == {each.name for each in dataclasses.fields(Location)}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema",), "cloudmig/manifest/2"),
        (("revision",), 0),
        (("previous_sha256",), "a" * 64),  # Revision 1 has no predecessor.
        (("completeness",), "MAYBE"),
        (("patient_name",), "CANARY^NAME"),
        (("instances", 0, "sop_instance_uid"), "../x"),
        (("instances", 0, "dataset_sha256"), ""),
        (("instances", 0, "size_bytes"), -1),
        (("instances", 0, "location", "offset"), None),
        (("instances", 0, "slot"), "beside"),
        (("created_at",), "2026-01-02T03:04:05"),
    ],
    ids=str,
)
def test_the_schema_refuses_what_is_no_manifest(path: tuple[Any, ...], value: object) -> None:
    document = as_json(a_manifest())
    inner: Any = document
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMA).validate(document)


UNREADABLE = {
    "nothing": b"",
    "no gzip": b"{}",
    "no JSON": gzip.compress(b"{"),
    "not UTF-8": gzip.compress(b'"\xff"'),
    "a list": packed([]),
    "a text": packed("schema"),
    "another version": packed({"schema": "cloudmig/manifest/2"}),
    "no fields": packed({"schema": "cloudmig/manifest/1"}),
    "deep": gzip.compress(b"[" * 100_000),
    "torn": encode(a_manifest())[0][:-9],
    "a damaged stream": encode(a_manifest())[0][:40] + b"\xff" * 40 + encode(a_manifest())[0][80:],
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_bytes_that_are_no_manifest_are_named_as_that(body: bytes) -> None:
    with pytest.raises(ManifestUnreadable):
        decode(body)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("revision",), "1"),
        (("revision",), True),
        (("source",), "main"),
        (("missing",), [1]),
        (("missing",), 3),
        (("instances",), {"a": "b"}),
        (("instances",), [None]),
        (("instances", 0, "size_bytes"), "big"),
        (("instances", 0, "file_sha256"), None),
        (("instances", 0, "location"), "key"),
        (("instances", 0, "location"), {"key": 1}),
        (("instances", 0, "surprise"), 1),
        (("surprise",), 1),
    ],
    ids=str,
)
def test_a_field_of_the_wrong_kind_is_no_manifest(path: tuple[Any, ...], value: object) -> None:
    document = as_json(a_manifest())
    inner: Any = document
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value

    with pytest.raises(ManifestUnreadable):
        decode(packed(document))


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_one_damaged_byte_never_passes_unnoticed(position: int, value: int) -> None:
    body = bytearray(encode(a_manifest())[0])
    body[position % len(body)] = value

    try:
        read = decode(bytes(body))
    except ManifestUnreadable:
        return
    assert read == a_manifest()  # The byte was the same, or one of gzip's own that says nothing.


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
        max_leaves=8,
    )
)
def test_no_document_breaks_the_reader(value: object) -> None:
    for document in (value, {**as_json(a_manifest()), "instances": value}):
        try:
            decode(packed(document))
        except ManifestUnreadable:
            continue
