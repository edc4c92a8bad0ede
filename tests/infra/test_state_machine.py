"""The state machine of the reconciliation, run with the real code of its function.

moto's interpreter of the States Language executes the definition that Terraform would deploy:
distributed maps, item readers and result writers over moto's S3. Where AWS would call the function,
its code is called here. moto knows no limits of states and no roles; those are linted.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest
from moto import mock_aws
from moto.awslambda_simple.models import LambdaSimpleBackend
from moto.events.models import EventPattern

from cloudmig.cloud.reconcile_inventory import S3Shelf, Settings, run_step
from cloudmig.cloud.reconcile_shelf import Address
from cloudmig.objects import manifest_key
from tests.cloud_inventory import BUCKET, INVENTORIES, PREFIX, STUDY, Listing, a_record
from tests.infra.layers import Workshop
from tests.infra.state_machine import loose_ends

#: As in infra/modules/reconciliation/tests.
RECORDS = "records"
REGION = "eu-central-1"
INSTANCES = [a_record(number) for number in range(4)]


@pytest.fixture(scope="module")
def planned(workshop: Workshop) -> dict[str, dict[str, Any]]:
    """Return what Terraform would make, by type: of those below there is one each."""
    return {each["type"]: each["values"] for each in workshop.mocked_apply("reconciliation")}


@pytest.fixture(scope="module")
def definition(planned: dict[str, dict[str, Any]]) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(planned["aws_sfn_state_machine"]["definition"])
    return loaded


@dataclass
class Machine:
    """The machine in moto, and what its function was asked."""

    s3: Any
    states: Any
    arn: str
    shelf: S3Shelf
    asked: list[dict[str, Any]] = field(default_factory=list)
    faults: list[Exception] = field(default_factory=list)  #: Met first, one by each call.

    def invoke(self, body: str, response_headers: dict[str, str]) -> bytes:
        event = json.loads(body)
        self.asked.append(event)
        settings = Settings(bucket=BUCKET, prefix=PREFIX, results=Address(RECORDS, "results/"))
        try:
            if self.faults:
                raise self.faults.pop()
            return json.dumps(run_step(event, self.shelf, settings)).encode()
        except Exception as error:  # noqa: BLE001 - AWS makes an answer of any
            response_headers["x-amz-function-error"] = "Unhandled"
            told = {"errorType": type(error).__name__, "errorMessage": str(error)}
            return json.dumps(told).encode()

    def run(self, inventory: Address) -> dict[str, Any]:
        started = self.states.start_execution(
            stateMachineArn=self.arn, name=f"run-{len(self.asked)}",
            input=json.dumps({"inventory": inventory.document()}),
        )  # fmt: skip
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            told = self.states.describe_execution(executionArn=started["executionArn"])
            if told["status"] != "RUNNING":
                return dict(told)
            time.sleep(0.05)
        raise AssertionError("the machine did not come to an end")


@pytest.fixture
def machine(definition: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    config: Any = {
        "lambda": {"use_docker": False}, "stepfunctions": {"execute_state_machine": True},
    }  # fmt: skip
    with mock_aws(config=config):
        s3: Any = boto3.client("s3", region_name=REGION)
        for bucket in (BUCKET, INVENTORIES, RECORDS):
            s3.create_bucket(
                Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION}
            )
        states: Any = boto3.client("stepfunctions", region_name=REGION)
        # moto's grammar wants a fraction here, and retries without waiting are soon over.
        text = json.dumps(definition).replace(
            '"ToleratedFailurePercentage": 0', '"ToleratedFailurePercentage": 0.0'
        )
        for waiting in ('"IntervalSeconds": 30', '"IntervalSeconds": 5'):
            text = text.replace(waiting, '"IntervalSeconds": 1')
        arn = states.create_state_machine(
            name="reconciliation", definition=text, roleArn="arn:aws:iam::123456789012:role/any"
        )["stateMachineArn"]
        made = Machine(s3, states, arn, S3Shelf(s3))

        def invoke(_self: object, _name: str, _qualifier: object, body: str, *rest: Any) -> bytes:  # noqa: ANN401
            return made.invoke(body, rest[1])

        monkeypatch.setattr(LambdaSimpleBackend, "invoke", invoke)
        yield made


def an_inventory(machine: Machine) -> Address:
    """List one study of which one image is not as its manifest says."""
    listing = Listing()
    listing.add_manifest(INSTANCES)
    for record in INSTANCES[1:]:
        listing.add_record(record)
    listing.add_record(INSTANCES[0], ETag="other")
    machine.s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    held = machine.s3.put_object(
        Bucket=BUCKET, Key=PREFIX + manifest_key("main", STUDY, 1),
        Body=next(iter(listing.bodies.values())),
    )  # fmt: skip
    listing.rows[0]["VersionId"] = held["VersionId"]
    return listing.write(machine.shelf)


@pytest.mark.parametrize(
    ("bucket", "key", "starts"),
    [
        (RECORDS, "inventory/images/all/2026-03-01T01-00Z/manifest.checksum", True),
        (RECORDS, "inventory/images/all/2026-03-01T01-00Z/manifest.json", False),
        (RECORDS, "inventory/images/all/data/0.csv.gz", False),
        (RECORDS, "results/inventory/manifest.checksum", False),
        (BUCKET, "inventory/images/all/2026-03-01T01-00Z/manifest.checksum", False),
    ],
)
def test_a_complete_inventory_starts_the_machine_and_nothing_else_does(
    planned: dict[str, dict[str, Any]], bucket: str, key: str, *, starts: bool
) -> None:
    event: Any = {
        "source": "aws.s3", "detail-type": "Object Created",
        "detail": {"bucket": {"name": bucket}, "object": {"key": key}},
    }  # fmt: skip
    pattern = EventPattern.load(planned["aws_cloudwatch_event_rule"]["event_pattern"])

    assert pattern.matches_event(event) is starts


def test_the_machine_is_told_which_inventory(planned: dict[str, dict[str, Any]]) -> None:
    [told] = planned["aws_cloudwatch_event_target"]["input_transformer"]
    found = {"$.detail.bucket.name": "b", "$.detail.object.key": 'a "k"'}
    text = told["input_template"]
    for name, path in told["input_paths"].items():
        text = text.replace(f"<{name}>", json.dumps(found[path]))  # As EventBridge does.

    assert Address.of(json.loads(text)["inventory"]) == Address("b", 'a "k"')


def test_every_state_is_reached_and_leads_on(definition: dict[str, Any]) -> None:
    assert loose_ends(definition) == []


def test_an_inventory_goes_through_all_steps_and_one_difference_is_found(machine: Machine) -> None:
    ended = machine.run(an_inventory(machine))

    assert ended["status"] == "SUCCEEDED", ended
    summary = json.loads(ended["output"])
    assert (summary["agreed"], summary["findings"]) == (False, {"altered": 1})
    steps = [asked["step"] for asked in machine.asked]
    assert (steps[0], steps[-1]) == ("plan", "summarise")
    assert set(steps[1:-1]) == {"split", "reconcile"}
    assert steps == sorted(steps, key=["plan", "split", "reconcile", "summarise"].index)


def test_an_inventory_that_cannot_be_used_is_not_tried_again(machine: Machine) -> None:
    other = Listing()
    other.add_manifest(INSTANCES)
    address = other.write(machine.shelf)
    body = json.loads(machine.s3.get_object(Bucket=address.bucket, Key=address.key)["Body"].read())
    body["sourceBucket"] = "of-somebody-else"
    machine.s3.put_object(Bucket=address.bucket, Key=address.key, Body=json.dumps(body))

    ended = machine.run(address)

    assert ended["status"] == "FAILED"
    assert ended["error"] == "InventoryRefused"
    assert [asked["step"] for asked in machine.asked] == ["plan"]


def test_what_fails_once_is_tried_again(machine: Machine) -> None:
    machine.faults.append(RuntimeError("the network had a bad moment"))

    ended = machine.run(an_inventory(machine))

    assert ended["status"] == "SUCCEEDED", ended
    assert [asked["step"] for asked in machine.asked][:2] == ["plan", "plan"]
