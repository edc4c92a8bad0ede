"""The text of the agent's policies as IAM holds them: what moto does not judge."""

from __future__ import annotations

import json
from typing import Any

from tests.infra.conftest import Applied
from tests.infra.deployment import Deployment

#: No action of the agent has one of these in its name, but for taking a verdict off its queue.
FORBIDDEN = ("Delete", "Policy", "Bypass", "PutBucket", "Retention", "LegalHold")


def policy_of(deployment: Deployment) -> list[dict[str, Any]]:
    """Return the statements of the agent's policy, as IAM holds it."""
    iam = deployment.client("iam")
    role = deployment.outputs()["agent"]["role_arn"].split("/")[-1]
    [name] = iam.list_role_policies(RoleName=role)["PolicyNames"]
    assert iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"] == []
    document = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
    statements: list[dict[str, Any]] = document["Statement"]
    return statements


def listed(value: str | list[str]) -> list[str]:
    """Return what a policy holds as one text or as many."""
    return [value] if isinstance(value, str) else value


def test_the_agents_policy_names_no_deletion_no_policy_and_no_wildcard(
    applied: Applied, example: str
) -> None:
    for statement in policy_of(applied(example)):
        for action in listed(statement["Action"]):
            assert "*" not in action
            named = [word for word in FORBIDDEN if word in action]
            assert not named or action == "sqs:DeleteMessage"
        assert "*" not in listed(statement["Resource"])


def test_the_agent_lists_below_its_prefix_and_uses_the_key_through_s3_and_sqs(
    applied: Applied, example: str
) -> None:
    """Conditions, which moto does not judge."""
    deployment = applied(example)
    prefix = deployment.outputs()["image_bucket"]["prefix"]
    statements = policy_of(deployment)

    [listing] = [each for each in statements if "s3:ListBucket" in listed(each["Action"])]
    assert listing["Condition"] == {"StringLikeIfExists": {"s3:prefix": f"{prefix}v1/*"}}
    [key] = [each for each in statements if "kms:Decrypt" in listed(each["Action"])]
    services = key["Condition"]["StringLike"]["kms:ViaService"]
    assert set(services) == {"s3.*.amazonaws.com", "sqs.*.amazonaws.com"}


def test_the_agents_user_may_take_on_its_role_and_nothing_else(
    applied: Applied, example: str
) -> None:
    deployment = applied(example)
    iam = deployment.client("iam")
    told = deployment.outputs()["agent"]
    [name] = iam.list_user_policies(UserName=told["user_name"])["PolicyNames"]
    document = iam.get_user_policy(UserName=told["user_name"], PolicyName=name)["PolicyDocument"]
    role = iam.get_role(RoleName=told["role_arn"].split("/")[-1])["Role"]

    [statement] = document["Statement"]
    assert statement["Action"] == "sts:AssumeRole"
    assert statement["Resource"] == told["role_arn"]
    [trusted] = role["AssumeRolePolicyDocument"]["Statement"]
    assert trusted["Principal"]["AWS"].endswith(f":user/{told['user_name']}")
    assert "*" not in json.dumps(role["AssumeRolePolicyDocument"])
