"""Applied Terraform state as a CloudFormation template, for cfn-lint to look at.

Terraform and moto take an IAM action that does not exist, a state that is never reached and a
queue that is shorter than its function. cfn-lint knows them. Only what it has rules for is
translated, with the references between resources: without those it cannot compare two of them.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

__all__ = ["TRANSLATED", "template_of"]

Resource = Mapping[str, Any]
Properties = dict[str, Any]
Json: TypeAlias = "dict[str, Json] | list[Json] | str | float | bool | None"


def template_of(resources: Iterable[Resource]) -> dict[str, Any]:
    """Return a template of the resources of a state, as `terraform show -json` lists them."""
    known = [each for each in resources if each["type"] in _TRANSLATIONS]
    names = {each["address"]: _logical_name(each["address"]) for each in known}
    assert len(set(names.values())) == len(names), "two addresses must not fall together"
    arns = Counter(str(each["values"].get("arn")) for each in known)
    references: dict[str, Json] = {
        arn: {"Fn::GetAtt": [names[each["address"]], "Arn"]}
        for each in known
        if (arn := each["values"].get("arn")) and arns[arn] == 1 and _has_arn(each)
    }
    translated = {}
    for each in known:
        kind, properties = _TRANSLATIONS[each["type"]]
        translated[names[each["address"]]] = {
            "Type": kind,
            "Properties": _referring(_without_nothing(properties(each["values"])), references),
        }
    return {"AWSTemplateFormatVersion": "2010-09-09", "Resources": translated}


def _logical_name(address: str) -> str:
    return "".join(word.capitalize() for word in re.findall(r"[A-Za-z0-9]+", address))


def _has_arn(resource: Resource) -> bool:
    # A state machine's ARN is what Ref returns; in the policies it is written by hand anyway.
    return bool(resource["type"] != "aws_sfn_state_machine")


def _referring(value: Json, references: Mapping[str, Json]) -> Json:
    """Put a reference wherever the whole text is the ARN of another resource."""
    if isinstance(value, dict):
        return {key: _referring(each, references) for key, each in value.items()}
    if isinstance(value, list):
        return [_referring(each, references) for each in value]
    return references.get(value, value) if isinstance(value, str) else value


def _without_nothing(properties: Properties) -> Properties:
    return {key: value for key, value in properties.items() if value not in (None, "", [], {})}


def _document(text: str | None) -> Json:
    # A mocked provider makes up what was not given.
    loaded: Json = json.loads(text) if text and text.startswith("{") else {}
    return loaded


def _role(values: Mapping[str, Any]) -> Properties:
    return {
        "RoleName": values["name"],
        "AssumeRolePolicyDocument": json.loads(values["assume_role_policy"]),
    }


def _role_policy(values: Mapping[str, Any]) -> Properties:
    return {
        "PolicyName": values["name"],
        "PolicyDocument": json.loads(values["policy"]),
        "Roles": [values["role"]],
    }


def _managed_policy(values: Mapping[str, Any]) -> Properties:
    return {"PolicyDocument": json.loads(values["policy"])}


def _queue(values: Mapping[str, Any]) -> Properties:
    return {
        "QueueName": values["name"],
        "VisibilityTimeout": values["visibility_timeout_seconds"],
        "MessageRetentionPeriod": values["message_retention_seconds"],
        "KmsMasterKeyId": values["kms_master_key_id"],
        "RedrivePolicy": _document(values["redrive_policy"]),
    }


def _queue_policy(values: Mapping[str, Any]) -> Properties:
    return {"PolicyDocument": json.loads(values["policy"]), "Queues": [values["queue_url"]]}


def _bucket_policy(values: Mapping[str, Any]) -> Properties:
    return {"PolicyDocument": json.loads(values["policy"]), "Bucket": values["bucket"]}


def _key(values: Mapping[str, Any]) -> Properties:
    return {
        "KeyPolicy": json.loads(values["policy"]),
        "EnableKeyRotation": values["enable_key_rotation"],
    }


def _function(values: Mapping[str, Any]) -> Properties:
    return {
        "FunctionName": values["function_name"],
        "Handler": values["handler"],
        "Runtime": values["runtime"],
        "Architectures": values["architectures"],
        "Timeout": values["timeout"],
        "MemorySize": values["memory_size"],
        "Role": values["role"],
        "KmsKeyArn": values["kms_key_arn"],
        "Code": {"S3Bucket": "packages", "S3Key": "package.zip"},  # A local zip has no other name.
        "Environment": {"Variables": values["environment"][0]["variables"]},
        "EphemeralStorage": {"Size": values["ephemeral_storage"][0]["size"]},
    }


def _event_source(values: Mapping[str, Any]) -> Properties:
    return {
        "EventSourceArn": values["event_source_arn"],
        "FunctionName": values["function_name"],
        "BatchSize": values["batch_size"],
        "FunctionResponseTypes": values["function_response_types"],
        "ScalingConfig": {"MaximumConcurrency": values["scaling_config"][0]["maximum_concurrency"]},
    }


def _state_machine(values: Mapping[str, Any]) -> Properties:
    return {
        "StateMachineName": values["name"],
        "RoleArn": values["role_arn"],
        "Definition": json.loads(values["definition"]),
    }


def _table(values: Mapping[str, Any]) -> Properties:
    return {
        "TableName": values["name"],
        "BillingMode": values["billing_mode"],
        "KeySchema": _key_schema(values["hash_key"], values["range_key"]),
        "AttributeDefinitions": [
            {"AttributeName": each["name"], "AttributeType": each["type"]}
            for each in values["attribute"]
        ],
        "GlobalSecondaryIndexes": [
            {
                "IndexName": each["name"],
                "KeySchema": _key_schema(each["hash_key"], each["range_key"]),
                "Projection": {"ProjectionType": each["projection_type"]},
            }
            for each in values["global_secondary_index"]
        ],
        "DeletionProtectionEnabled": values["deletion_protection_enabled"],
    }


def _key_schema(partition: str, sort: str) -> list[dict[str, str]]:
    return [
        {"AttributeName": partition, "KeyType": "HASH"},
        {"AttributeName": sort, "KeyType": "RANGE"},
    ]


def _rule(values: Mapping[str, Any]) -> Properties:
    return {"Name": values["name"], "EventPattern": json.loads(values["event_pattern"])}


def _alarm(values: Mapping[str, Any]) -> Properties:
    return {
        "AlarmName": values["alarm_name"],
        "Namespace": values["namespace"],
        "MetricName": values["metric_name"],
        "Dimensions": [
            {"Name": name, "Value": value} for name, value in (values["dimensions"] or {}).items()
        ],
        "Statistic": values["statistic"],
        "Period": values["period"],
        "EvaluationPeriods": values["evaluation_periods"],
        "ComparisonOperator": values["comparison_operator"],
        "Threshold": values["threshold"],
        "TreatMissingData": values["treat_missing_data"],
    }


def _log_group(values: Mapping[str, Any]) -> Properties:
    return {
        "LogGroupName": values["name"],
        "RetentionInDays": values["retention_in_days"],
        "KmsKeyId": values["kms_key_id"],
    }


_TRANSLATIONS: Mapping[str, tuple[str, Callable[[Mapping[str, Any]], Properties]]] = {
    "aws_cloudwatch_event_rule": ("AWS::Events::Rule", _rule),
    "aws_cloudwatch_log_group": ("AWS::Logs::LogGroup", _log_group),
    "aws_cloudwatch_metric_alarm": ("AWS::CloudWatch::Alarm", _alarm),
    "aws_dynamodb_table": ("AWS::DynamoDB::Table", _table),
    "aws_iam_policy": ("AWS::IAM::ManagedPolicy", _managed_policy),
    "aws_iam_role": ("AWS::IAM::Role", _role),
    "aws_iam_role_policy": ("AWS::IAM::Policy", _role_policy),
    "aws_kms_key": ("AWS::KMS::Key", _key),
    "aws_lambda_event_source_mapping": ("AWS::Lambda::EventSourceMapping", _event_source),
    "aws_lambda_function": ("AWS::Lambda::Function", _function),
    "aws_s3_bucket_policy": ("AWS::S3::BucketPolicy", _bucket_policy),
    "aws_sfn_state_machine": ("AWS::StepFunctions::StateMachine", _state_machine),
    "aws_sqs_queue": ("AWS::SQS::Queue", _queue),
    "aws_sqs_queue_policy": ("AWS::SQS::QueuePolicy", _queue_policy),
}
#: What is translated; a test counts that the state held it.
TRANSLATED = frozenset(_TRANSLATIONS)
