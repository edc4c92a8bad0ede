"""What Terraform made around the buckets: events, queues, functions, schedules, alarms, ways in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.infra.conftest import Applied
from tests.infra.deployment import Deployment
from tests.infra.landscape import SITE_NETWORK

#: Names of the modules `verification` of each example, and of what they watch.
VERIFIED: Mapping[str, Mapping[str, str]] = {
    "hybrid": {"verification": "image_bucket"},
    "dr_copy": {"verification": "image_bucket", "dr_verification": "dr_bucket"},
    "third_copy": {"verification": "image_bucket"},
}
#: The resources of each example that do not lie in its first region.
REGION_OF = {
    "dr_verification": "eu-west-1",
    "dr_bucket": "eu-west-1",
    "dr_reconciliation": "eu-west-1",
}


@pytest.fixture
def deployment(applied: Applied, example: str) -> Deployment:
    return applied(example)


def region_of(deployment: Deployment, resource: Mapping[str, Any]) -> str:
    """Return where a resource of the state lies."""
    arn = str(resource["values"].get("arn", ""))
    return arn.split(":")[3] if arn.count(":") >= 5 and arn.split(":")[3] else deployment.region


def of_type(deployment: Deployment, kind: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the attributes and the region of every resource of a type; there is one at least."""
    found = [each for each in deployment.resources() if each["type"] == kind]
    assert found, kind
    for each in found:
        yield each["values"], region_of(deployment, each)


def test_every_queue_is_encrypted_and_gives_up_into_another(deployment: Deployment) -> None:
    dead, fed = set(), {}
    for values, region in of_type(deployment, "aws_sqs_queue"):
        sqs = deployment.client("sqs", region=region)
        held = sqs.get_queue_attributes(QueueUrl=values["url"], AttributeNames=["All"])[
            "Attributes"
        ]
        assert held["KmsMasterKeyId"].startswith("arn:aws:kms:"), values["name"]
        assert int(held["MessageRetentionPeriod"]) == 14 * 86400, values["name"]
        policy = json.loads(held["Policy"])
        assert any(
            each["Effect"] == "Deny" and each["Condition"]["Bool"]["aws:SecureTransport"] == "false"
            for each in policy["Statement"]
            if "Bool" in each.get("Condition", {})
        ), values["name"]
        if "RedrivePolicy" in held:
            fed[held["QueueArn"]] = json.loads(held["RedrivePolicy"])
        else:
            dead.add(held["QueueArn"])

    assert fed
    for arn, redrive in fed.items():
        assert redrive["deadLetterTargetArn"] in dead, arn
        assert int(redrive["maxReceiveCount"]) >= 2, arn


def test_an_object_that_is_put_becomes_a_message(deployment: Deployment) -> None:
    """The whole way: bucket, EventBridge, rule, queue; and what lies elsewhere does not."""
    told = deployment.outputs()
    for module, bucket_module in VERIFIED[deployment.name].items():
        region = REGION_OF.get(module, deployment.region)
        s3, sqs = (deployment.client(each, region=region) for each in ("s3", "sqs"))
        bucket, prefix = told[bucket_module]["bucket_name"], told[bucket_module]["prefix"]
        url = told[module]["object_queue_url"]
        keys = [f"{prefix}v1/main/3f/1.2.3/1.2.3.4/1.2.3.4.5.dcm", "elsewhere/notes.txt"]
        taken_from(sqs, url)  # What other tests put sent events, too.
        versions = [s3.put_object(Bucket=bucket, Key=key, Body=b"") for key in keys]

        heard = [json.loads(body)["detail"]["object"]["key"] for body in taken_from(sqs, url)]

        for key, version in zip(keys, versions, strict=True):
            s3.delete_object(
                Bucket=bucket, Key=key, VersionId=version["VersionId"],
                BypassGovernanceRetention=True,
            )  # fmt: skip
        taken_from(sqs, url)
        assert heard == keys[:1]


def taken_from(sqs: Any, url: str) -> list[str]:  # noqa: ANN401 - a boto3 client
    """Take everything off a queue."""
    taken: list[str] = []
    while told := sqs.receive_message(QueueUrl=url, WaitTimeSeconds=0, MaxNumberOfMessages=10).get(
        "Messages"
    ):
        for message in told:
            taken.append(message["Body"])
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return taken


def test_every_function_is_there_with_its_log_and_a_role_of_its_own(deployment: Deployment) -> None:
    roles = set()
    for values, region in of_type(deployment, "aws_lambda_function"):
        name = values["function_name"]
        held = deployment.client("lambda", region=region).get_function_configuration(
            FunctionName=name
        )
        [group] = deployment.client("logs", region=region).describe_log_groups(
            logGroupNamePrefix=f"/aws/lambda/{name}"
        )["logGroups"]

        assert held["Handler"] == "handler.handle"
        assert held["Environment"]["Variables"]["POWERTOOLS_METRICS_NAMESPACE"] == "cloudmig"
        assert held["KMSKeyArn"].startswith("arn:aws:kms:")
        assert group["retentionInDays"] >= 365
        roles.add(held["Role"])

    assert len(roles) == len(list(of_type(deployment, "aws_lambda_function")))


def test_a_function_behind_a_queue_gives_single_messages_back(deployment: Deployment) -> None:
    for values, region in of_type(deployment, "aws_lambda_event_source_mapping"):
        held = deployment.client("lambda", region=region).get_event_source_mapping(
            UUID=values["uuid"]
        )
        assert held["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
        assert held["State"] == "Enabled"


def test_every_schedule_runs(deployment: Deployment) -> None:
    for values, region in of_type(deployment, "aws_scheduler_schedule"):
        held = deployment.client("scheduler", region=region).get_schedule(Name=values["name"])

        assert held["State"] == "ENABLED"
        assert held["Target"]["Arn"].startswith("arn:aws:lambda:")


def test_every_alarm_tells_a_topic_of_its_own_region(deployment: Deployment) -> None:
    for values, region in of_type(deployment, "aws_cloudwatch_metric_alarm"):
        cloudwatch = deployment.client("cloudwatch", region=region)
        [held] = cloudwatch.describe_alarms(AlarmNames=[values["alarm_name"]])["MetricAlarms"]
        topics = deployment.client("sns", region=region).list_topics()["Topics"]

        assert held["ActionsEnabled"] is True
        assert held["AlarmActions"], values["alarm_name"]
        assert set(held["AlarmActions"]) <= {topic["TopicArn"] for topic in topics}


def test_a_person_hears_of_it(deployment: Deployment) -> None:
    for values, region in of_type(deployment, "aws_sns_topic"):
        sns = deployment.client("sns", region=region)
        attributes = sns.get_topic_attributes(TopicArn=values["arn"])["Attributes"]
        [subscription] = sns.list_subscriptions_by_topic(TopicArn=values["arn"])["Subscriptions"]

        assert attributes["KmsMasterKeyId"].startswith("arn:aws:kms:")
        assert subscription["Endpoint"] == "imaging-on-call@example.org"
        [statement] = json.loads(attributes["Policy"])["Statement"]
        assert set(statement["Principal"]["Service"]) == {
            "cloudwatch.amazonaws.com", "events.amazonaws.com",
        }  # fmt: skip


def test_the_table_is_encrypted_and_can_be_had_back(deployment: Deployment) -> None:
    for values, region in of_type(deployment, "aws_dynamodb_table"):
        dynamodb = deployment.client("dynamodb", region=region)
        held = dynamodb.describe_table(TableName=values["name"])["Table"]
        backups = dynamodb.describe_continuous_backups(TableName=values["name"])

        assert held["SSEDescription"]["SSEType"] == "KMS"
        assert {each["IndexName"] for each in held["GlobalSecondaryIndexes"]} == {
            "unsettled", "by_stratum",
        }  # fmt: skip
        recovery = backups["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"]
        assert recovery["PointInTimeRecoveryStatus"] == "ENABLED"


def test_the_state_machine_and_the_dashboard_are_there(applied_hybrid: Deployment) -> None:
    told = applied_hybrid.outputs()
    states = applied_hybrid.client("stepfunctions")
    held = states.describe_state_machine(
        stateMachineArn=told["reconciliation"]["state_machine_arn"]
    )
    dashboards = applied_hybrid.client("cloudwatch").list_dashboards()["DashboardEntries"]

    assert json.loads(held["definition"])["StartAt"]
    assert [each["DashboardName"] for each in dashboards] == [
        told["retrieval_sla"]["dashboard_name"]
    ]


def test_the_lifecycle_moves_images_where_the_verification_expects_them(
    applied_hybrid: Deployment,
) -> None:
    told = applied_hybrid.outputs()
    s3 = applied_hybrid.client("s3")
    rules = s3.get_bucket_lifecycle_configuration(Bucket=told["image_bucket"]["bucket_name"])[
        "Rules"
    ]
    moves = [
        (rule["Filter"]["Prefix"], move["Days"], move["StorageClass"])
        for rule in rules
        for move in rule.get("Transitions", [])
    ]
    name = told["verification"]["function_names"]["verify_object"]
    environment = applied_hybrid.client("lambda").get_function_configuration(FunctionName=name)[
        "Environment"
    ]["Variables"]

    prefix = told["image_bucket"]["prefix"]
    assert moves == [(prefix, 30, "STANDARD_IA"), (prefix, 365, "GLACIER_IR")]
    assert environment["LATER_CLASSES"].split(",") == ["STANDARD_IA", "GLACIER_IR"]
    assert environment["PREFIX"] == prefix


def test_endpoints_lead_to_our_bucket_and_queue_alone(applied_hybrid: Deployment) -> None:
    told = applied_hybrid.outputs()
    ec2 = applied_hybrid.client("ec2")
    endpoints = ec2.describe_vpc_endpoints()["VpcEndpoints"]
    [group] = ec2.describe_security_groups(GroupIds=[told["network"]["security_group_id"]])[
        "SecurityGroups"
    ]
    reached = {
        resource
        for endpoint in endpoints
        for statement in json.loads(endpoint["PolicyDocument"])["Statement"]
        for resource in statement["Resource"]
    }
    [rule] = group["IpPermissions"]

    assert sorted(endpoint["VpcEndpointType"] for endpoint in endpoints) == [
        "Gateway", "Interface", "Interface",
    ]  # fmt: skip
    bucket = told["image_bucket"]["bucket_arn"]
    assert reached == {bucket, f"{bucket}/*", told["verification"]["verdict_queue_arn"]}
    assert [each["CidrIp"] for each in rule["IpRanges"]] == [SITE_NETWORK]
    assert (rule["FromPort"], rule["ToPort"]) == (443, 443)


def test_an_old_access_key_is_looked_for_and_told(applied_hybrid: Deployment) -> None:
    [rule] = applied_hybrid.client("config").describe_config_rules()["ConfigRules"]
    events = applied_hybrid.client("events")
    told = [each for each in events.list_rules()["Rules"] if each["Name"].endswith("key-is-old")]
    [target] = events.list_targets_by_rule(Rule=told[0]["Name"])["Targets"]

    assert rule["Source"]["SourceIdentifier"] == "ACCESS_KEYS_ROTATED"
    assert json.loads(rule["InputParameters"])["maxAccessKeyAge"] == "90"
    assert told[0]["State"] == "ENABLED"
    assert target["Arn"].startswith("arn:aws:sns:")


def test_the_second_copy_is_made_by_s3_and_no_deletion_is_repeated(applied: Applied) -> None:
    deployment = applied("dr_copy")
    told = deployment.outputs()
    held = deployment.client("s3").get_bucket_replication(
        Bucket=told["image_bucket"]["bucket_name"]
    )["ReplicationConfiguration"]
    [rule] = held["Rules"]

    assert rule["Status"] == "Enabled"
    assert rule["DeleteMarkerReplication"]["Status"] == "Disabled"
    assert rule["Destination"]["Bucket"] == told["dr_bucket"]["bucket_arn"]
