"""The functions beside the two that verify, from their zips, on what a migration left."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from cloudmig.cloud.retrieval_samples import decode_samples
from cloudmig.demo.children import cloudmig
from cloudmig.messages import ObjectVerdict, RestoreReport
from tests.lambdas.an_inventory import write_inventory
from tests.lambdas.cloud import PREFIX, Cloud, findings_of
from tests.lambdas.emulator import Emulator
from tests.lambdas.test_story import assert_all_agree, image_keys, migrated


def test_a_delete_marker_is_found_by_the_inventory_named_and_repaired(
    cloud: Cloud, tmp_path: Path
) -> None:
    """moto sends no event for one. Where AWS's is lost, this is the net below."""
    with migrated(cloud, tmp_path, studies=2) as world:
        cloud.settle()
        cloudmig(world.config, "verdicts", exit_codes=(0,))
        key = image_keys(cloud)[0]
        cloud.s3.delete_object(Bucket=cloud.name, Key=PREFIX + key)

        with cloud.function("reconcile_inventory") as function:
            summary = reconciled(cloud, function)
        assert summary["findings"] == {"missing": 1}
        assert not summary["agreed"]
        assert '"FindingsFound":[1.0]' in cloud.logs()

        cloud.settle()
        assert findings_of(cloud.study_verdicts().values()) == {key: "missing"}
        cloudmig(world.config, "verdicts", exit_codes=(1,))
        cloudmig(world.config, "run", exit_codes=(0,))
        cloud.settle()
        assert_all_agree(cloud, studies=1)


def reconciled(cloud: Cloud, function: Emulator) -> dict[str, Any]:
    """Run the steps of the state machine one after the other; return the summary."""
    planned = function.invoke({"step": "plan", "inventory": write_inventory(cloud)})
    for step, units in (("split", "split_units"), ("reconcile", "join_units")):
        address = planned[units]
        body = cloud.s3.get_object(Bucket=address["bucket"], Key=address["key"])["Body"].read()
        for unit in json.loads(body):
            function.invoke({"step": step, **unit})
    return function.invoke({"step": "summarise", "plan": planned["plan"]})


def test_images_that_an_agent_left_without_a_manifest_are_orphans(
    cloud: Cloud, tmp_path: Path
) -> None:
    with migrated(cloud, tmp_path, studies=1):
        for each in cloud.s3.list_object_versions(Bucket=cloud.name)["Versions"]:
            if each["Key"].endswith(".json.gz"):
                cloud.s3.delete_object(
                    Bucket=cloud.name, Key=each["Key"], VersionId=each["VersionId"]
                )
        cloud.settle()
        assert not cloud.waiting()
        keys = image_keys(cloud)
        with cloud.function("find_orphans") as function:
            found = [function.invoke({}) for _ in range(2)]

    assert found == [
        {"orphans": len(keys), "gone": 0, "asked": 0},
        {"orphans": 0, "gone": 0, "asked": 0},
    ]
    told = [each for each in cloud.waiting() if isinstance(each, ObjectVerdict)]
    assert sorted((each.key, each.finding) for each in told) == [(key, "orphan") for key in keys]


def test_a_probe_reads_what_was_migrated_and_keeps_its_samples(
    cloud: Cloud, tmp_path: Path
) -> None:
    with migrated(cloud, tmp_path, studies=3) as world:
        cloud.settle()
        with cloud.function("probe_retrieval") as function:
            document = function.invoke({})

    [key] = [each for each in cloud.lies_there() if each.startswith("samples/")]
    samples = decode_samples(cloud.s3.get_object(Bucket=cloud.name, Key=key)["Body"].read())
    assert document["samples"] == len(samples) == 3
    assert {each.tier for each in samples} == {"STANDARD"}
    assert {each.outcome for each in samples} == {"read"}
    assert len({each.study for each in samples}) == 3
    assert '"RetrievalBreach"' in cloud.logs()
    for study in world.studies:
        assert study.study_instance_uid not in cloud.logs() + str(samples)


def test_a_restore_is_timed_and_told_once_however_often_it_is_heard_of(
    cloud: Cloud, tmp_path: Path
) -> None:
    cloud.sandboxes = {"watch_restore": 1}
    with migrated(cloud, tmp_path, studies=1) as world:
        key = image_keys(cloud)[0]
        place = {"Bucket": cloud.name, "Key": PREFIX + key}
        cloud.s3.copy_object(**place, CopySource=place, StorageClass="DEEP_ARCHIVE")
        cloud.s3.restore_object(
            **place, RestoreRequest={"Days": 1, "GlacierJobParameters": {"Tier": "Bulk"}}
        )
        assert 'ongoing-request="false"' in cloud.s3.head_object(**place)["Restore"]
        events = cloud.take("restores")
        assert len(events) == 2
        cloud.send("restores", [*reversed(events), *events])
        cloud.settle()
        reports = [each for each in cloud.waiting() if isinstance(each, RestoreReport)]
        finished = {replace(each, tier="") for each in reports if each.completed_at}
        told = cloudmig(world.config, "verdicts", exit_codes=(0, 1))

    [report] = finished
    assert (report.key, report.storage_class) == (key, "DEEP_ARCHIVE")
    assert report.took_s is not None
    assert report.took_s < report.promised_s
    [sample] = [each for each in cloud.lies_there() if each.startswith("samples/")]
    assert sample.endswith(".jsonl.gz")
    assert '"restores"' in "".join(told.stdout)
    assert not cloud.take("restores-dead")
