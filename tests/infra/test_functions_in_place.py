"""The functions run with what Terraform gives them, and may do what they do, and no more."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from cloudmig.cloud.expectations import Expectations
from cloudmig.cloud.reconcile_shelf import S3Shelf
from cloudmig.cloud.verdict_table import MemoryTable
from cloudmig.messages import ObjectVerdict, RestoreReport, StudyVerdict, decode
from tests import cloud_inventory
from tests.contract.moto_bucket import Bucket
from tests.infra.deployment import FUNCTIONS, ROOT, Deployment
from tests.infra.in_place import Call, InPlace, Policy, bodies
from tests.integration import cloud_world
from tests.integration.cloud_world import CloudWorld

#: What is granted and no handler calls: others call it in the function's name.
BY_OTHERS = {
    "kms:Decrypt": "S3, SQS and DynamoDB, for whoever reads what they keep",
    "kms:GenerateDataKey": "SQS and S3, for whoever writes",
    "logs:CreateLogStream": "the runtime",
    "logs:PutLogEvents": "the runtime",
}
FED_BY_QUEUES = {"verify_object", "verify_study", "watch_restore"}
#: What the event source mapping calls with the function's role.
TAKING = {"sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"}
#: Never called by these: with it S3 says "missing" where it would say "forbidden".
TELLS_MISSING = {"verify_object", "reconcile_inventory"}


@pytest.fixture(scope="module")
def place(applied_hybrid: Deployment) -> Iterator[InPlace]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        found = InPlace(applied_hybrid, monkeypatch)
        for queue in ("objects", "studies", "verdicts", "restores"):
            found.receive(queue)  # Other tests leave things there.
        yield found
        found.empty_buckets()  # Whoever destroys the deployment later finds them as they were.


@pytest.fixture(scope="module")
def world(place: InPlace) -> CloudWorld:
    images = place.deployment.outputs()["image_bucket"]
    place.monkeypatch.setattr(cloud_world, "PREFIX", images["prefix"])
    bucket = Bucket.__new__(Bucket)  # Its settings are the agent's, who is not here.
    object.__setattr__(bucket, "name", images["bucket_name"])
    object.__setattr__(bucket, "client", place.deployment.client("s3"))
    return CloudWorld(bucket, MemoryTable(), expected=Expectations(prefix=images["prefix"]))


def events(records: list[dict[str, Any]]) -> dict[str, Any]:
    return {"Records": records}


def handled(answer: dict[str, Any]) -> bool:
    return answer == {"batchItemFailures": []}


@pytest.fixture(scope="module")
def story(place: InPlace, world: CloudWorld) -> dict[str, list[dict[str, Any]]]:
    """Let studies arrive, one of them late, one without a manifest, and one damaged afterwards."""
    told: dict[str, list[dict[str, Any]]] = {}
    good = world.put_study(3)
    lone = world.put_study(2, manifested=False)
    with place.function("verify_object") as verify_object:
        assert handled(verify_object(events(place.receive("objects"))))
    with place.function("verify_study") as verify_study:
        assert handled(verify_study(events(place.receive("studies"))))
    told["good"] = bodies(place.receive("verdicts"))

    world.overwrite(good.keys[0], good.files[0][:-1])
    unseen = world.put_study(2)
    late = [each for each in place.receive("objects") if unseen.keys[0] not in each["body"]]
    with place.function("verify_object") as verify_object:
        assert handled(verify_object(events(late)))
    with place.function("verify_study") as verify_study:
        assert handled(verify_study(events(place.receive("studies"))))
    told["damaged"] = bodies(place.receive("verdicts"))

    forgotten = world.put_study(1)
    seen = [each for each in place.receive("objects") if "/manifest/" not in each["body"]]
    with place.function("verify_object") as verify_object:
        assert handled(verify_object(events(seen)))
    with place.function("find_orphans", ORPHAN_AFTER_H="0") as find_orphans:
        counted = find_orphans({})
    assert counted["orphans"] == len(lone.keys)
    assert counted["asked"] == 1, forgotten
    told["orphans"] = bodies(place.receive("verdicts"))
    return told


def test_what_arrives_is_verified_by_the_functions_as_they_are_deployed(
    story: dict[str, list[dict[str, Any]]],
) -> None:
    [verdict] = [decode(json.dumps(each)) for each in story["good"]]

    assert isinstance(verdict, StudyVerdict)
    assert (verdict.agreed, verdict.instances) == (True, 3)


def test_damage_is_told_to_the_agent(story: dict[str, list[dict[str, Any]]]) -> None:
    told = [decode(json.dumps(each)) for each in story["damaged"]]

    studies = [each for each in told if isinstance(each, StudyVerdict)]
    assert {each.agreed for each in studies} == {True, False}
    [damaged] = [each for each in studies if not each.agreed]
    assert [each.finding for each in damaged.findings] == ["truncated"]


def test_orphans_are_told_to_the_agent(story: dict[str, list[dict[str, Any]]]) -> None:
    told = [decode(json.dumps(each)) for each in story["orphans"]]

    assert all(isinstance(each, ObjectVerdict) and each.finding == "orphan" for each in told)
    assert len(told) == 2


@pytest.fixture(scope="module")
def probed(place: InPlace, story: object) -> dict[str, Any]:
    with place.function("probe_retrieval") as probe_retrieval:
        document: dict[str, Any] = probe_retrieval({})
    return document


def test_a_probe_reads_what_was_verified(place: InPlace, probed: dict[str, Any]) -> None:
    environment = place.environment("probe_retrieval")
    kept = place.deployment.client("s3").list_objects_v2(
        Bucket=environment["SAMPLES_BUCKET"], Prefix=environment["SAMPLES_PREFIX"]
    )

    assert probed["samples"] >= 1
    assert kept["KeyCount"] == 1


@pytest.fixture(scope="module")
def restored(place: InPlace, world: CloudWorld) -> list[dict[str, Any]]:
    study = world.put_study(1, storage_class="GLACIER", manifested=False)
    world.s3.restore_object(
        Bucket=world.bucket.name, Key=world.expected.prefix + study.keys[0],
        RestoreRequest={"Days": 1, "GlacierJobParameters": {"Tier": "Standard"}},
    )  # fmt: skip
    [asked] = place.receive("restores")
    event = json.loads(asked["body"])
    # moto restores at once and without a word; and an object may be older than its versions.
    done = event | {"detail-type": "Object Restore Completed", "time": "2999-01-01T00:00:00Z"}
    unversioned = {"object": {"key": event["detail"]["object"]["key"]}}
    old = event | {"detail": event["detail"] | unversioned}
    records = [
        asked | {"messageId": f"m{number}", "body": json.dumps(each)}
        for number, each in enumerate((event, done, old))
    ]
    with place.function("watch_restore") as watch_restore:
        assert handled(watch_restore(events(records)))
    place.receive("objects")
    return bodies(place.receive("verdicts"))


def test_a_restore_is_timed_and_told(restored: list[dict[str, Any]]) -> None:
    told = [decode(json.dumps(each)) for each in restored]

    reports = [each for each in told if isinstance(each, RestoreReport)]
    assert len(reports) == len(told) == 3
    assert sum(each.took_s is not None for each in reports) == 1


@pytest.fixture(scope="module")
def reconciled(place: InPlace, world: CloudWorld) -> dict[str, Any]:
    environment = place.environment("reconcile_inventory")
    records = environment["RESULTS_BUCKET"]
    for name, value in {
        "BUCKET": environment["BUCKET"], "INVENTORIES": records, "PREFIX": environment["PREFIX"],
        "FOLDER": "inventory/of/all",
    }.items():  # fmt: skip
        place.monkeypatch.setattr(cloud_inventory, name, value)
    instances = [cloud_inventory.a_record(number) for number in range(3)]
    listing = cloud_inventory.Listing()
    listing.add_manifest(instances)
    for record in instances[1:]:
        listing.add_record(record)
    listing.add_record(instances[0], ETag="other")
    listing.write(S3Shelf(world.s3))
    # The bucket is versioned: the inventory names the version it saw.
    key, shelf = next(iter(listing.bodies)), S3Shelf(world.s3)
    listing.rows[0]["VersionId"] = world.head(key)["VersionId"]
    listing.bodies = {}
    inventory = listing.write(shelf)
    with place.function("reconcile_inventory") as reconcile, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Powertools': a step without metrics.
        planned = reconcile({"step": "plan", "inventory": inventory.document()})
        for step, units in (("split", "split_units"), ("reconcile", "join_units")):
            where = planned[units]
            listed = world.s3.get_object(Bucket=where["bucket"], Key=where["key"])["Body"].read()
            for unit in json.loads(listed):
                reconcile({"step": step, **unit})
        summary: dict[str, Any] = reconcile({"step": "summarise", "plan": planned["plan"]})
    return summary


def test_an_inventory_is_reconciled_and_what_differs_asked_for_again(
    place: InPlace, reconciled: dict[str, Any]
) -> None:
    assert reconciled["findings"] == {"altered": 1}
    assert [each["why"] for each in bodies(place.receive("studies"))][-1:] == ["inventory differs"]


@pytest.fixture(scope="module")
def calls(
    place: InPlace, story: object, probed: object, restored: object, reconciled: object
) -> dict[str, list[Call]]:
    return place.calls


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_may_do_everything_it_does(
    place: InPlace, calls: dict[str, list[Call]], function: str
) -> None:
    policy = place.policy(function)

    assert [each for each in calls[function] if not policy.allows(each)] == []


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_may_do_nothing_it_does_not_do(
    place: InPlace, calls: dict[str, list[Call]], function: str
) -> None:
    done = {each.action for each in calls[function]} | set(BY_OTHERS)
    done |= TAKING if function in FED_BY_QUEUES else set()
    done |= {"s3:ListBucket"} if function in TELLS_MISSING else set()

    assert place.policy(function).granted - done == set()


def test_the_judge_of_policies_refuses(place: InPlace) -> None:
    policy = place.policy("watch_restore")
    table = f"arn:aws:dynamodb:eu-central-1:123456789012:table/{table_of(place)}"

    assert policy.allows(Call("dynamodb:UpdateItem", table, "restores/images/v1/"))
    assert not policy.allows(Call("dynamodb:UpdateItem", table, "images/v1/"))
    assert not policy.allows(Call("dynamodb:DeleteItem", table, "restores/images/v1/"))
    assert not policy.allows(Call("dynamodb:UpdateItem", f"{table}s", "restores/images/v1/"))
    assert not Policy(()).allows(Call("s3:GetObject", "arn:aws:s3:::images/v1/a"))


def table_of(place: InPlace) -> str:
    return place.environment("watch_restore")["TABLE_NAME"]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_gets_the_environment_that_its_readme_names(
    place: InPlace, function: str
) -> None:
    readme = (ROOT / "lambdas" / "README.md").read_text(encoding="utf-8")
    [row] = re.findall(rf"(?m)^\| `{function}` \|.*$", readme)
    named = set(re.findall(r"`([A-Z_]+)`", row.split("|")[4]))
    given = {each for each in place.environment(function) if not each.startswith("POWERTOOLS_")}

    assert given - named == set(), "given, and named nowhere"
    assert named - given <= {"DICOMWEB_URL"}, "named, and not given: there is no endpoint here"
